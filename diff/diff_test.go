package diff

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// naive is what the package must compute, without kernels and masks.
func naive(cur, shadow []byte, gap int) []Range {
	var out []Range
	for i := 0; i < len(cur); i++ {
		if cur[i] == shadow[i] {
			continue
		}
		if last := len(out) - 1; last >= 0 && i-(out[last].Off+out[last].Len) <= max(gap, 0) {
			out[last].Len = i + 1 - out[last].Off
		} else {
			out = append(out, Range{i, 1})
		}
	}
	return out
}

// eachKernel runs f once per row of the table.
func eachKernel(t *testing.T, f func(t *testing.T, k kernel)) {
	t.Helper()
	for i, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if !row.available {
				t.Skip("not available on this machine")
			}
			f(t, kernel(i))
		})
	}
}

// run is Append, or Sync if store is set, with kernel k.
func run(k kernel, dst []Range, cur, shadow []byte, gap int, store bool) []Range {
	before := kernel(active.Swap(uint32(k)))
	defer active.Store(uint32(before))
	if store {
		return Sync(dst, cur, shadow, gap)
	}
	return Append(dst, cur, shadow, gap)
}

// verify runs kernel k both ways on copies of the slices' contents and compares
// with naive, which it checks against the promise itself.
func verify(t *testing.T, k kernel, cur, shadow []byte, gap int) {
	t.Helper()
	want := naive(cur, shadow, gap)
	checkPromise(t, want, cur, shadow, gap)

	curBefore, before := slices.Clone(cur), slices.Clone(shadow)
	got := run(k, nil, cur, shadow, gap, false)
	if !slices.Equal(got, want) {
		t.Fatalf("len %d gap %d: Append gives %v, want %v", len(cur), gap, clip(got), clip(want))
	}
	if !bytes.Equal(shadow, before) {
		t.Fatalf("len %d gap %d: Append wrote the shadow", len(cur), gap)
	}
	got = run(k, nil, cur, shadow, gap, true)
	if !slices.Equal(got, want) {
		t.Fatalf("len %d gap %d: Sync gives %v, want %v", len(cur), gap, clip(got), clip(want))
	}
	if !bytes.Equal(cur, curBefore) {
		t.Fatalf("len %d gap %d: cur was written", len(cur), gap)
	}
	if !bytes.Equal(shadow, cur) {
		t.Fatalf("len %d gap %d: shadow differs from cur after Sync", len(cur), gap)
	}
	copy(shadow, before)
}

// checkPromise checks what the package comment promises of a list.
func checkPromise(t *testing.T, list []Range, cur, shadow []byte, gap int) {
	t.Helper()
	applied := slices.Clone(shadow)
	covered := 0
	for i, r := range list {
		if r.Len <= 0 || r.Off < 0 || r.Off+r.Len > len(cur) {
			t.Fatalf("range %v is empty or outside of %d bytes", r, len(cur))
		}
		if i > 0 && r.Off-(list[i-1].Off+list[i-1].Len) <= max(gap, 0) {
			t.Fatalf("ranges %v and %v are not more than %d apart", list[i-1], r, gap)
		}
		last := r.Off + r.Len - 1
		if cur[r.Off] == shadow[r.Off] || cur[last] == shadow[last] {
			t.Fatalf("range %v starts or ends with an equal byte", r)
		}
		covered += r.Len
		copy(applied[r.Off:], cur[r.Off:r.Off+r.Len])
	}
	if !bytes.Equal(applied, cur) {
		t.Fatal("applying the ranges to the shadow does not give cur")
	}
	if gap <= 0 {
		differing := 0
		for i := range cur {
			if cur[i] != shadow[i] {
				differing++
			}
		}
		if covered != differing {
			t.Fatalf("ranges hold %d bytes, %d differ", covered, differing)
		}
	}
}

// clip keeps failure messages readable.
func clip(list []Range) string {
	if len(list) > 8 {
		return fmt.Sprintf("%v... (%d)", list[:8], len(list))
	}
	return fmt.Sprint(list)
}

// gaps holds the values around which the driver changes its ways.
var gaps = []int{-1, 0, 1, 2, 7, 8, 9, 31, 61, 62, 63, 64, 65, 128, 1000, math.MaxInt}

// edges holds lengths around the sizes at which kernel and driver change theirs.
func edges() []int {
	var out []int
	for _, n := range []int{block, strip, 4096, entries * block, 65536} {
		out = append(out, n-1, n, n+1, n+7, n+8, n+63)
	}
	return out
}

func random(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 0))
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

func TestCases(t *testing.T) {
	tests := []struct {
		name        string
		cur, shadow string
		gap         int
		want        []Range
	}{
		{"empty", "", "", 0, nil},
		{"equal", "abcdef", "abcdef", 0, nil},
		{"first byte", "Xbcdef", "abcdef", 0, []Range{{0, 1}}},
		{"last byte", "abcdeX", "abcdef", 0, []Range{{5, 1}}},
		{"all", "XXXXXX", "abcdef", 0, []Range{{0, 6}}},
		{"two runs", "XbcdXX", "abcdef", 2, []Range{{0, 1}, {4, 2}}},
		{"two runs joined", "XbcdXX", "abcdef", 3, []Range{{0, 6}}},
		{"joined in a chain", "XbXdXf", "abcdef", 1, []Range{{0, 5}}},
		{"negative gap", "XbXdef", "abcdef", -5, []Range{{0, 1}, {2, 1}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			eachKernel(t, func(t *testing.T, k kernel) {
				cur, shadow := []byte(tt.cur), []byte(tt.shadow)
				if got := run(k, nil, cur, shadow, tt.gap, false); !slices.Equal(got, tt.want) {
					t.Errorf("Append: got %v, want %v", got, tt.want)
				}
				if got := run(k, nil, cur, shadow, tt.gap, true); !slices.Equal(got, tt.want) {
					t.Errorf("Sync: got %v, want %v", got, tt.want)
				}
				if !bytes.Equal(shadow, cur) {
					t.Errorf("Sync: shadow is %q, want %q", shadow, cur)
				}
			})
		})
	}
}

func TestPublic(t *testing.T) {
	before := []Range{{100, 1}, {0, 1}}
	cur, shadow := []byte("Xbc"), []byte("abc")
	want := append(slices.Clone(before), Range{0, 1})
	if got := Append(slices.Clone(before), cur, shadow, DefaultGap); !slices.Equal(got, want) {
		t.Errorf("Append to a list: got %v, want %v", got, want)
	}
	if got := Sync(slices.Clone(before), cur, shadow, DefaultGap); !slices.Equal(got, want) {
		t.Errorf("Sync to a list: got %v, want %v", got, want)
	}
	if got := Sync(before, cur, shadow, DefaultGap); !slices.Equal(got, before) {
		t.Errorf("Sync once more: got %v, want nothing added to %v", got, before)
	}
}

func TestUnequalLengths(t *testing.T) {
	for name, f := range map[string]func([]Range, []byte, []byte, int) []Range{"Append": Append, "Sync": Sync} {
		for _, cur := range []string{"XY", "XYZW", ""} {
			shadow := []byte("abc")
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%s of %d and %d bytes did not panic", name, len(cur), len(shadow))
					}
				}()
				f(nil, []byte(cur), shadow, 0)
			}()
			if string(shadow) != "abc" {
				t.Errorf("%s of %d bytes changed the shadow to %q", name, len(cur), shadow)
			}
		}
	}
}

// Every length up to 300, with a difference at every single position.
func TestEveryPosition(t *testing.T) {
	eachKernel(t, func(t *testing.T, k kernel) {
		for n := range 301 {
			cur, shadow := random(1, n), random(1, n)
			verify(t, k, cur, shadow, 0)
			for i := range n {
				cur[i] ^= 1 << (i % 8) // one bit: no mask may depend on which
				verify(t, k, cur, shadow, i%70)
				cur[i] = shadow[i]
			}
		}
	})
}

// Two differences at every distance, around every gap.
func TestGaps(t *testing.T) {
	eachKernel(t, func(t *testing.T, k kernel) {
		for _, off := range []int{0, 1, 60, 63, strip - 1} {
			for dist := 1; dist < 140; dist++ {
				n := strip + 300
				cur, shadow := random(2, n), random(2, n)
				cur[off]++
				cur[off+dist]++
				for _, gap := range append([]int{dist - 2, dist - 1, dist}, gaps...) {
					verify(t, k, cur, shadow, gap)
				}
			}
		}
	})
}

// The same change in the same place of two blocks, which a kernel that combines
// blocks before it looks could take for none.
func TestSameChange(t *testing.T) {
	eachKernel(t, func(t *testing.T, k kernel) {
		const n = 16 * block
		cur, shadow := random(17, n), random(17, n)
		for i := range n {
			for j := i + 8; j < n; j += 8 {
				if j-i >= block && j%block != i%block {
					continue
				}
				cur[i] ^= 0x11
				cur[j] ^= 0x11
				if got := run(k, nil, cur, shadow, 0, false); !slices.Equal(got, []Range{{i, 1}, {j, 1}}) {
					t.Fatalf("bytes %d and %d differ: Append gives %v", i, j, got)
				}
				cur[i], cur[j] = shadow[i], shadow[j]
			}
		}
	})
}

// Random changes of every density, at the lengths where something changes.
func TestDensities(t *testing.T) {
	eachKernel(t, func(t *testing.T, k kernel) {
		for _, n := range edges() {
			r := rand.New(rand.NewPCG(3, uint64(n)))
			for _, one := range []int{1, 2, 10, 100, 1000, n} { // one byte in so many differs
				cur, shadow := random(4, n), random(4, n)
				for range max(1, n/one) {
					cur[r.IntN(n)] ^= 0x80
				}
				verify(t, k, cur, shadow, gaps[r.IntN(len(gaps))])
				verify(t, k, cur, shadow, 0)
			}
			cur, shadow := random(5, n), random(5, n)
			for i := range cur {
				cur[i] = ^shadow[i]
			}
			verify(t, k, cur, shadow, 0)
			verify(t, k, cur, shadow, DefaultGap)
		}
	})
}

// Both slices at each alignment, alone and together.
func TestAlignments(t *testing.T) {
	const n = 4096 + 63
	eachKernel(t, func(t *testing.T, k kernel) {
		a, b := make([]byte, n+block), make([]byte, n+block)
		for i := range block {
			for _, at := range [][2]int{{i, 0}, {0, i}, {i, i}, {i, block - 1 - i}} {
				cur, shadow := a[at[0]:at[0]+n], b[at[1]:at[1]+n]
				copy(shadow, random(6, n))
				copy(cur, shadow)
				verify(t, k, cur, shadow, 0)
				for j := i; j < n; j += 1 + j/4 {
					cur[j]--
				}
				verify(t, k, cur, shadow, i)
			}
		}
	})
}

// A long value goes to the kernel in pieces, which must not show.
func TestPieces(t *testing.T) {
	eachKernel(t, func(t *testing.T, k kernel) {
		for _, n := range []int{piece - 1, piece, piece + 1, 2*piece + 65} {
			cur, shadow := random(7, n), random(7, n)
			verify(t, k, cur, shadow, 0)
			for _, i := range []int{n - 1, piece - 1, piece, piece - 2, piece + 1, piece + 64, 2 * piece} {
				if i < n {
					cur[i]++
					verify(t, k, cur, shadow, 0)
					verify(t, k, cur, shadow, DefaultGap)
				}
			}
		}
	})
}

func TestNoAllocation(t *testing.T) {
	eachKernel(t, func(t *testing.T, k kernel) {
		cur, shadow := random(8, 70000), random(8, 70000)
		for i := 0; i < len(cur); i += 7 {
			cur[i]++
		}
		dst := make([]Range, 0, len(cur)/7)
		pristine := slices.Clone(shadow)
		tests := []struct {
			name string
			f    func() int
			want int
		}{
			{"Append", func() int { return len(run(k, dst, cur, shadow, 0, false)) }, cap(dst)},
			{"Append gap", func() int { return len(run(k, dst, cur, shadow, DefaultGap, false)) }, 1},
			{"Append equal", func() int { return len(run(k, dst, cur, cur, 0, false)) }, 0},
			{"Append little", func() int { return len(run(k, dst, cur[:50], shadow[:50], 0, false)) }, 8},
			{"Sync", func() int { copy(shadow, pristine); return len(run(k, dst, cur, shadow, 0, true)) }, cap(dst)},
			{"caller's arrays stay on its stack", func() int {
				var a, b [96]byte
				var list [4]Range
				a[90] = 1
				return len(run(k, list[:0], a[:], b[:], 0, true))
			}, 1},
		}
		if raceEnabled {
			tests = tests[:len(tests)-1] // what the race detector is told of escapes
		}
		for _, tt := range tests {
			got := 0
			if n := testing.AllocsPerRun(20, func() { got = tt.f() }); n != 0 {
				t.Errorf("%s: %v allocations, want 0", tt.name, n)
			}
			if got != tt.want {
				t.Errorf("%s: %d ranges, want %d", tt.name, got, tt.want)
			}
		}
	})
}
