package bare

import (
	"runtime/debug"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bells waits for the bells of the files that somebody has open for writing, of as many as the kernel lets one thread wait for.
// Those of others are not heard: their files are scanned in any case.
type bells struct {
	call *uint32 // a futex of our own

	mu     sync.Mutex       // guards the following
	files  map[*File]uint32 // with the number that was last heard
	closed bool
}

const (
	mostBells = 127 // FUTEX_WAITV_MAX less our own

	futexU32 = 2
)

// waitv is struct futex_waitv.
type waitv struct {
	val      uint64
	addr     uint64
	flags    uint32
	reserved uint32
}

func newBells() *bells { return &bells{call: new(uint32), files: map[*File]uint32{}} }

func (b *bells) changed() {
	atomic.AddUint32(b.call, 1)
	wakeAll(b.call)
}

// add has a file's bell heard. Its mapping stays until remove has returned.
func (b *bells) add(f *File) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, there := b.files[f]; there || b.closed || len(b.files) == mostBells {
		return
	}
	heard, err := f.listen(1)
	if err != nil {
		return
	}
	b.files[f] = heard
	b.changed()
}

func (b *bells) remove(f *File) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, there := b.files[f]; there {
		delete(b.files, f)
		_, _ = f.listen(0) // if that fails nobody rings there
		b.changed()
	}
}

func (b *bells) close() {
	b.mu.Lock()
	b.closed = true
	b.changed()
	b.mu.Unlock()
}

func (b *bells) run() {
	list := make([]waitv, 0, mostBells+1)
	for {
		var rung []*File
		b.mu.Lock()
		if b.closed {
			b.mu.Unlock()
			return
		}
		list = append(list[:0], waitv{val: uint64(atomic.LoadUint32(b.call)), addr: uint64(uintptr(unsafe.Pointer(b.call))), flags: futexU32})
		for f, heard := range b.files {
			now, err := f.heard()
			if err != nil { // cut short: it is made again when the file is next looked at
				delete(b.files, f)
				rung = append(rung, f)
				continue
			}
			if now != heard {
				b.files[f] = now
				rung = append(rung, f)
			}
			list = append(list, waitv{val: uint64(now), addr: uint64(uintptr(unsafe.Pointer(word32(f.bell, offBell)))), flags: futexU32})
		}
		b.mu.Unlock()
		for _, f := range rung {
			f.ring()
		}
		// A bell that is unmapped by now is an error, or another number at another place: our own word has changed then.
		_, _, err := unix.Syscall6(unix.SYS_FUTEX_WAITV, uintptr(unsafe.Pointer(&list[0])), uintptr(len(list)), 0, 0, 0, 0)
		if err == unix.ENOSYS || err == unix.EPERM || err == unix.EINVAL {
			return // Linux before 5.16, or a container that does not let it through
		}
	}
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
