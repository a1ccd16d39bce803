package memfile

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapping is a shared mapping of a whole file. Offsets are bounds-checked by slicing; alignment is the layout's.
type mapping struct {
	b      []byte
	viewed atomic.Int64 // how many look at it, beside who has mapped it; -1: nobody, and it is unmapped
}

func mapFile(f *os.File, size int64, prot int) (*mapping, error) {
	if n := mapped.Add(1); n > mostMapped() {
		mapped.Add(-1)
		return nil, fmt.Errorf("%w: %d, half of vm.max_map_count", ErrTooMany, mostMapped())
	}
	b, err := unix.Mmap(int(f.Fd()), 0, int(size), prot, unix.MAP_SHARED)
	if err != nil {
		mapped.Add(-1)
		return nil, fmt.Errorf("map memory file: %w", err)
	}
	// Otherwise a disk's file system reads ahead at each first touch: half a megabyte of zeroes for a file of four pages.
	_ = unix.Madvise(b, unix.MADV_RANDOM) // advice: it goes without
	return &mapping{b: b}, nil
}

// release unmaps it if nobody else looks at it, else the last one does.
func (m *mapping) release() error {
	if m.viewed.Add(-1) < 0 {
		return m.unmap()
	}
	return nil
}

func (m *mapping) unmap() error {
	mapped.Add(-1)
	return unix.Munmap(m.b)
}

// mapped counts the mappings of this process. The kernel allows each process a number of them, also of memory: a process
// that has none left dies.
var mapped atomic.Int64

// mostMapped leaves half of them for everything else.
var mostMapped = sync.OnceValue(func() int64 {
	b, err := os.ReadFile("/proc/sys/vm/max_map_count")
	n, numErr := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil || numErr != nil {
		n = 65530 // the kernel's default
	}
	return n / 2
})

func (m *mapping) bytes(off, n int64) []byte { return m.b[off : off+n : off+n] }

// Words are always loaded and stored atomically, in the machine's order, which is the file's: little-endian.

func (m *mapping) word64(off int64) *uint64 {
	return (*uint64)(unsafe.Pointer(unsafe.SliceData(m.b[off : off+8])))
}

// words are those of an entry.
func (m *mapping) words(at int64) *[entrySize / 8]uint64 {
	return (*[entrySize / 8]uint64)(unsafe.Pointer(unsafe.SliceData(m.b[at : at+entrySize])))
}

func (m *mapping) word32(off int64) *uint32 {
	return (*uint32)(unsafe.Pointer(unsafe.SliceData(m.b[off : off+4])))
}

func (m *mapping) load64(off int64) uint64     { return atomic.LoadUint64(m.word64(off)) }
func (m *mapping) load32(off int64) uint32     { return atomic.LoadUint32(m.word32(off)) }
func (m *mapping) store64(off int64, v uint64) { atomic.StoreUint64(m.word64(off), v) }
func (m *mapping) store32(off int64, v uint32) { atomic.StoreUint32(m.word32(off), v) }
