package diff

import "bytes"

// block is how many bytes one entry describes.
const block = 64

// entries is the room for entries that a kernel is given per call: 2 KiB, and
// eight dirty strips of the portable kernel.
const entries = 128

// entry says which bytes of one block differ: bit i stands for byte off+i.
// A kernel writes entries whose masks are not 0 and name bytes of the slices,
// each byte once and in ascending order.
type entry struct {
	off  int
	mask uint64
}

// kernel names one implementation of the functions first, scan and syncScan; its
// value is its row in the table.
//
// The table holds no function values and the functions dispatch by switch for
// one reason: the arguments of a call through a function value escape, so that
// the entry buffer, and every caller's slice, would live on the heap.
type kernel uint8

const (
	kernelAVX512 kernel = iota
	kernelAVX2
	kernelNEON
	kernelPortable
	kernelByte
)

// rows is the table of implementations, best first.
var rows = [...]struct {
	name      string
	available bool // in this build, on this machine
}{
	kernelAVX512:   {"avx512", supported(kernelAVX512)},
	kernelAVX2:     {"avx2", supported(kernelAVX2)},
	kernelNEON:     {"neon", supported(kernelNEON)},
	kernelPortable: {"portable", true},
	kernelByte:     {"byte", true}, // the reference that the others are tested against
}

// piece bounds the bytes that one call looks at. A kernel spends its time in
// assembly, where a goroutine cannot be preempted; the stack check of the call
// between two pieces is where the scheduler and the garbage collector get their
// turn. Without it a stop-the-world was seen to wait for seconds. So the three
// functions must stay calls of their own.
const piece = 256 << 10

// first returns the index of the first byte at or after pos in which a and b,
// of equal length, differ, or len(a) if there is none, however many pieces that
// takes. It is in kernel_amd64.go and its like, with no call between it and the
// assembly; firstOther is what it leaves to all machines.
func (k kernel) firstOther(a, b []byte, pos int) int {
	n := len(a) - pos
	switch {
	case n > piece:
		for ; n > piece; n = len(a) - pos {
			end := pos + piece
			if pos = k.first(a[:end], b[:end], pos); pos < end {
				return pos
			}
		}
		return k.first(a, b, pos)
	case k == kernelByte:
		return firstByte(a, b, pos)
	case k == kernelPortable:
		return firstPortable(a, b, pos)
	case bytes.Equal(a[pos:], b[pos:]):
		return len(a)
	default:
		return firstWords(a, b, pos)
	}
}

// scan writes to out an entry for each block that differs, from pos on, and
// returns how many it wrote and where it stopped: at len(a), or earlier when
// out might not have had room for more. Everything between pos and next has
// been looked at, and next > pos if pos < len(a).
//
//go:noinline
func (k kernel) scan(a, b []byte, pos int, out *[entries]entry) (next, n int) {
	switch k {
	case kernelPortable:
		return scanPortable(a, b, pos, out, false)
	case kernelByte:
		return scanByte(a, b, pos, out, false)
	default:
		return scanVector(k, a, b, pos, out, false)
	}
}

// syncScan is scan, and stores in b the differing bytes of a: those of the very
// load that the mask was made from.
//
//go:noinline
func (k kernel) syncScan(a, b []byte, pos int, out *[entries]entry) (next, n int) {
	switch k {
	case kernelPortable:
		return scanPortable(a, b, pos, out, true)
	case kernelByte:
		return scanByte(a, b, pos, out, true)
	default:
		return scanVector(k, a, b, pos, out, true)
	}
}
