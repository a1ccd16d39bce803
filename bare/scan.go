package bare

import (
	"errors"
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/diff"
)

const (
	chunk       = 256 << 10   // is compared under one lock
	busyShare   = 10          // scans take at most this part of the time while something is found,
	busyFor     = time.Second // and for so long after that; then see scout
	mostKept    = 64 << 10    // bytes of memory, of each file
	minInterval = 2 * time.Millisecond
	maxInterval = time.Second
	quietScan   = 30 * time.Second
	probeEvery  = 200 * time.Millisecond // beside the events, which say it at once

	// A variable has to hold still between two looks, but not for ever. Words too: Python's struct.pack_into, for one, stores a
	// number byte by byte, after zeroes.
	stillFor = 100 * time.Microsecond
	tooLong  = 20 * time.Millisecond
)

// learn makes the whole file known, before there is anybody to tell.
func (f *File) learn() error {
	return f.extents(func(from, to int64) error {
		_, err := f.compareLocked(from, to, 0)
		return err
	})
}

// scan looks through the file.
func (f *File) scan() error {
	var took time.Duration
	stored := false
	err := f.extents(func(from, to int64) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		began := time.Now()
		s, err := f.compareLocked(from, to, f.d.now())
		stored = stored || s
		took += time.Since(began)
		return err
	})
	f.mu.Lock()
	f.stats.Scans++
	f.stats.Cost = average(f.stats.Cost, took+wakeCost())
	f.setIntervalLocked()
	f.scanned = f.d.now()
	f.mu.Unlock()
	f.tellStored(stored)
	return err
}

// average goes on with what something costs.
func average(was, cost time.Duration) time.Duration {
	switch {
	case was == 0:
		return cost
	case cost > was: // one that was interrupted says nothing of what it takes
		return was + (min(cost, 4*was)-was)/8
	}
	return (was + cost) / 2 // the first one fills the mapping
}

// extents calls fn with the parts of the file where it has data, or had some, in pieces.
func (f *File) extents(fn func(from, to int64) error) error {
	f.mu.Lock()
	size, fd := f.size, int(f.ro.Fd())
	f.mu.Unlock()
	pieces := func(from, to int64) error {
		for ; from < to; from += chunk {
			if err := fn(from, min(to, from+chunk)); err != nil {
				return err
			}
		}
		return nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Size < size {
		return ErrCut
	}
	return dataOf(fd, size, func(hole, from, to int64) error {
		return errors.Join(f.hole(hole, from, fn), pieces(from, to))
	})
}

// dataOf calls fn with the parts of a file that have data, and where the hole before each begins.
func dataOf(fd int, size int64, fn func(hole, from, to int64) error) error {
	for off := int64(0); off < size; {
		from, err := unix.Seek(fd, off, unix.SEEK_DATA)
		to := size
		switch err {
		case nil:
			from = min(from, size) &^ (PageSize - 1)
			if end, err := unix.Seek(fd, from, unix.SEEK_HOLE); err == nil {
				to = min((end+PageSize-1)&^(PageSize-1), size)
			}
		case unix.ENXIO: // no more data
			from = size
		default: // not on this file system
			from = off
		}
		from, to = max(from, off), max(to, off)
		if err := fn(off, from, to); err != nil {
			return err
		}
		if to == off { // it changes under us
			to = min(off+PageSize, size)
		}
		off = to
	}
	return nil
}

// hole calls fn with the pages of a hole that had data. The others are not touched: to look at them would fill them.
func (f *File) hole(from, to int64, fn func(from, to int64) error) error {
	f.mu.Lock()
	had := f.touched.between(from/PageSize, to/PageSize)
	f.mu.Unlock()
	for _, p := range had {
		if err := fn(p*PageSize, (p+1)*PageSize); err != nil {
			return err
		}
	}
	return nil
}

// compareLocked makes the bytes of a range known, and marks the variables of which they are. now is 0 for those that need not
// hold still. It reports whether there are others.
func (f *File) compareLocked(from, to, now int64) (stored bool, err error) {
	switch {
	case f.closed:
		return false, ErrClosed
	case to > f.size: // it has become shorter
		return false, nil
	case to > f.sound:
		return false, ErrCut
	}
	if f.ranges, err = f.syncShadow(f.ranges[:0], from, to); err != nil || len(f.ranges) == 0 {
		return false, err
	}
	f.unsavedLocked()
	f.hot = f.d.now()
	index := f.indexLocked()
	for _, r := range f.ranges {
		off := from + int64(r.Off)
		f.foundLocked(off)
		f.touched.addRange(off, int64(r.Len))
		if !index.over(off, off+int64(r.Len), func(t *tracked) { f.markLocked(t, now) }) {
			stored = true
		}
	}
	return stored, nil
}

func (f *File) indexLocked() *spans {
	if f.index == nil {
		f.index = newSpans(f.vars)
	}
	return f.index
}

// syncShadow makes bytes known, and returns which of them were not. If the file has become shorter, none are: the end of the last
// page is then 0, as if somebody had stored that, and at the next there is a fault.
func (f *File) syncShadow(dst []diff.Range, from, to int64) (found []diff.Range, err error) {
	defer caught(debug.SetPanicOnFault(true), &err)
	dst = diff.Append(dst, f.cur[from:to], f.shadow[from:to], 0)
	if len(dst) == 0 {
		return dst, nil
	}
	last := dst[len(dst)-1]
	from, to = from+int64(dst[0].Off), from+int64(last.Off)+int64(last.Len)
	// Whole words, so that none is torn.
	begin := from &^ 63
	f.copied = append(f.copied[:0], f.cur[begin:min((to+63)&^63, int64(len(f.cur)))]...)
	var st unix.Stat_t
	if err := unix.Fstat(int(f.ro.Fd()), &st); err != nil {
		return nil, err
	}
	if st.Size < to {
		return nil, ErrCut
	}
	skip := dst[0].Off
	dst = diff.Sync(dst[:0], f.copied[from-begin:to-begin], f.shadow[from:to], 0)
	for i := range dst {
		dst[i].Off += skip
	}
	if cap(f.copied) > mostKept {
		f.copied = nil
	}
	return dst, nil
}

// lookWhereRung looks at the pages for which programs have rung the bell.
func (f *File) lookWhereRung() (err error) {
	stored := false
	began := time.Now()
	f.mu.Lock()
	f.stats.Rung++
	hot := f.hot
	f.mu.Unlock()
	for w, more := int64(0), true; err == nil && more; {
		var s bool
		s, w, more, err = f.lookAtWords(w)
		stored = stored || s
	}
	f.mu.Lock()
	mute := f.charge(f.hot == hot, time.Since(began)+ringWakes*wakeCost())
	f.mu.Unlock()
	if mute != 0 {
		f.d.bells.mute(f, mute)
	}
	f.tellStored(stored)
	return err
}

const (
	ringWakes  = 3                     // those of the thread that hears it and of the goroutine that looks, and going to sleep
	bellShare  = 50                    // bells that were rung for nothing take at most this part of the time,
	bellCredit = 20 * time.Millisecond // and so much of it at once
	bellPause  = time.Millisecond      // of it is there when a bell is heard again
)

// charge takes what it has cost to look where the bell was rung from the file's credit, if there was nothing, or gives it back. It
// returns until when the bell is not to be heard, 0 if it is.
func (f *File) charge(nothing bool, cost time.Duration) (mute int64) {
	now := f.d.now()
	f.owed = max(0, f.owed-(now-f.owedAt)/bellShare)
	f.owedAt = now
	if !nothing {
		f.owed = max(0, f.owed-int64(cost))
		return 0
	}
	if f.owed += int64(cost); f.owed <= int64(bellCredit) {
		return 0
	}
	return now + (f.owed-int64(bellCredit-bellPause))*bellShare
}

// lookAtWords looks at pages from a word of the bitmap on, as many as are compared under one lock.
func (f *File) lookAtWords(w int64) (stored bool, next int64, more bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for pages := int64(0); w < (f.size/PageSize+63)/64; w++ {
		if pages >= chunk/PageSize {
			return stored, w, true, nil
		}
		bits, err := f.takeBits(int(w))
		if err != nil {
			return stored, w, false, nil // a bell that is cut short is made again
		}
		for p := w * 64; bits != 0; p, bits = p+1, bits>>1 {
			if bits&1 == 0 || (p+1)*PageSize > f.size {
				continue
			}
			s, err := f.compareLocked(p*PageSize, (p+1)*PageSize, 0)
			if err != nil {
				return stored, w, false, err
			}
			stored = stored || s
			pages++
		}
	}
	return stored, w, false, nil
}

func (f *File) takeBits(word int) (bits uint64, err error) {
	defer caught(debug.SetPanicOnFault(true), &err)
	at := word64(f.bell, bellHeader+8*word)
	if atomic.LoadUint64(at) == 0 {
		return 0, nil
	}
	return atomic.SwapUint64(at, 0), nil
}
