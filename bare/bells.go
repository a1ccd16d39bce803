package bare

import (
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bells waits for the bells of the files that somebody has open for writing. The kernel lets a thread wait for 128 at a time, so
// there are as many threads as it takes.
type bells struct {
	d *Dir

	mu     sync.Mutex // guards the following
	groups []*bellGroup
	of     map[*File]*bellGroup
	deaf   bool // closed, or the kernel does not let anybody wait for many
}

// bellGroup is what one thread waits for.
type bellGroup struct {
	b    *bells
	call *uint32 // a futex of our own

	files map[*File]*bellWait // guarded by bells.mu
}

// bellWait is a bell that is waited for.
type bellWait struct {
	heard uint32 // the number that was last heard
	muted int64  // until when it is not waited for; 0: it is
}

const (
	mostBells = 127 // FUTEX_WAITV_MAX less our own

	// A group looks at its bells so often at once, and in a second.
	bellBurst = 256
	bellRate  = 20000

	futexU32       = 2
	clockMonotonic = 1
)

// waitv is struct futex_waitv.
type waitv struct {
	val      uint64
	addr     uint64
	flags    uint32
	reserved uint32
}

func newBells(d *Dir) *bells { return &bells{d: d, of: map[*File]*bellGroup{}} }

func (g *bellGroup) changed() {
	atomic.AddUint32(g.call, 1)
	wakeAll(g.call)
}

// add has a file's bell heard. Its mapping stays until remove has returned.
func (b *bells) add(f *File) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.deaf || b.of[f] != nil {
		return
	}
	heard, err := f.listen(1)
	if err != nil {
		return
	}
	i := slices.IndexFunc(b.groups, func(g *bellGroup) bool { return len(g.files) < mostBells })
	if i < 0 {
		g := &bellGroup{b: b, call: new(uint32), files: map[*File]*bellWait{}}
		b.groups = append(b.groups, g)
		b.d.wg.Go(g.run)
		i = len(b.groups) - 1
	}
	g := b.groups[i]
	g.files[f] = &bellWait{heard: heard}
	b.of[f] = g
	g.changed()
}

func (b *bells) remove(f *File) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if g := b.of[f]; g != nil {
		b.removeLocked(f)
		g.changed()
	}
}

func (b *bells) removeLocked(f *File) {
	delete(b.of[f].files, f)
	delete(b.of, f)
	_, _ = f.listen(0) // if that fails nobody rings there
}

// mute does not have a file's bell heard for a while: it was rung too often for nothing.
func (b *bells) mute(f *File, until int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if g := b.of[f]; g != nil {
		g.files[f].muted = until
		_, _ = f.listen(0)
		g.changed()
	}
}

// close ends waiting for anything.
func (b *bells) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.deaf = true
	for f := range b.of {
		b.removeLocked(f)
	}
	for _, g := range b.groups {
		g.changed()
	}
}

func (g *bellGroup) run() {
	list := make([]waitv, 0, mostBells+1)
	tokens, last := bellBurst, g.b.d.now()
	for {
		now := g.b.d.now()
		if more := int((now - last) * bellRate / int64(time.Second)); more > 0 {
			tokens, last = min(tokens+more, bellBurst), now
		}
		if tokens--; tokens < 0 { // the rest is heard together
			time.Sleep(time.Millisecond)
		}
		var rung []*File
		var again int64
		g.b.mu.Lock()
		if g.b.deaf {
			g.b.mu.Unlock()
			return
		}
		list, rung, again = g.look(list[:0], now)
		g.b.mu.Unlock()
		for _, f := range rung {
			f.ring()
		}
		var until *unix.Timespec
		if again != 0 {
			until = monotonic(time.Duration(again - now))
		}
		// A bell that is unmapped by now is an error, or another number at another place: our own word has changed then.
		_, _, err := unix.Syscall6(unix.SYS_FUTEX_WAITV, uintptr(unsafe.Pointer(&list[0])), uintptr(len(list)), 0,
			uintptr(unsafe.Pointer(until)), clockMonotonic, 0)
		if err == unix.ENOSYS || err == unix.EPERM || err == unix.EINVAL {
			g.b.close() // Linux before 5.16, or a container that does not let it through
			return
		}
	}
}

// look lists what to wait for, and which bells were rung. again is when one that is muted is to be heard again, 0: there is none.
func (g *bellGroup) look(list []waitv, now int64) (_ []waitv, rung []*File, again int64) {
	list = append(list, waitv{val: uint64(atomic.LoadUint32(g.call)), addr: uint64(uintptr(unsafe.Pointer(g.call))), flags: futexU32})
	for f, w := range g.files {
		if w.muted > now {
			if again == 0 || w.muted < again {
				again = w.muted
			}
			continue
		}
		if w.muted != 0 {
			w.muted = 0
			_, _ = f.listen(1) // if that fails so does heard
		}
		n, err := f.heard()
		if err != nil { // cut short: it is made again when the file is next looked at
			g.b.removeLocked(f)
			rung = append(rung, f)
			continue
		}
		if n != w.heard {
			w.heard = n
			rung = append(rung, f)
		}
		list = append(list, waitv{val: uint64(n), addr: uint64(uintptr(unsafe.Pointer(word32(f.bell, offBell)))), flags: futexU32})
	}
	return list, rung, again
}

// monotonic is the kernel's monotonic time after a while.
func monotonic(after time.Duration) *unix.Timespec {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return nil
	}
	t := unix.NsecToTimespec(now.Nano() + int64(after))
	return &t
}

// heard is the number that the bell shows.
func (f *File) heard() (n uint32, err error) {
	defer caught(debug.SetPanicOnFault(true), &err)
	return atomic.LoadUint32(word32(f.bell, offBell)), nil
}

// listen tells programs whether there is somebody to wake at the bell.
func (f *File) listen(on uint32) (n uint32, err error) {
	defer caught(debug.SetPanicOnFault(true), &err)
	n = atomic.LoadUint32(word32(f.bell, offBell))
	atomic.StoreUint32(word32(f.bell, offListening), on)
	return n, nil
}
