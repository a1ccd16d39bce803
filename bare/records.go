package bare

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"runtime/debug"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// The records are in the file of the state, behind its first page, and say of each variable which bytes in the file its owner
// knows. They are mapped, so each step of a put is noted also if the process is killed right behind it:
//
//	 0 8 variable, 0: none
//	 8 8 its place: offset and size
//	16 8 a hash of its bytes
//	24 8 1: a change is being put over these bytes
//
// If there are other bytes when the file is opened next, somebody has stored since.
const (
	recordSize   = 32
	recordsBegin = PageSize
	mostRecords  = 1 << 24

	offPlace   = 8
	offHash    = 16
	offPutting = 24
)

// records are those of a file. It goes on without them, as on a full disk.
type records struct {
	m      []byte           // the file; nil: there are none
	hold   bool             // this is noted in the state, too
	next   int32            // is not used, like all behind it
	free   []int32          // are not used any more
	before map[uint64]int32 // of who had the file before, until it is known what has become of them
}

const noRecord = -1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// hashOf is a hash of bytes that is the same in each process. Of up to 8 bytes no two have the same.
func hashOf(b []byte) uint64 {
	return uint64(crc32.Checksum(b, castagnoli))<<32 | uint64(crc32.ChecksumIEEE(b))
}

// place is where a variable is.
func (v *Variable) place() uint64 { return uint64(v.Off) | uint64(v.Size)<<32 }

func (r *records) at(i int32) []byte {
	off := recordsBegin + int(i)*recordSize
	return r.m[off : off+recordSize]
}

func (r *records) room() int32 { return int32((len(r.m) - recordsBegin) / recordSize) }

// openRecords maps the records of a file, and reads them if they hold.
func (f *File) openRecords() {
	r := &f.records
	st, err := f.state.Stat()
	if err != nil {
		f.dropRecords()
		return
	}
	if n := (st.Size() - recordsBegin) / recordSize; r.hold && n > 0 && n <= mostRecords {
		r.next = int32(n)
	}
	err = f.mapRecords(max(r.next, 1))
	if err == nil {
		err = f.readRecords()
	}
	if r.hold = err == nil; !r.hold {
		f.dropRecords()
	}
}

// mapRecords makes room for n records.
func (f *File) mapRecords(n int32) error {
	size := (recordsBegin + int64(n)*recordSize + PageSize - 1) &^ (PageSize - 1)
	err := unix.Fallocate(int(f.state.Fd()), 0, 0, size) // a store into a hole of a full disk would be a fault
	if err == unix.EOPNOTSUPP {
		err = f.state.Truncate(size)
	}
	if err != nil {
		return err
	}
	m, err := mapFile(f.state, size, unix.PROT_READ|unix.PROT_WRITE)
	if err != nil {
		return err
	}
	unmap(f.records.m)
	f.records.m = m
	return nil
}

func (f *File) readRecords() (err error) {
	defer caught(debug.SetPanicOnFault(true), &err)
	r := &f.records
	r.before = map[uint64]int32{}
	for i := range r.next {
		if id := binary.LittleEndian.Uint64(r.at(i)); id != 0 {
			r.before[id] = i
		} else {
			r.free = append(r.free, i)
		}
	}
	clear(r.m[recordsBegin+int(r.next)*recordSize:])
	return nil
}

// dropRecords goes on without any.
func (f *File) dropRecords() {
	unmap(f.records.m)
	f.records = records{}
	for _, t := range f.vars {
		t.record = noRecord
	}
	if err := f.saveState(); err != nil {
		f.d.o.Logger.Error("note the state of a bare service's file", "service", f.service, "err", err)
	}
}

// Newer reports whether somebody has stored into a variable since who had the file before knew its bytes, or had put them. b are
// those that are there now. It is asked before the variable is tracked.
func (f *File) Newer(v Variable, b []byte) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	i, ok := f.records.before[v.ID]
	if !ok || !f.noted.SameBoot {
		return false
	}
	place, hash, half, err := readRecord(f.records.at(i))
	// One that is put word by word may be there in part: it is put again.
	return err == nil && place == v.place() && (!half || v.word()) && hash != hashOf(b)
}

func readRecord(at []byte) (place, hash uint64, putting bool, err error) {
	defer caught(debug.SetPanicOnFault(true), &err)
	n := func(off int) uint64 { return binary.LittleEndian.Uint64(at[off:]) }
	return n(offPlace), n(offHash), n(offPutting) != 0, nil
}

// know notes that the bytes of a variable that the owner knows are those with a hash.
func (f *File) know(t *tracked, hash uint64) {
	f.onRecord(t, hash, func(at []byte) {
		atomic.StoreUint64(word64(at, offHash), hash)
		atomic.StoreUint64(word64(at, offPutting), 0)
	})
}

// putting notes that a variable is being put. Of one that is put at once this says nothing.
func (f *File) putting(t *tracked) {
	if t.record == noRecord || !t.word() {
		hash := hashOf(f.shadow[t.Off : t.Off+t.Size])
		f.onRecord(t, hash, func(at []byte) { atomic.StoreUint64(word64(at, offPutting), 1) })
	}
}

// onRecord calls fn with a variable's record, if it can be had. hash is for a new one.
func (f *File) onRecord(t *tracked, hash uint64, fn func(at []byte)) {
	if f.records.m == nil {
		return
	}
	if err := f.tryRecord(t, hash, fn); err != nil {
		f.d.o.Logger.Error("note what is put into a bare service's file", "service", f.service, "err", err)
		f.dropRecords()
	}
}

func (f *File) tryRecord(t *tracked, hash uint64, fn func(at []byte)) (err error) {
	defer caught(debug.SetPanicOnFault(true), &err)
	if t.record == noRecord {
		i, before, err := f.newRecord(t.ID)
		if err != nil {
			return err
		}
		at := f.records.at(i)
		if t.record = i; !before || *word64(at, offPlace) != t.place() {
			atomic.StoreUint64(word64(at, 0), 0)
			atomic.StoreUint64(word64(at, offPlace), t.place())
			atomic.StoreUint64(word64(at, offHash), hash)
			atomic.StoreUint64(word64(at, offPutting), 0)
			atomic.StoreUint64(word64(at, 0), t.ID)
		}
	}
	fn(f.records.at(t.record))
	return nil
}

// newRecord finds a record for a variable. before: it is that of who had the file before.
func (f *File) newRecord(id uint64) (i int32, before bool, err error) {
	r := &f.records
	if i, ok := r.before[id]; ok {
		delete(r.before, id)
		return i, true, nil
	}
	if n := len(r.free); n > 0 {
		i := r.free[n-1]
		r.free = r.free[:n-1]
		return i, false, nil
	}
	if r.next == r.room() {
		if r.next == mostRecords {
			return noRecord, false, errors.New("too many variables")
		}
		if err := f.mapRecords(min(2*r.next, mostRecords)); err != nil {
			return noRecord, false, err
		}
	}
	r.next++
	return r.next - 1, false, nil
}

// forgetRecord ends noting a variable.
func (f *File) forgetRecord(i int32) {
	r := &f.records
	if i == noRecord || r.m == nil {
		return
	}
	if err := setID(r.at(i), 0); err != nil {
		f.dropRecords()
		return
	}
	r.free = append(r.free, i)
}

func setID(at []byte, id uint64) (err error) {
	defer caught(debug.SetPanicOnFault(true), &err)
	atomic.StoreUint64(word64(at, 0), id)
	return nil
}

// forgetBefore ends noting what who had the file before knew.
func (f *File) forgetBefore() {
	before := f.records.before
	f.records.before = nil
	for _, i := range before {
		f.forgetRecord(i)
	}
}
