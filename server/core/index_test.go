package core

import (
	"maps"
	"math/rand/v2"
	"testing"
)

// TestIndex compares an index with a map.
func TestIndex(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	x, want := newIndex(), map[uint64]*variable{}
	for range 20_000 {
		id := rnd.Uint64N(500) + rnd.Uint64N(2)<<40
		switch old := want[id]; {
		case rnd.IntN(2) == 0:
			v := &variable{id: id}
			x.put(v)
			want[id] = v
			if old != nil {
				x.drop(old) // is no longer what is found
			}
		case old != nil:
			x.drop(old)
			delete(want, id)
		default:
			x.drop(&variable{id: id})
		}
		if x.get(id) != want[id] || x.count != len(want) {
			t.Fatalf("%d: %v, want %v; %d in all, want %d", id, x.get(id), want[id], x.count, len(want))
		}
	}
	for _, v := range maps.Clone(want) {
		x.drop(v)
	}
	if x.count != 0 || len(x.pages) != 0 {
		t.Errorf("%d variables and %d pages are left", x.count, len(x.pages))
	}
}
