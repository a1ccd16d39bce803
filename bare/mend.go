package bare

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// unmended is why something could not be mended. It is tried again.
type unmended struct{ error }

func (e unmended) Unwrap() error { return e.error }

// unmendedUnless wraps an error of mending; nobody is there any more to try again after ErrClosed.
func unmendedUnless(err error) error {
	if err == nil || errors.Is(err, ErrClosed) {
		return err
	}
	return unmended{err}
}

// What could not be mended is tried again after a while, and each time after a longer one.
const (
	mendAfter = 100 * time.Millisecond
	mendLater = 30 * time.Second
)

// retry is when to mend again what could not be mended.
type retry struct {
	at    int64 // 0: there is nothing
	pause time.Duration
	said  string // what the owner was told of it
	anew  bool   // it has failed in this turn
}

// fix mends the file after an error of looking at it.
func (f *File) fix(err error) {
	if errors.Is(err, ErrCut) {
		if f.again.waiting(f.d.now()) {
			return
		}
		err = errors.Join(err, f.mend())
	}
	if err == nil || errors.Is(err, ErrClosed) {
		return
	}
	if u := (unmended{}); errors.As(err, &u) {
		f.again.anew = true
		if f.again.said == u.Error() {
			return
		}
		f.again.said = u.Error()
	}
	f.owner.Broken(err)
}

func (r *retry) waiting(now int64) bool { return r.at > now }

// due begins a turn, and reports whether what could not be mended is to be tried again.
func (r *retry) due(now int64) bool {
	r.anew = false
	return r.at != 0 && now >= r.at
}

// tried ends a turn in which everything was tried, or only what has failed.
func (r *retry) tried(everything bool, now int64) {
	switch {
	case r.anew:
		r.pause = min(max(2*r.pause, mendAfter), mendLater)
		r.at = now + int64(r.pause)
	case everything:
		*r = retry{}
	}
}

// mend makes a file that was cut short as long as it has to be, and writes what is known of the bytes that went. Meanwhile
// nobody compares the file with what is known: who mends is who compares.
func (f *File) mend() error {
	w, cut, err := f.beginMending()
	if err == nil && w == nil {
		err = errors.New("it is whole, and cannot be read") // what it is on is damaged, or full
	}
	if err != nil {
		return unmendedUnless(err)
	}
	defer w.Close()
	for from := cut; err == nil && from < f.length(); {
		from, err = f.writeKnown(w, from)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		f.kept = MaxSize
		err = f.saveState()
	}
	if err != nil {
		return unmendedUnless(err)
	}
	return fmt.Errorf("its bytes from %d on were written anew", cut)
}

// beginMending makes the file longer. w is nil if there is nothing to mend.
func (f *File) beginMending() (w *os.File, cut int64, err error) {
	sync := false
	f.mu.Lock()
	w, err = f.reopen()
	if err == nil {
		if cut, err = f.cutLocked(w); err == nil && cut < f.size {
			f.sound = cut
			sync, err = f.loseLocked(cut)
		}
	}
	whole := cut >= f.size
	f.mu.Unlock() // whoever puts something does not wait for the disk
	if err == nil && sync {
		err = f.state.Sync()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil && !whole {
		var st os.FileInfo
		if st, err = w.Stat(); err == nil {
			err = w.Truncate(max(st.Size(), f.size))
		}
	}
	if w != nil && (err != nil || whole) {
		_ = w.Close()
		return nil, 0, err
	}
	clear(f.room)
	f.unsavedLocked()
	return w, cut, err
}

// cutLocked is up to where the file has what is known.
func (f *File) cutLocked(w *os.File) (int64, error) {
	st, err := w.Stat()
	if err != nil {
		return 0, err
	}
	return min(st.Size(), f.size, f.sound), nil
}

func (f *File) length() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.size
}

// writeKnown writes what is known of some bytes, and returns where to go on.
func (f *File) writeKnown(w io.WriterAt, from int64) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return from, ErrClosed
	}
	to := min(from+chunk, f.size)
	for _, p := range f.touched.between(from/PageSize, (to+PageSize-1)/PageSize) {
		at := max(from, p*PageSize)
		page, err := f.restored(f.shadow[at:(p+1)*PageSize], at)
		if err == nil {
			_, err = w.WriteAt(page, at)
		}
		if err != nil {
			return from, err
		}
	}
	if f.sound = to; to == f.size {
		f.sound = MaxSize
	}
	return to, nil
}

// restored is what is known of some bytes of the file at an offset, but for the words that somebody has written since it was cut.
func (f *File) restored(known []byte, off int64) ([]byte, error) {
	page := make([]byte, len(known))
	if _, err := f.ro.ReadAt(page, off); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	for len(known) > 0 {
		n := min(8, len(known))
		at := len(page) - len(known)
		if word := page[at : at+n]; bytes.Count(word, []byte{0}) == n {
			copy(word, known)
		}
		known = known[n:]
	}
	return page, nil
}

// trim cuts a file that somebody has made longer, if nobody has it open any more.
func (f *File) trim() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	st, err := f.ro.Stat()
	if err != nil || st.Size() <= int64(len(f.cur)) {
		return err
	}
	w, err := f.reopen()
	if err != nil {
		return err
	}
	defer w.Close()
	return w.Truncate(int64(len(f.cur))) // nobody needs what is behind the end that everybody knows
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
