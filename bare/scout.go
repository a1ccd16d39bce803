package bare

import (
	"bytes"
	"errors"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// scout looks whether something was stored into the files that somebody has open for writing, and in which nothing was found for a
// while. To wake up takes longer than to look at a small file, so it does so for all of them at once, on a thread of its own:
// a goroutine's timer costs twice as much. What it takes is bounded for all files together: about 1 % of the time for waking up
// and looking at what is likely to be stored into, and as much for looking at everything.
type scout struct {
	d    *Dir
	call *uint32 // a futex
	// busy is how many files something was found in during the last second. They are scanned by themselves.
	busy atomic.Int64
	cost time.Duration // of a round; run's own

	mu      sync.Mutex // guards the following
	files   map[*File]struct{}
	started bool
	closed  bool
}

const (
	frontShare = 100 // see above
	wholeShare = 120
	mostShare  = 20 // of everything, if there are so many files that it is looked at once a second

	mostFront  = 16 << 10 // bytes that are likely to be stored into, and
	mostRanges = 128      // in so many places
)

func newScout(d *Dir) *scout { return &scout{d: d, call: new(uint32), files: map[*File]struct{}{}} }

func (s *scout) changed() {
	atomic.AddUint32(s.call, 1)
	wakeAll(s.call)
}

func (s *scout) add(f *File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	if !s.started {
		s.started = true
		s.d.wg.Go(s.run)
	}
	s.files[f] = struct{}{}
	if len(s.files) == 1 {
		s.changed()
	}
}

// remove ends looking at a file. The scout may be at it for a moment yet, see File.steady.
func (s *scout) remove(f *File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.files, f)
}

func (s *scout) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.changed()
}

func (s *scout) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var list []*File
	for {
		call := atomic.LoadUint32(s.call)
		s.mu.Lock()
		closed := s.closed
		list = list[:0]
		for f := range s.files {
			list = append(list, f)
		}
		s.mu.Unlock()
		if closed {
			return
		}
		var wait *unix.Timespec
		if len(list) > 0 {
			t := unix.NsecToTimespec(int64(s.round(list)))
			wait = &t
		}
		clear(list)
		_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(s.call)), futexWait, uintptr(call), uintptr(unsafe.Pointer(wait)), 0, 0)
	}
}

// round looks at all files once, and returns when to do so again.
func (s *scout) round(list []*File) time.Duration {
	busy := int64(0)
	front := time.Duration(0)
	for _, f := range list {
		hot, took := f.peek(len(list))
		front += took
		if hot {
			busy++
		}
	}
	s.busy.Store(busy)
	s.cost = average(s.cost, front)
	return min(max(frontShare*(s.cost+threadCost()), minInterval), maxInterval)
}

// peek looks whether something was stored into the file, and has it scanned then. hot: it is scanned by itself. took is what it has
// taken to look at the front.
func (f *File) peek(files int) (hot bool, took time.Duration) {
	f.steady.Lock() // the descriptor and the mappings
	defer f.steady.Unlock()
	f.mu.Lock()
	now := f.d.now()
	if f.closed || f.blind || f.cur == nil {
		f.mu.Unlock()
		return false, 0
	}
	if f.isHot(now) {
		f.mu.Unlock()
		return true, 0
	}
	began := time.Now()
	differs := f.frontDiffers()
	due := now >= f.peekAt
	f.mu.Unlock()
	took = time.Since(began)
	if !differs && due {
		differs = f.peekAll(files)
	}
	if differs {
		f.mu.Lock()
		f.spotted = true
		f.wakeLocked()
		f.mu.Unlock()
	}
	return false, took
}

var errDiffers = errors.New("something was stored")

// peekAll looks whether any bytes are not those that are known.
func (f *File) peekAll(files int) bool {
	var took time.Duration
	err := f.extents(func(from, to int64) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		began := time.Now()
		defer func() { took += time.Since(began) }()
		if f.closed || to > min(f.size, f.sound) {
			return nil
		}
		if same, err := equal(f.cur[from:to], f.shadow[from:to]); err == nil && !same {
			return errDiffers
		}
		return nil // what cannot be read is the scan's
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.peekCost = average(f.peekCost, took)
	all := time.Duration(files) * f.peekCost
	f.stats.Interval = min(max(wholeShare*all, minInterval), max(maxInterval, mostShare*all))
	f.peekAt = f.d.now() + int64(f.stats.Interval)
	return errors.Is(err, errDiffers)
}

func equal(a, b []byte) (same bool, err error) {
	defer caught(debug.SetPanicOnFault(true), &err)
	return bytes.Equal(a, b), nil
}

// frontDiffers looks whether something was stored where it is likely: into the variables, if they have few bytes, and to where
// something was found last. Holes are left alone.
func (f *File) frontDiffers() bool {
	if f.front == nil {
		f.front = f.frontLocked()
	}
	for _, r := range f.front {
		if r.to > min(f.size, f.sound) {
			continue
		}
		if same, err := equal(f.cur[r.from:r.to], f.shadow[r.from:r.to]); err == nil && !same {
			return true
		}
	}
	return false
}

// extent is a range of bytes.
type extent struct{ from, to int64 }

// frontLocked lists what is likely to be stored into.
func (f *File) frontLocked() []extent {
	list := []extent{}
	total := int64(0)
	add := func(from, to int64) {
		for p := from &^ (PageSize - 1); p < to; p += PageSize {
			if f.touched.has(p / PageSize) {
				list = append(list, extent{max(from, p), min(to, p+PageSize)})
				total += list[len(list)-1].to - list[len(list)-1].from
			}
		}
	}
	for _, p := range f.found {
		add(p*PageSize, min((p+1)*PageSize, f.size))
	}
	if index := f.indexLocked().list; len(index) <= mostRanges {
		size := int64(0)
		for _, v := range index {
			size += v.Size
		}
		for _, v := range index {
			if size <= mostFront {
				add(v.Off, v.Off+v.Size)
			}
		}
	}
	slices.SortFunc(list, func(a, b extent) int { return int(a.from - b.from) })
	return list
}

// foundLocked remembers where something was found.
func (f *File) foundLocked(off int64) {
	p := off / PageSize
	if !slices.Contains(f.found[:], p) {
		f.found[f.foundAt%len(f.found)] = p
		f.foundAt++
		f.front = nil
	}
}
