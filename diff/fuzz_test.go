package diff

import (
	"bytes"
	"slices"
	"testing"
)

type seed struct {
	cur, shadow []byte
	gap         int
	tile        uint8
}

func seeds() []seed {
	cur, shadow := random(12, 200), random(12, 200)
	for _, i := range []int{0, 63, 64, 130, 131, 199} {
		cur[i] ^= 0x10
	}
	alternating := slices.Clone(shadow)
	for i := 0; i < len(alternating); i += 2 {
		alternating[i]++
	}
	return []seed{
		{nil, nil, 0, 0},
		{[]byte("a"), []byte("b"), 0, 0},
		{[]byte("hello, world"), []byte("hello, World"), 64, 3},
		{cur, shadow, 0, 0},
		{cur, shadow, 1, 60},
		{cur, shadow, 61, 255},
		{cur, shadow, 62, 255},
		{alternating, shadow, 0, 100},
		{alternating, shadow, 1, 100},
		{bytes.Repeat([]byte{0xff}, 64), make([]byte, 64), -1, 130},
		{make([]byte, 1025), make([]byte, 1025), 64, 2},
	}
}

func TestSeeds(t *testing.T) {
	all := seeds()
	if len(all) == 0 {
		t.Fatal("no seeds")
	}
	dirty := 0
	for _, s := range all {
		if !bytes.Equal(s.cur, s.shadow) {
			dirty++
		}
	}
	if dirty < len(all)/2 {
		t.Errorf("%d of %d seeds have a difference, want at least half", dirty, len(all))
	}
}

// FuzzAppend compares every implementation with naive. The input is laid end
// to end up to tile+1 times, so that a small one reaches full entry buffers.
func FuzzAppend(f *testing.F) {
	all := seeds()
	if len(all) == 0 {
		f.Fatal("no seeds")
	}
	for _, s := range all {
		f.Add(s.cur, s.shadow, s.gap, s.tile)
	}
	f.Fuzz(func(t *testing.T, cur, shadow []byte, gap int, tile uint8) {
		n := min(len(cur), len(shadow), 4096)
		times := 1 + min(int(tile), 3*entries*block/max(n, 1))
		cur, shadow = bytes.Repeat(cur[:n], times), bytes.Repeat(shadow[:n], times)
		for k, row := range rows {
			if row.available {
				verify(t, kernel(k), cur, shadow, gap)
			}
		}
	})
}
