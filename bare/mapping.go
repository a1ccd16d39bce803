package bare

import (
	"fmt"
	"os"
	"runtime/debug"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// caught is deferred by every function that touches mapped bytes, with debug.SetPanicOnFault(true) as its first argument: a file
// that somebody cuts short is an error and no crash.
func caught(old bool, err *error) {
	debug.SetPanicOnFault(old)
	p := recover()
	if p == nil {
		return
	}
	if _, ok := p.(interface{ Addr() uintptr }); !ok { // a fault at an address; other panics have none
		panic(p)
	}
	*err = ErrCut
}

func mapFile(f *os.File, size int64, prot int) ([]byte, error) {
	b, err := unix.Mmap(int(f.Fd()), 0, int(size), prot, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", f.Name(), err)
	}
	_ = unix.Madvise(b, unix.MADV_RANDOM) // advice: without it a disk's file system reads far ahead
	return b, nil
}

// memory is private memory, of which what was never touched takes nothing.
func memory(size int64) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("memory for %d bytes: %w", size, err)
	}
	return b, nil
}

func unmap(b []byte) {
	if b != nil {
		_ = unix.Munmap(b)
	}
}

func word32(b []byte, off int) *uint32 { return (*uint32)(unsafe.Pointer(&b[off : off+4][0])) }
func word64(b []byte, off int) *uint64 { return (*uint64)(unsafe.Pointer(&b[off : off+8][0])) }

// store makes dst, which others map, what src is: each aligned word at once.
func store(dst, src []byte) {
	for len(dst) > 0 {
		at := uintptr(unsafe.Pointer(&dst[0]))
		n := 1
		switch {
		case at&7 == 0 && len(dst) >= 8:
			n = 8
			atomic.StoreUint64(word64(dst, 0), *word64(src, 0))
		case at&3 == 0 && len(dst) >= 4:
			n = 4
			atomic.StoreUint32(word32(dst, 0), *word32(src, 0))
		case at&1 == 0 && len(dst) >= 2:
			n = 2
			*(*uint16)(unsafe.Pointer(&dst[0])) = *(*uint16)(unsafe.Pointer(&src[0]))
		default:
			dst[0] = src[0]
		}
		dst, src = dst[n:], src[n:]
	}
}
