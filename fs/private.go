package fs

import (
	"slices"
	"syscall"
	"time"

	varsync "github.com/commy-project/commyfs/sync"
)

// private is the state of a descriptor on a file that only this mount has: a temporary, or one that was removed while it was
// open. Its descriptors share it.
type private struct {
	*handle
	file *unshared
}

func (p *private) view() *reader      { return nil }
func (p *private) flush(uint32) error { return nil }
func (p *private) fsync() error       { return nil }
func (p *private) release() error     { return nil }

func (p *private) read(buf []byte, off uint64) (int, error) { return p.file.readAt(buf, off) }

func (p *private) write(off int64, data []byte) error {
	if p.appends {
		off, _ = p.file.stat()
	}
	if err := p.fs.checkSize(off, int64(len(data))); err != nil {
		return err
	}
	return p.file.carryOut(p.change(off, data))
}

func (p *private) truncate(size int64) error {
	return p.file.carryOut(varsync.Edit{Kind: varsync.EditTruncate, Size: size})
}

// readAt fails with errMoved if the file has become a variable.
func (l *unshared) readAt(buf []byte, off uint64) (n int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.v != nil {
		return 0, errMoved
	}
	if off < uint64(len(l.data)) {
		n = copy(buf, l.data[off:])
	}
	return n, nil
}

// carryOut makes a change. It fails with errMoved if the file has become a variable: that is what to change.
func (l *unshared) carryOut(e varsync.Edit) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.v != nil {
		return errMoved
	}
	l.changeLocked(e)
	return nil
}

func (l *unshared) changeLocked(e varsync.Edit) {
	l.data = edited(l.data, e)
	l.mtime, l.stamped = time.Now(), false
	l.edits++
}

// unstamp forgets a time that was set: something was written since.
func (ls *unsharedFiles) unstamp(l *unshared) {
	l.mu.Lock()
	was := l.stamped
	l.stamped = false
	l.mu.Unlock()
	if was {
		ls.noteDescribed(l)
	}
}

// checkSize refuses n bytes at off that no value has room for. The sum of the two may be beyond what an int64 holds.
func (f *FS) checkSize(off, n int64) error {
	if limit := f.c.Welcome().Limits.Value; off < 0 || n > limit || off > limit-n {
		return syscall.EFBIG
	}
	return nil
}

// edited carries a change out on data, which is the caller's to change.
func edited(data []byte, e varsync.Edit) []byte {
	switch e.Kind {
	case varsync.EditWrite:
		return writeAt(data, e.Off, e.Data)
	case varsync.EditAppend:
		return append(data, e.Data...)
	case varsync.EditTruncate:
		return resize(data, e.Size)
	}
	return slices.Clone(e.Data)
}

// writeAt writes data at off into buf, which grows with zeros if it must.
func writeAt(buf []byte, off int64, data []byte) []byte {
	buf = resize(buf, max(int64(len(buf)), off+int64(len(data))))
	copy(buf[off:], data)
	return buf
}

func resize(buf []byte, size int64) []byte {
	have := int64(len(buf))
	if size <= have {
		return buf[:size]
	}
	buf = slices.Grow(buf, int(size-have))[:size]
	clear(buf[have:])
	return buf
}
