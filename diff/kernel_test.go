package diff

import (
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestKernelContract calls the three functions as the driver does, from any
// start, and checks what their comments say.
func TestKernelContract(t *testing.T) {
	eachKernel(t, func(t *testing.T, k kernel) {
		for round := range 400 {
			r := rand.New(rand.NewPCG(9, uint64(round)))
			n := 1 + r.IntN(3*entries*block)
			a, b := random(10, n), random(10, n)
			for range r.IntN(n) >> r.IntN(14) {
				a[r.IntN(n)] ^= byte(1 + r.IntN(255))
			}
			pos := r.IntN(n + 1)

			var want []int
			for i := pos; i < n; i++ {
				if a[i] != b[i] {
					want = append(want, i)
				}
			}
			first := n
			if len(want) > 0 {
				first = want[0]
			}
			if got := k.first(a, b, pos); got != first {
				t.Fatalf("round %d: first from %d of %d: got %d, want %d", round, pos, n, got, first)
			}
			if got := differing(t, k.scan, a, b, pos); !slices.Equal(got, want) {
				t.Fatalf("round %d: scan from %d of %d: got %d bytes, want %d", round, pos, n, len(got), len(want))
			}
			before := slices.Clone(b)
			if got := differing(t, k.syncScan, a, b, pos); !slices.Equal(got, want) {
				t.Fatalf("round %d: syncScan from %d of %d: got %d bytes, want %d", round, pos, n, len(got), len(want))
			}
			if !slices.Equal(b[:pos], before[:pos]) || !slices.Equal(b[pos:], a[pos:]) {
				t.Fatalf("round %d: syncScan from %d of %d: wrong bytes stored", round, pos, n)
			}
		}
	})
}

// However many entries precede, a stretch of blocks that all differ must find
// room or be left for the next call.
func TestFullBuffer(t *testing.T) {
	const n = 3 * entries * block
	eachKernel(t, func(t *testing.T, k kernel) {
		for clean := range 2 * strip / block {
			a, b := random(15, n), random(15, n)
			for i := clean * block; i < n; i++ {
				a[i]++
			}
			a[0] ^= 0x55 // the scan starts here, whatever is clean
			verify(t, k, a, b, 0)
			if got, want := len(differing(t, k.scan, a, b, 0)), n-clean*block; got < want || got > want+1 {
				t.Fatalf("%d blocks clean: scan finds %d bytes, want %d", clean, got, want)
			}
		}
	})
}

// differing scans to the end and returns the indices that the masks name.
func differing(t *testing.T, scan func(a, b []byte, pos int, out *[entries]entry) (int, int), a, b []byte, pos int) []int {
	t.Helper()
	var out []int
	var buf [entries]entry
	free := pos // the next byte named is not before this one
	for pos < len(a) {
		next, n := scan(a, b, pos, &buf)
		if next <= pos || next > len(a) || n > entries {
			t.Fatalf("scan from %d of %d: stopped at %d with %d entries", pos, len(a), next, n)
		}
		for _, e := range buf[:n] {
			if e.mask == 0 || e.off+bits.TrailingZeros64(e.mask) < free {
				t.Fatalf("scan from %d: entry %d %#x behind %d", pos, e.off, e.mask, free)
			}
			free = e.off + bits.Len64(e.mask)
			for i := range block {
				if e.mask>>i&1 == 1 {
					out = append(out, e.off+i)
				}
			}
		}
		pos = next
	}
	if len(out) > 0 && out[len(out)-1] >= len(a) {
		t.Fatalf("a mask names byte %d of %d", out[len(out)-1], len(a))
	}
	return out
}

func TestWordMask(t *testing.T) {
	for _, v := range []uint64{0x01, 0x7f, 0x80, 0xff} {
		for want := range uint64(256) {
			var d uint64
			for i := range 8 {
				if want>>i&1 == 1 {
					d |= v << (8 * i)
				}
			}
			if got := wordMask(d); got != want {
				t.Errorf("wordMask(%#016x) = %#02x, want %#02x", d, got, want)
			}
		}
	}
}

// The reference must be there everywhere, and be what a process uses only where
// there is nothing better.
func TestTable(t *testing.T) {
	if last := len(rows) - 1; kernel(last) != kernelByte || !rows[last].available {
		t.Errorf("row %d is %q (available: %v), want the byte reference last", last, rows[last].name, rows[last].available)
	}
	seen := map[string]bool{}
	best := ""
	for i, row := range rows {
		if row.name == "" || seen[row.name] {
			t.Errorf("row %d has the name %q, empty or taken", i, row.name)
		}
		seen[row.name] = true
		if row.available && best == "" {
			best = row.name
		}
	}
	if got := Implementation(); got != best || got == rows[kernelByte].name {
		t.Errorf("Implementation() = %q, want %q", got, best)
	}
}
