package bare

import (
	"errors"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/diff"
)

const (
	chunk       = 256 << 10 // is compared under one lock
	share       = 100       // a scan takes at most this part of the time,
	busyShare   = 10        // and this one while something is found
	busyFor     = time.Second
	minInterval = 2 * time.Millisecond
	maxInterval = time.Second
	probeEvery  = 200 * time.Millisecond // beside the events, which say it at once

	// A variable has to hold still between two looks, but not for ever. Words too: Python's struct.pack_into, for one, stores a
	// number byte by byte, after zeroes.
	stillFor = 100 * time.Microsecond
	tooLong  = 20 * time.Millisecond
)

// Start begins to look, also at what was stored since the file was opened by somebody who has left.
func (f *File) Start() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.started = true
	f.want |= unix.IN_OPEN | unix.IN_CLOSE_WRITE
	f.wakeLocked()
}

// happened is told of what was done to the file.
func (f *File) happened(mask uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cur == nil { // closed since
		f.d.stranger(f.service)
		return
	}
	f.want |= mask
	f.wakeLocked()
}

// ring is told that the bell was rung.
func (f *File) ring() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rung = true
	f.wakeLocked()
}

func (f *File) wake() {
	select {
	case f.kick <- struct{}{}:
	default:
	}
}

// wakeLocked has the file looked at.
func (f *File) wakeLocked() {
	if f.started && !f.active && !f.closed {
		f.active = true
		f.running.Go(f.run)
	}
	f.wake()
}

// run looks after the file while somebody has it open for writing or the owner has something to be told.
func (f *File) run() {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		wait, ok := f.turn()
		if !ok {
			return
		}
		t.Reset(wait)
		select {
		case <-f.kick:
		case <-t.C:
		}
	}
}

// turn does what there is to do, and returns when to come again; !ok: there is no need to.
func (f *File) turn() (wait time.Duration, ok bool) {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return 0, false
	}
	want, rung, was := f.want, f.rung, f.writable
	due := was && f.sinceScan() >= f.stats.Interval // however often something else is to be done
	f.want, f.rung = 0, false
	f.mu.Unlock()
	if want&(unix.IN_DELETE|unix.IN_MOVED_FROM|unix.IN_MOVED_TO) != 0 {
		f.fix(f.checkPlace())
	}
	if want != 0 || was && f.d.now()-f.probed > int64(probeEvery) {
		f.probe()
	}
	f.mu.Lock()
	writable := f.writable
	f.mu.Unlock()
	if _, err := f.heard(); writable != was || writable && err != nil {
		f.watchBell(writable)
	}
	if rung {
		f.fix(f.lookWhereRung())
	}
	later := f.tooSoon(want&unix.IN_MODIFY != 0)
	if later == 0 || want&unix.IN_CLOSE_WRITE != 0 || due || was != writable {
		f.fix(f.scan())
		later = -1
	}
	if was && !writable {
		f.fix(f.trim())
	}
	again := f.tellOwner()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.late = later > 0
	switch {
	case f.closed:
		return 0, false
	case f.want != 0 || f.rung:
		return 0, true
	case again > 0:
		return again, true
	case later > 0:
		return later, true
	case f.untoldLocked(): // who marked it may have waked us before we came to the end
		return max(0, time.Duration(f.retry-f.d.now())), true
	case f.writable:
		return max(0, f.stats.Interval-f.sinceScan()), true
	}
	f.active = false
	return 0, false
}

// untoldLocked reports whether there is a variable to tell of that the owner has not been told of already.
func (f *File) untoldLocked() bool {
	return slices.ContainsFunc(f.dirty, func(t *tracked) bool { return t.dirty && !t.out })
}

// sinceScan is how long ago the file was last looked through.
func (f *File) sinceScan() time.Duration { return time.Duration(f.d.now() - f.scanned) }

// tooSoon says when a file that was written to can be looked through, so that who writes without end does not have it looked
// through without end. -1: it was not written to.
func (f *File) tooSoon(written bool) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !written && !f.late {
		return -1
	}
	return max(0, busyShare*f.stats.Cost-f.sinceScan())
}

// watchBell begins or ends to listen for the bell. A bell that was broken is made again.
func (f *File) watchBell(on bool) {
	if !on {
		f.d.bells.remove(f)
		return
	}
	if _, err := f.heard(); err != nil {
		f.d.bells.remove(f)
		f.mu.Lock()
		err := f.openBell()
		f.mu.Unlock()
		if err != nil {
			f.d.o.Logger.Error("the bell of a bare service cannot be had", "service", f.service, "err", err)
			return
		}
	}
	f.d.bells.add(f)
}

// probe finds out whether somebody else has the file open for writing. While we have, nobody can say: then somebody may.
func (f *File) probe() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.probed = f.d.now()
	f.writable = f.w != nil || writers(f.ro)
	f.stats.Writable = f.writable
	f.setIntervalLocked()
}

func (f *File) setIntervalLocked() {
	part := time.Duration(share)
	if f.hot != 0 && f.d.now()-f.hot < int64(busyFor) {
		part = busyShare
	}
	f.stats.Interval = min(max(part*f.stats.Cost, minInterval), maxInterval)
}

// fix mends the file after an error of looking at it.
func (f *File) fix(err error) {
	if errors.Is(err, ErrCut) {
		err = errors.Join(err, f.mend())
	}
	if err != nil {
		f.owner.Broken(err)
	}
}

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
	cost := took + wakeCost()
	switch was := f.stats.Cost; {
	case was == 0:
	case cost > was: // one that was interrupted says nothing of what it takes
		cost = was + (min(cost, 4*was)-was)/8
	default: // the first one fills the mapping
		cost = (was + cost) / 2
	}
	f.stats.Cost = cost
	f.setIntervalLocked()
	f.scanned = f.d.now()
	f.mu.Unlock()
	f.tellStored(stored)
	return err
}

// tellStored tells of bytes that are no variable's: the owner, and those who wait for changes.
func (f *File) tellStored(stored bool) {
	if !stored {
		return
	}
	f.mu.Lock()
	if !f.closed {
		_ = f.tell(stateLive)
	}
	f.mu.Unlock()
	f.owner.Stored()
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
	for off := int64(0); off < size; {
		from, err := unix.Seek(fd, off, unix.SEEK_DATA)
		to := size
		switch err {
		case nil:
			from = min(from, size)
			if end, err := unix.Seek(fd, from, unix.SEEK_HOLE); err == nil {
				to = min(end, size)
			}
		case unix.ENXIO: // no more data
			from = size
		default: // not on this file system
			from = off
		}
		if err := errors.Join(f.hole(off, from, fn), pieces(from, to)); err != nil {
			return err
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
	if to > f.size { // it has become shorter
		return false, nil
	}
	f.ranges, err = f.syncShadow(f.ranges[:0], from, to)
	if len(f.ranges) == 0 {
		return false, err
	}
	f.unsavedLocked()
	f.hot = f.d.now()
	index := f.indexLocked()
	for _, r := range f.ranges {
		off := from + int64(r.Off)
		f.touched.addRange(off, int64(r.Len))
		if !index.over(off, off+int64(r.Len), func(t *tracked) { f.markLocked(t, now) }) {
			stored = true
		}
	}
	return stored, err
}

func (f *File) indexLocked() *spans {
	if f.index == nil {
		f.index = newSpans(f.vars)
	}
	return f.index
}

func (f *File) syncShadow(dst []diff.Range, from, to int64) (found []diff.Range, err error) {
	defer caught(debug.SetPanicOnFault(true), &err)
	return diff.Sync(dst, f.cur[from:to], f.shadow[from:to], 0), nil
}

// markLocked remembers that a variable's bytes are others than its owner knows.
func (f *File) markLocked(t *tracked, now int64) {
	if !t.dirty {
		t.dirty, t.since = true, now
		f.dirty = append(f.dirty, t)
	}
	t.moved = now
	if now == 0 {
		t.since = 0
	}
}

// lookWhereRung looks at the pages for which programs have rung the bell.
func (f *File) lookWhereRung() error {
	stored := false
	defer func() { f.tellStored(stored) }()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stats.Rung++
	for w := int64(0); w < (f.size/PageSize+63)/64; w++ {
		bits, err := f.takeBits(int(w))
		if err != nil {
			return nil // a bell that is cut short is made again
		}
		for p := w * 64; bits != 0; p, bits = p+1, bits>>1 {
			if bits&1 == 0 || (p+1)*PageSize > f.size {
				continue
			}
			s, err := f.compareLocked(p*PageSize, (p+1)*PageSize, 0)
			if err != nil {
				return err
			}
			stored = stored || s
		}
	}
	return nil
}

func (f *File) takeBits(word int) (bits uint64, err error) {
	defer caught(debug.SetPanicOnFault(true), &err)
	at := word64(f.bell, bellHeader+8*word)
	if atomic.LoadUint64(at) == 0 {
		return 0, nil
	}
	return atomic.SwapUint64(at, 0), nil
}

// tellOwner tells of the variables that hold still, and returns when to look at the others again.
func (f *File) tellOwner() (again time.Duration) {
	for pause := stillFor; ; pause = min(2*pause, 4*time.Millisecond) {
		found, moving, err := f.collect()
		if err != nil {
			f.fix(err)
			return pause
		}
		if len(found) > 0 {
			f.owner.Found(found)
		}
		if !moving {
			return 0
		}
		t := time.NewTimer(pause)
		select {
		case <-f.kick: // a bell does not wait for them
			t.Stop()
			f.wake()
			return pause
		case <-t.C:
		}
	}
}

// collect returns the variables to tell of. moving: there are others, which do not hold still.
func (f *File) collect() (found []Found, moving bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.d.now()
	if f.closed || now < f.retry {
		return nil, false, nil
	}
	list := f.dirty
	f.dirty = nil
	keep := func(t *tracked) { f.dirty = append(f.dirty, t) }
	for i, t := range list {
		if !t.dirty {
			continue
		}
		if t.out { // it is its turn when the owner has dealt with it
			keep(t)
			continue
		}
		// Others may have bytes of it: they are marked, and come behind.
		if _, err := f.compareLocked(t.Off, t.Off+t.Size, now); err != nil {
			f.dirty = append(f.dirty, list[i:]...)
			return found, false, err
		}
		if t.since != 0 && now-t.moved < int64(stillFor) && now-t.since < int64(tooLong) {
			moving = true
			keep(t)
			continue
		}
		t.dirty, t.out = false, true
		data := slices.Clone(f.shadow[t.Off : t.Off+t.Size])
		found = append(found, Found{t.Variable, data})
	}
	f.stats.Found += uint64(len(found))
	return found, moving, nil
}
