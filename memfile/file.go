package memfile

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"iter"
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// file is one generation of a memory file as its writer knows it. Where things are is kept here, not read back from the
// mapping, which others can write to.
type file struct {
	header
	backing
	m      *mapping
	dir    region
	names  arena
	values arena
	slots  []slot
	used   uint32 // entries from here on have never been written
	// live is the size of the blocks that the values need now, in units.
	live int64
}

type slotState uint8

const (
	slotFree slotState = iota
	slotReserved
	slotUsed
)

// slot is what the writer knows of an entry. Blocks are in units of their arena.
type slot struct {
	name     string
	value    uint32
	length   uint32
	size     uint32 // of the value's block
	nameAt   uint32
	nameSize uint16
	state    slotState
}

func (s *slot) live() int64 { return int64(classUnits(int(s.length), valueUnit)) }

// demand is the room that variables need.
type demand struct {
	slots  uint32
	names  int64 // bytes
	values int64
}

func (d *demand) add(slot uint32, name, value int) {
	d.slots = max(d.slots, slot+1)
	d.names += int64(classUnits(name, nameUnit)) * nameUnit
	d.values += int64(classUnits(value, valueUnit)) * valueUnit
}

// room is the size of an area in which need bytes are used: half of it at most. An area that is full although little of it
// is needed, as values of changing sizes leave blocks of the wrong ones behind, is followed by a larger one, lest there be a
// new file every few changes: full is the size of the full one, or 0.
func room(need, least, full int64) int64 {
	if 4*need > full {
		full *= 2
	}
	return max(2*need, least, full)
}

// newFile builds a file with vars at tmp, ready to be renamed. d is what vars need. full is the file to which they are
// too much, or nil.
func newFile(tmp string, o *WriterOptions, generation uint64, full *file, d demand, vars iter.Seq[Initial]) (*file, error) {
	h := header{generation: generation, service: o.Service, store: o.Store}
	var names, values int64
	if full != nil {
		names, values = full.namesSize, full.valuesSize
	}
	h.plan(uint32(min(max(2*uint64(d.slots), uint64(o.MinSlots)), MaxSlots)),
		room(d.names, o.MinNames, names), room(d.values, o.MinValues, values))
	if d.slots > MaxSlots || h.namesSize/nameUnit > 1<<32-1 || h.valuesSize/valueUnit > 1<<32-1 {
		return nil, ErrTooLarge
	}

	f, err := createFile(tmp)
	if errors.Is(err, iofs.ErrExist) { // a writer that was killed has left it
		if err = os.Remove(tmp); err == nil {
			f, err = createFile(tmp)
		}
	}
	if err != nil {
		return nil, err
	}
	fl := &file{header: h, backing: backing{f: f, path: tmp}}
	done := false
	defer func() {
		if !done { // a fault in vars included
			_ = os.Remove(tmp)
			_ = fl.close()
		}
	}()
	if err := f.Truncate(h.fileSize); err != nil {
		return nil, err
	}
	fl.dir = region{backing: &fl.backing, off: h.dir, size: int64(h.slots) * entrySize}
	fl.names = arena{region: region{backing: &fl.backing, off: h.names, size: h.namesSize}, unit: nameUnit}
	fl.values = arena{region: region{backing: &fl.backing, off: h.values, size: h.valuesSize}, unit: valueUnit}
	if err := allocate(f, 0, headerSize); err != nil {
		return nil, os.NewSyscallError("fallocate memory file", err)
	}
	if _, err := f.WriteAt(h.encode(), 0); err != nil {
		return nil, err
	}
	if fl.m, err = mapFile(f, h.fileSize, unix.PROT_READ|unix.PROT_WRITE); err != nil {
		return nil, err
	}
	fl.m.store64(offNamed, o.Named)
	// In three calls, rather than in steps with room to spare in each.
	err = cmp.Or(fl.dir.ensure(int64(d.slots)*entrySize), fl.names.ensure(d.names), fl.values.ensure(d.values))
	if err != nil {
		return nil, err
	}
	fl.slots = make([]slot, 0, d.slots)
	for v := range vars {
		if int(v.Slot) < len(fl.slots) && fl.slots[v.Slot].state == slotUsed {
			return nil, fmt.Errorf("slot %d is given twice", v.Slot)
		}
		if err := fl.put(&v, 0, nil); err != nil {
			return nil, fmt.Errorf("slot %d: %w", v.Slot, err)
		}
	}
	done = true
	return fl, nil
}

// createFile is os.OpenFile without what a file that is used for a moment does not need: four system calls, mostly for the
// poller, which knows nothing of files.
func createFile(path string) (*os.File, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if err == nil {
			return os.NewFile(uintptr(fd), path), nil
		}
		if err != unix.EINTR {
			return nil, &os.PathError{Op: "open", Path: path, Err: err}
		}
	}
}

// put writes a variable into its slot. All space is had before anything is changed.
func (fl *file) put(v *Initial, was uint64, parts []Part) (err error) {
	defer caught(debug.SetPanicOnFault(true), &err)
	if v.Slot >= fl.header.slots {
		return errFull
	}
	if err := fl.dir.ensure(int64(v.Slot+1) * entrySize); err != nil {
		return err
	}
	fl.grow(v.Slot)
	s := &fl.slots[v.Slot]
	next := slot{
		name: v.Name, nameAt: s.nameAt, nameSize: s.nameSize,
		value: s.value, size: s.size, length: uint32(len(v.Value)), state: slotUsed,
	}
	rename := s.state != slotUsed || s.name != v.Name
	if need := classUnits(len(v.Name), nameUnit); need > uint32(s.nameSize) {
		at, size, err := fl.names.alloc(need)
		if err != nil {
			return err
		}
		next.nameAt, next.nameSize = at, uint16(size)
	}
	if need := classUnits(len(v.Value), valueUnit); need > s.size {
		if next.value, next.size, err = fl.values.alloc(need); err != nil {
			if next.nameSize != s.nameSize {
				fl.names.release(next.nameAt, uint32(next.nameSize))
			}
			return err
		}
	}

	at := fl.entryAt(v.Slot)
	if was == 0 || s.state != slotUsed || next.size != s.size || fl.m.load64(at+entID) != v.ID || fl.m.load64(at+entVersion) != was {
		parts = []Part{{Len: len(v.Value)}}
	}
	seq := beginWrite(fl.m, at)
	fl.m.store64(at+entID, v.ID)
	fl.m.store64(at+entVersion, v.Version)
	fl.m.store64(at+entMTime, uint64(v.MTime))
	value := fl.values.at(next.value)
	fl.m.store64(at+entValue, uint64(value))
	fl.m.store64(at+entLen, uint64(next.length)|uint64(next.size)*valueUnit<<32)
	if rename {
		name := fl.names.at(next.nameAt)
		fl.m.store64(at+entName, uint64(name))
		fl.m.store64(at+entNameLen, uint64(len(v.Name)))
		copy(fl.m.bytes(name, int64(len(v.Name))), v.Name)
	}
	into := fl.m.bytes(value, int64(len(v.Value)))
	for _, p := range parts {
		copy(into[p.Off:p.Off+p.Len], v.Value[p.Off:])
	}
	endWrite(fl.m, at, seq)

	if next.size != s.size { // a new block is always larger
		fl.values.release(s.value, s.size)
	}
	if next.nameSize != s.nameSize {
		fl.names.release(s.nameAt, uint32(s.nameSize))
	}
	if s.state == slotUsed {
		fl.live -= s.live()
	}
	fl.live += next.live()
	*s = next
	if v.Slot >= fl.used {
		fl.used = v.Slot + 1
		fl.m.store32(offUsed, fl.used)
	}
	return nil
}

// version is that of a variable in its slot, 0 if it is not there.
func (fl *file) version(i uint32, id uint64) (version uint64, err error) {
	defer caught(debug.SetPanicOnFault(true), &err)
	if i >= fl.used {
		return 0, nil
	}
	at := fl.entryAt(i)
	if fl.m.load64(at+entID) != id {
		return 0, nil
	}
	return fl.m.load64(at + entVersion), nil
}

// remove empties a slot.
func (fl *file) remove(i uint32) (err error) {
	defer caught(debug.SetPanicOnFault(true), &err)
	fl.empty(i)
	return nil
}

// empty is remove for who is prepared for a fault.
func (fl *file) empty(i uint32) {
	s := &fl.slots[i]
	if s.state == slotUsed {
		at := fl.entryAt(i)
		seq := beginWrite(fl.m, at)
		for off := int64(entID); off < entrySize; off += 8 {
			fl.m.store64(at+off, 0)
		}
		endWrite(fl.m, at, seq)
		fl.live -= s.live()
	}
	fl.values.release(s.value, s.size)
	fl.names.release(s.nameAt, uint32(s.nameSize))
	*s = slot{}
}

// grow makes the slot known. Slots before it that were not are free.
func (fl *file) grow(i uint32) {
	for uint32(len(fl.slots)) <= i {
		fl.slots = append(fl.slots, slot{})
	}
}

func (fl *file) entryAt(i uint32) int64 { return fl.header.dir + int64(i)*entrySize }

// contents yields the contents of the file, for creating the next one. The values are mapped bytes: their user must be
// prepared for a fault.
func (fl *file) contents() iter.Seq[Initial] {
	return func(yield func(Initial) bool) {
		for i := range fl.slots {
			s := &fl.slots[i]
			if s.state != slotUsed {
				continue
			}
			at := fl.entryAt(uint32(i))
			v := Initial{
				Slot: uint32(i), ID: fl.m.load64(at + entID), Version: fl.m.load64(at + entVersion),
				MTime: int64(fl.m.load64(at + entMTime)), Name: s.name,
				Value: fl.m.bytes(fl.values.at(s.value), int64(s.length)),
			}
			if !yield(v) {
				return
			}
		}
	}
}

func (fl *file) demand() (d demand) {
	for i := range fl.slots {
		if s := &fl.slots[i]; s.state != slotFree {
			d.add(uint32(i), len(s.name), int(s.length))
		}
	}
	return d
}

func (fl *file) setState(s State) (err error) {
	defer caught(debug.SetPanicOnFault(true), &err)
	fl.m.store32(offState, uint32(s))
	fl.m.changed()
	return nil
}

func (fl *file) close() error {
	var err error
	if fl.m != nil {
		err = fl.m.unmap()
	}
	if fl.f != nil {
		err = errors.Join(err, fl.f.Close())
	}
	return err
}

// supersede marks the file that is not ours any more, and may be anything, as superseded. It does what it can: readers come back by
// their session too.
func supersede(f *os.File) {
	b := make([]byte, headerSize)
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, headerSize), b); err != nil || string(b[:len(magic)]) != magic {
		return
	}
	m, err := mapFile(f, headerSize, unix.PROT_READ|unix.PROT_WRITE)
	if err != nil { // with as many mappings as may be; then nobody is woken
		_, _ = f.WriteAt([]byte{byte(Superseded), 0, 0, 0}, offState)
		return
	}
	_ = (&file{m: m}).setState(Superseded)
	_ = m.unmap()
}
