package core

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// pathOf is one of n paths, all below a few directories.
func pathOf(i int) string { return fmt.Sprintf("d%d/v%d", i%7, i) }

func (f frozen) all(t *testing.T) map[string]node {
	t.Helper()
	have := map[string]node{}
	last := ""
	for c := f.from(""); ; {
		it, ok := c.next()
		if !ok {
			return have
		}
		if last != "" && it.path() <= last {
			t.Fatalf("%q comes after %q", it.path(), last)
		}
		last = it.path()
		have[it.path()] = it
	}
}

// depth checks the shape of the blocks below b and returns their height.
func (b *block) depth(t *testing.T) int {
	t.Helper()
	if b.len() == 0 || b.len() > maxBlock {
		t.Fatalf("a block of %d", b.len())
	}
	height := 0
	for i, k := range b.kids {
		if h := k.depth(t); i > 0 && h != height {
			t.Fatalf("leaves %d and %d below", height, h)
		} else {
			height = h
		}
	}
	return height + 1
}

// TestOrdered compares it, and what was frozen of it on the way, with maps.
func TestOrdered(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var o ordered
	want := map[string]node{}
	type shot struct {
		frozen
		want map[string]node
	}
	var shots []shot
	for round := range 40 {
		grow := round%4 < 2
		for range 1000 {
			path := pathOf(rnd.IntN(5000))
			if rnd.IntN(4) == 0 != grow {
				n := node{v: &variable{name: path, version: rnd.Uint64()}}
				o.set(path, n)
				want[path] = n
			} else {
				o.delete(path)
				delete(want, path)
			}
			if o.get(path) != want[path] {
				t.Fatalf("%s: %+v, want %+v", path, o.get(path), want[path])
			}
		}
		if round%8 == 7 { // to nothing
			for path := range want {
				o.delete(path)
			}
			clear(want)
		}
		if o.root != nil {
			o.root.depth(t)
		} else if len(want) > 0 {
			t.Fatal("nothing is left")
		}
		shots = append(shots, shot{o.freeze(), maps.Clone(want)})
	}
	for i, s := range shots {
		if have := s.all(t); !maps.Equal(have, s.want) {
			t.Fatalf("round %d: %d nodes, want %d", i, len(have), len(s.want))
		}
		paths := slices.Sorted(maps.Keys(s.want))
		for range 50 {
			from := pathOf(rnd.IntN(5000))
			at, _ := slices.BinarySearch(paths, from)
			it, ok := s.from(from).next()
			if ok != (at < len(paths)) || ok && it.path() != paths[at] {
				t.Fatalf("from %q comes %q", from, it.path())
			}
		}
	}
}

// TestOrderedInOrder: what comes in order, as from the store, leaves no room unused.
func TestOrderedInOrder(t *testing.T) {
	var o ordered
	o.set("z", node{v: &variable{name: "z"}})
	const n = 64 * 100
	for i := range n {
		path := fmt.Sprintf("v%06d", i)
		o.set(path, node{v: &variable{name: path}})
	}
	leaves := 0
	var count func(b *block)
	count = func(b *block) {
		if b.kids == nil {
			leaves++
		}
		for _, k := range b.kids {
			count(k.block)
		}
	}
	count(o.root)
	if least := n / maxBlock; leaves > least*5/4 {
		t.Errorf("%d leaves for %d nodes, %d would do", leaves, n, least)
	}
}
