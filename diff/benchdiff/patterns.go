package main

import (
	"math"
	"math/rand/v2"

	"github.com/commy-project/commyfs/diff"
)

// pattern says in which bytes of a value something changes.
type pattern struct {
	name   string
	change func(r *rand.Rand, n int, at func(i int))
}

func changed(count int) func(*rand.Rand, int, func(int)) {
	return func(r *rand.Rand, n int, at func(int)) {
		for _, i := range r.Perm(n)[:count] {
			at(i)
		}
	}
}

func span(from, to, step int) func(*rand.Rand, int, func(int)) {
	return func(_ *rand.Rand, n int, at func(int)) {
		for i := from; i < min(to, n); i += step {
			at(i)
		}
	}
}

const everywhere = math.MaxInt

var patterns = []pattern{
	{"equal", changed(0)},
	{"1 byte", changed(1)},
	{"16 bytes", changed(16)},
	{"256 bytes", changed(256)},
	{"4096 bytes", changed(4096)},
	{"one run of 4 KiB", span(20000, 20000+4096, 1)},
	{"every 512th byte", span(100, everywhere, 512)},
	{"half of the bytes", func(r *rand.Rand, n int, at func(int)) {
		for i := range n {
			if r.IntN(2) == 0 {
				at(i)
			}
		}
	}},
	{"every other byte", span(0, everywhere, 2)},
	{"all bytes", span(0, everywhere, 1)},
}

// apply makes cur differ from shadow in the bytes of the pattern.
func (p pattern) apply(cur, shadow []byte) {
	copy(cur, shadow)
	p.change(rand.New(rand.NewPCG(3, 4)), len(cur), func(i int) { cur[i] ^= 0x5a })
}

// reference finds ranges as one would without thinking of speed. It is the
// yardstick, and not a loop that only says whether there is a difference: the
// speed of that one depends on where the linker puts it.
//
//go:noinline
func reference(dst []diff.Range, cur, shadow []byte, gap int) []diff.Range {
	start, stop := -1, 0
	for i := range cur {
		if cur[i] == shadow[i] {
			continue
		}
		if start >= 0 && i-stop > gap {
			dst = append(dst, diff.Range{Off: start, Len: stop - start})
			start = -1
		}
		if start < 0 {
			start = i
		}
		stop = i + 1
	}
	if start >= 0 {
		dst = append(dst, diff.Range{Off: start, Len: stop - start})
	}
	return dst
}
