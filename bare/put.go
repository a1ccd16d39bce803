package bare

import (
	"bytes"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/diff"
)

// check checks a variable and its bytes.
func (f *File) check(v *Variable, data []byte) error {
	if int64(len(data)) != v.Size {
		return fmt.Errorf("%d bytes for a variable of %d: %w", len(data), v.Size, os.ErrInvalid)
	}
	return f.inside(v.Off, v.Size)
}

// placeLocked is the variable with another range or version, which may be new.
func (f *File) placeLocked(v Variable) *tracked {
	t := f.vars[v.ID]
	if t == nil {
		t = &tracked{record: noRecord}
		f.vars[v.ID] = t
	}
	if t.Off != v.Off || t.Size != v.Size {
		f.index, f.front = nil, nil
		f.forgetRecord(t.record)
		t.record = noRecord
	}
	t.Variable = v
	return t
}

// Track begins to look after a variable, or goes on with another range or version of it. data is what the owner has for it: if
// it is not what is known of the file, the variable is told of.
func (f *File) Track(v Variable, data []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check(&v, data); err != nil {
		return err
	}
	t := f.placeLocked(v)
	f.know(t, hashOf(data))
	if !bytes.Equal(f.shadow[v.Off:v.Off+v.Size], data) {
		f.markLocked(t, 0)
		f.wakeLocked()
	}
	return nil
}

// Forget ends looking after a variable.
func (f *File) Forget(id uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t := f.vars[id]; t != nil {
		t.dirty = false
		f.setOut(t, false)
		f.forgetRecord(t.record)
		delete(f.vars, id)
		f.index, f.front = nil, nil
	}
}

// Took says that what was found of a variable is what the owner has now, as a version.
func (f *File) Took(id, version uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t := f.vars[id]; t != nil {
		if t.Version = version; t.out {
			f.know(t, t.hash)
		}
		f.setOut(t, false)
	}
}

// Renumber says that the owner has another version of a variable now, with the same bytes. What was found over the one before is
// told of again.
func (f *File) Renumber(id, version uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t := f.vars[id]; t != nil {
		if t.Version = version; t.out {
			f.setOut(t, false)
			f.markLocked(t, 0)
			f.wakeLocked()
		}
	}
}

// Lost says that the owner has not taken what was found of a variable, and wants to be told of it again in a moment.
func (f *File) Lost(id uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t := f.vars[id]; t != nil && t.out {
		f.setOut(t, false)
		f.markLocked(t, 0)
		f.retry = f.d.now() + int64(retryAfter)
		f.wakeLocked()
	}
}

// retryAfter is how long nothing is told of after something was not taken.
const retryAfter = 100 * time.Millisecond

// racing bounds how long a put is repeated against others that store into the same place.
const racing = 200 * time.Microsecond

// Put writes a change of a variable that was made elsewhere, and looks after it from now on. What others have stored there and
// was not taken is lost. Variables that have bytes of it are told of.
func (f *File) Put(v Variable, data []byte) (err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check(&v, data); err != nil {
		return err
	}
	if err := f.borrow(); err != nil {
		return err
	}
	if err := f.makeRoom(v.Off, v.Size); err != nil {
		return err
	}
	t := f.placeLocked(v)
	f.putting(t)
	if err := f.write(v, data); err != nil && !f.cutBefore(v.Off+v.Size) {
		return err
	}
	f.know(t, hashOf(data))
	t.dirty = false
	f.setOut(t, false)
	f.unsavedLocked()
	f.indexLocked().over(v.Off, v.Off+v.Size, func(other *tracked) {
		if other != t {
			f.markLocked(other, 0)
			f.wakeLocked()
		}
	})
	return nil
}

// cutBefore reports whether a put has failed because somebody has cut the file short. It is what is known now, and comes into the
// file when that is mended, at once.
func (f *File) cutBefore(end int64) bool {
	st, err := f.wf.Stat()
	if err != nil || st.Size() >= end {
		return false
	}
	f.sound = min(f.sound, st.Size())
	f.want |= unix.IN_CLOSE_WRITE
	f.wakeLocked()
	return true
}

// write makes the file and the shadow what data is.
func (f *File) write(v Variable, data []byte) (err error) {
	defer caught(debug.SetPanicOnFault(true), &err)
	dst := f.w[v.Off : v.Off+v.Size]
	copy(f.shadow[v.Off:], data)
	if v.word() {
		store(dst, data)
		return nil
	}
	var began time.Time
	var found []diff.Range
	for {
		found = diff.Append(found[:0], dst, data, diff.DefaultGap)
		if len(found) == 0 {
			return nil
		}
		for _, r := range found {
			// Words are stored at once, so from the beginning of the first to the end of the last.
			from := max(0, r.Off-int((uintptr(v.Off)+uintptr(r.Off))&7))
			to := min(len(dst), r.Off+r.Len+7)
			store(dst[from:to], data[from:to])
		}
		switch {
		case began.IsZero():
			began = time.Now()
		case time.Since(began) > racing:
			return nil // it is found to differ
		}
	}
}

// borrow has the file open for writing for a while.
func (f *File) borrow() error {
	if f.w != nil {
		return nil
	}
	wf, err := f.reopen()
	if err != nil {
		return err
	}
	w, err := mapFile(wf, int64(len(f.cur)), unix.PROT_READ|unix.PROT_WRITE)
	if err != nil {
		_ = wf.Close()
		return err
	}
	f.w, f.wf, f.opened = w, wf, 1
	f.lent = f.d.now() + max(int64(lendFor), 100*int64(f.stats.Cost)) // however much is put: a writer is not seen meanwhile
	f.d.note(f.d.lent, f, f.d.tick)
	return nil
}

// makeRoom sees to it that there is room on the disk for a range: a store into a hole of a full one would be a fault.
func (f *File) makeRoom(off, n int64) error {
	first, last := off/PageSize, (off+n-1)/PageSize
	for p := first; p <= last; p++ {
		if !f.room.has(p) {
			err := unix.Fallocate(int(f.wf.Fd()), unix.FALLOC_FL_KEEP_SIZE, first*PageSize, (last-first+1)*PageSize)
			if err != nil && err != unix.EOPNOTSUPP {
				return fmt.Errorf("room in %s: %w", f.wf.Name(), err)
			}
			break
		}
	}
	f.room.addRange(off, n)
	if f.during != nil {
		f.during.addRange(off, n)
	}
	f.touched.addRange(off, n)
	return nil
}
