package bare

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// mend makes a file that was cut short as long as it has to be, and writes what is known of the bytes that went.
func (f *File) mend() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	w, err := f.d.open(name(f.service, "mem"), os.O_RDWR)
	if err != nil {
		return err
	}
	defer w.Close()
	if same, err := sameFile(w, f.ro); err != nil || !same {
		return err // it was replaced, which is mended on its own
	}
	st, err := w.Stat()
	if err != nil || st.Size() >= f.size {
		return err
	}
	cut := st.Size()
	if err := f.lose(cut); err != nil {
		return err
	}
	if err := w.Truncate(f.size); err != nil {
		return err
	}
	clear(f.room)
	f.unsavedLocked()
	for p := cut / PageSize; p < f.size/PageSize; p++ {
		if from := max(cut, p*PageSize); f.touched.has(p) {
			if _, err := w.WriteAt(f.shadow[from:(p+1)*PageSize], from); err != nil {
				return err
			}
		}
	}
	f.kept = MaxSize
	return errors.Join(fmt.Errorf("its bytes from %d on were written anew", cut), f.saveState())
}

// trim cuts a file that somebody has made longer, if nobody has it open any more.
func (f *File) trim() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	st, err := f.ro.Stat()
	if err != nil || st.Size() <= int64(len(f.cur)) {
		return err
	}
	w, err := f.d.open(name(f.service, "mem"), os.O_RDWR)
	if err != nil {
		return err
	}
	defer w.Close()
	if same, err := sameFile(w, f.ro); err != nil || !same {
		return err
	}
	return w.Truncate(int64(len(f.cur))) // nobody needs what is behind the end that everybody knows
}

// checkPlace makes the file anew if it is not in its place any more. What is in the old one is in the new one.
func (f *File) checkPlace() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	path := f.d.path(f.service, "mem")
	var st, at unix.Stat_t
	if err := unix.Fstat(int(f.ro.Fd()), &st); err != nil {
		return err
	}
	err := unix.Fstatat(int(f.d.dir.Fd()), name(f.service, "mem"), &at, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil && at.Ino == st.Ino && at.Dev == st.Dev {
		return nil
	}
	next := name(f.service, "mem.new")
	if err := os.Remove(path + ".new"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	w, err := f.d.open(next, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	defer w.Close()
	err = w.Truncate(max(f.size, int64(len(f.cur))))
	if err == nil {
		err = f.copyTo(w)
	}
	if err == nil {
		err = unix.Renameat(int(f.d.dir.Fd()), next, int(f.d.dir.Fd()), name(f.service, "mem"))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("make %s anew: %w", path, err), os.Remove(path+".new"))
	}
	ro, err := f.d.open(name(f.service, "mem"), os.O_RDONLY)
	if err != nil {
		return err
	}
	f.giveBack()
	_ = f.ro.Close()
	f.ro = ro
	f.want |= unix.IN_OPEN
	f.unsavedLocked()
	if err := f.mapAll(int64(len(f.cur))); err != nil {
		return err
	}
	return ErrReplaced
}

// copyTo copies the file, but not its holes: to look at them would fill them.
func (f *File) copyTo(w io.WriterAt) error {
	return dataOf(int(f.ro.Fd()), f.size, func(_, from, to int64) error {
		for ; from < to; from += chunk {
			if err := writeMapped(w, f.cur[from:min(to, from+chunk)], from); err != nil {
				return err
			}
		}
		return nil
	})
}

func writeMapped(w io.WriterAt, b []byte, off int64) (err error) {
	defer caught(debug.SetPanicOnFault(true), &err)
	_, err = w.WriteAt(b, off)
	return err
}

// pages has a bit for each page.
type pages []uint64

func newPages(size int64) pages { return make(pages, (size/PageSize+63)/64) }

func (p pages) has(n int64) bool { return p[n/64]&(1<<(n%64)) != 0 }
func (p pages) add(n int64)      { p[n/64] |= 1 << (n % 64) }

// between lists the pages from one to another.
func (p pages) between(from, to int64) (list []int64) {
	for n := from; n < min(to, int64(64*len(p))); {
		switch {
		case n%64 == 0 && p[n/64] == 0:
			n += 64
			continue
		case p.has(n):
			list = append(list, n)
		}
		n++
	}
	return list
}

// addRange adds the pages of a range of bytes.
func (p pages) addRange(off, n int64) {
	for i := off / PageSize; i <= (off+n-1)/PageSize; i++ {
		p.add(i)
	}
}
