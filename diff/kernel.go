package diff

// block is how many bytes one entry describes.
const block = 64

// entries is the room for entries that a kernel is given per call: 2 KiB, and
// eight dirty strips of the portable kernel.
const entries = 128

// entry says which bytes of one block differ: bit i stands for byte off+i.
// A kernel writes entries with ascending offsets, blocks that do not overlap,
// masks that are not 0, and no bit for a byte outside the slices.
type entry struct {
	off  int
	mask uint64
}

// kernel names one implementation of the three functions below; its value is
// its row in the table.
//
// The table holds no function values and the functions dispatch by switch for
// one reason: the arguments of a call through a function value escape, so that
// the entry buffer, and every caller's slice, would live on the heap.
type kernel uint8

const (
	kernelPortable kernel = iota
	kernelByte
)

// rows is the table of implementations, best first.
var rows = [...]struct {
	name      string
	available bool
}{
	kernelPortable: {"portable", true},
	kernelByte:     {"byte", true}, // the reference that the others are tested against
}

// active is the one row that this process uses.
var active = choose()

func choose() kernel {
	for k := range rows {
		if rows[k].available {
			return kernel(k)
		}
	}
	return kernelByte
}

// The three functions must stay calls of their own, see piece.

// first returns the index of the first byte at or after pos in which a and b,
// of equal length, differ, or len(a) if there is none.
//
//go:noinline
func (k kernel) first(a, b []byte, pos int) int {
	switch k {
	case kernelPortable:
		return firstPortable(a, b, pos)
	default:
		return firstByte(a, b, pos)
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
	default:
		return scanByte(a, b, pos, out, false)
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
	default:
		return scanByte(a, b, pos, out, true)
	}
}
