package core

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

var testDirs = []*directory{{}, {id: 3}, {id: 4}, {id: 9}, {id: 12}, {id: 100}, {id: 1 << 40}}

// keyOf is one of n keys, all of a few directories.
func keyOf(i int) nodeKey { return nodeKey{testDirs[i%7].id, fmt.Sprint("v", i)} }

// entryAt is a new entry for a key.
func entryAt(k nodeKey, version uint64) entry {
	i := slices.IndexFunc(testDirs, func(d *directory) bool { return d.id == k.dir })
	return entry{v: &variable{dir: testDirs[i], name: k.name, version: version}}
}

func (f frozen) all(t *testing.T) map[nodeKey]entry {
	t.Helper()
	have := map[nodeKey]entry{}
	last := nodeKey{}
	for c := f.from(nodeKey{}); ; {
		it, ok := c.next()
		if !ok {
			return have
		}
		if last.compare(it.key()) >= 0 {
			t.Fatalf("%v comes after %v", it.key(), last)
		}
		last = it.key()
		have[it.key()] = it
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
	want := map[nodeKey]entry{}
	type shot struct {
		frozen
		want map[nodeKey]entry
	}
	var shots []shot
	for round := range 40 {
		grow := round%4 < 2
		for range 1000 {
			key := keyOf(rnd.IntN(5000))
			if rnd.IntN(4) == 0 != grow {
				n := entryAt(key, rnd.Uint64())
				o.set(key, n)
				want[key] = n
			} else {
				o.delete(key)
				delete(want, key)
			}
			if o.get(key) != want[key] {
				t.Fatalf("%v: %+v, want %+v", key, o.get(key), want[key])
			}
		}
		if round%8 == 7 { // to nothing
			for key := range want {
				o.delete(key)
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
		keys := slices.SortedFunc(maps.Keys(s.want), nodeKey.compare)
		for range 50 {
			from := keyOf(rnd.IntN(5000))
			at, _ := slices.BinarySearchFunc(keys, from, nodeKey.compare)
			it, ok := s.from(from).next()
			if ok != (at < len(keys)) || ok && it.key() != keys[at] {
				t.Fatalf("from %v comes %v", from, it.key())
			}
		}
	}
}

// TestOrderedInOrder: what comes in order, as from the store, leaves no room unused.
func TestOrderedInOrder(t *testing.T) {
	var o ordered
	z := nodeKey{1 << 40, "z"}
	o.set(z, entryAt(z, 1))
	const n = 64 * 100
	for i := range n {
		key := nodeKey{9, fmt.Sprintf("v%06d", i)}
		o.set(key, entryAt(key, 1))
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

// TestOrderedBulk: the same for what comes and goes by directories.
func TestOrderedBulk(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	var o ordered
	want := map[nodeKey]entry{}
	type shot struct {
		frozen
		want map[nodeKey]entry
	}
	var shots []shot
	for round := range 150 {
		d := testDirs[rnd.IntN(len(testDirs))]
		switch rnd.IntN(3) {
		case 0:
			o.deleteDir(d.id)
			maps.DeleteFunc(want, func(k nodeKey, _ entry) bool { return k.dir == d.id })
		case 1:
			var list []entry
			for range rnd.IntN([]int{3, 100, 10_000}[rnd.IntN(3)]) {
				k := nodeKey{d.id, fmt.Sprint("v", rnd.IntN(20_000))}
				if _, there := want[k]; !there {
					want[k] = entryAt(k, rnd.Uint64())
					list = append(list, want[k])
				}
			}
			slices.SortFunc(list, func(a, b entry) int { return a.key().compare(b.key()) })
			o.setAll(list)
		default:
			for range rnd.IntN(2000) {
				k := nodeKey{d.id, fmt.Sprint("v", rnd.IntN(20_000))}
				if rnd.IntN(2) == 0 {
					o.delete(k)
					delete(want, k)
				} else {
					want[k] = entryAt(k, rnd.Uint64())
					o.set(k, want[k])
				}
			}
		}
		if o.root != nil {
			o.root.depth(t)
		}
		if have := (frozen{o.root}).all(t); !maps.Equal(have, want) {
			t.Fatalf("round %d: %d nodes, want %d", round, len(have), len(want))
		}
		for k := range want {
			if o.get(k) != want[k] {
				t.Fatalf("round %d: %v is not found", round, k)
			}
			if rnd.IntN(100) == 0 {
				break
			}
		}
		if rnd.IntN(20) == 0 {
			shots = append(shots, shot{o.freeze(), maps.Clone(want)})
		}
	}
	for _, s := range shots {
		if have := s.all(t); !maps.Equal(have, s.want) {
			t.Fatalf("%d nodes, want %d", len(have), len(s.want))
		}
	}
}
