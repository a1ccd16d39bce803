package bare

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// reopen opens the file to write, whatever is in its place by now.
func (f *File) reopen() (*os.File, error) {
	path := fmt.Sprintf("/proc/self/fd/%d", f.ro.Fd())
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err == nil {
		return os.NewFile(uintptr(fd), f.ro.Name()), nil
	}
	if err != unix.ENOENT {
		return nil, &os.PathError{Op: "open", Path: f.ro.Name(), Err: err}
	}
	// There is no /proc.
	w, err := f.d.open(name(f.service, "mem"), os.O_RDWR)
	if err != nil {
		return nil, err
	}
	if same, err := sameFile(w, f.ro); err != nil || !same {
		_ = w.Close()
		return nil, errors.Join(err, ErrReplaced)
	}
	return w, nil
}

func sameFile(a, b *os.File) (bool, error) {
	x, err := a.Stat()
	if err != nil {
		return false, err
	}
	y, err := b.Stat()
	return err == nil && os.SameFile(x, y), err
}

// inPlace reports whether the file is where it belongs.
func (f *File) inPlace() (bool, error) {
	var st, at unix.Stat_t
	if err := unix.Fstat(int(f.ro.Fd()), &st); err != nil {
		return false, err
	}
	err := unix.Fstatat(int(f.d.dir.Fd()), name(f.service, "mem"), &at, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil && err != unix.ENOENT {
		return false, &os.PathError{Op: "stat", Path: f.d.path(f.service, "mem"), Err: err}
	}
	return err == nil && at.Ino == st.Ino && at.Dev == st.Dev, nil
}

// checkPlace makes the file anew if it is not in its place any more. What is in the old one is in the new one.
func (f *File) checkPlace() error {
	there, err := f.inPlace()
	if there || err != nil {
		return unmendedUnless(err)
	}
	if err := f.makeAnew(); err != nil {
		return unmendedUnless(fmt.Errorf("%w: make %s anew: %w", ErrReplaced, f.d.path(f.service, "mem"), err))
	}
	return ErrReplaced
}

// makeAnew copies the file into its place. Until then the old one is put into as before, so that nobody waits for the copying.
func (f *File) makeAnew() (err error) {
	next := name(f.service, "mem.new")
	if err := f.d.unlink(next); err != nil {
		return err
	}
	w, err := f.d.open(next, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	defer w.Close()
	ro, err := f.d.open(next, os.O_RDONLY) // now, as with all that can fail
	if err == nil {
		if err = f.copyTo(w); err == nil {
			ro, err = f.moveTo(w, ro, next)
		}
		f.steady.Lock()
		_ = ro.Close()
		f.steady.Unlock()
	}
	f.mu.Lock()
	f.during = nil
	f.mu.Unlock()
	if err != nil {
		err = errors.Join(err, f.d.unlink(next))
	}
	return err
}

// copyTo copies the file, but not its holes: to look at them would fill them.
func (f *File) copyTo(w *os.File) error {
	f.mu.Lock()
	f.during = newPages(MaxSize)
	size := f.size
	err := w.Truncate(int64(len(f.cur)))
	f.mu.Unlock()
	if err != nil {
		return err
	}
	return dataOf(int(f.ro.Fd()), size, func(_, from, to int64) error {
		for ; from < to; from += chunk {
			if err := f.copyPart(w, from, min(to, from+chunk)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (f *File) copyPart(w io.WriterAt, from, to int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return ErrClosed
	}
	return writeMapped(w, f.cur[from:to], from)
}

// moveTo puts the copy in the file's place, once it has what was put into the old one meanwhile. It returns which of the two is to be
// closed: ro, or what the file was before.
func (f *File) moveTo(w, ro *os.File, next string) (other *os.File, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for round := 0; ; round++ {
		put := f.during.between(0, f.size/PageSize)
		clear(f.during)
		last := len(put) <= chunk/PageSize || round == mostRounds
		for _, p := range put {
			if err := writeMapped(w, f.cur[p*PageSize:(p+1)*PageSize], p*PageSize); err != nil {
				return ro, err
			}
			if !last {
				f.mu.Unlock()
				f.mu.Lock()
			}
		}
		if f.closed {
			return ro, ErrClosed
		}
		if last {
			break
		}
	}
	size := int64(len(f.cur)) // it may have grown
	if err := w.Truncate(size); err != nil {
		return ro, err
	}
	cur, err := mapFile(ro, size, unix.PROT_READ)
	if err != nil {
		return ro, err
	}
	dir := int(f.d.dir.Fd())
	if err := unix.Renameat(dir, next, dir, name(f.service, "mem")); err != nil {
		unmap(cur)
		return ro, err
	}
	f.giveBack()
	unmap(f.cur)
	other, f.ro, f.cur = f.ro, ro, cur
	clear(f.room)
	f.want |= unix.IN_OPEN
	f.unsavedLocked()
	return other, nil
}

// mostRounds bounds how often is copied what was put during the copying before.
const mostRounds = 8

func writeMapped(w io.WriterAt, b []byte, off int64) (err error) {
	defer caught(debug.SetPanicOnFault(true), &err)
	if _, err = w.WriteAt(b, off); errors.Is(err, unix.EFAULT) {
		err = ErrCut
	}
	return err
}
