package core

import (
	"maps"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/commy-project/commyfs/model"
)

// TestLayouts compares layouts with a map, also what a copy has that was taken before later changes.
func TestLayouts(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var l layouts
	want := map[uint64]*model.Layout{}
	for i := range 300 { // filled at once
		st := layoutState{uint64(i), some(r)}
		want[st.id] = st.layout
	}
	var list []layoutState
	for id, at := range want {
		list = append(list, layoutState{id, at})
	}
	l.apply(list)
	checkLayouts(t, &l, want)
	for range 2000 {
		before, was := l, maps.Clone(want)
		var changes []layoutState
		for range r.IntN(4) {
			st := layoutState{r.Uint64N(200), some(r)}
			if r.IntN(2) == 0 {
				st.layout = nil
			}
			changes = append(changes, st)
			if want[st.id] = st.layout; st.layout == nil {
				delete(want, st.id)
			}
		}
		l.apply(changes)
		checkLayouts(t, &l, want)
		checkLayouts(t, &before, was)
	}
}

func some(r *rand.Rand) *model.Layout {
	return &model.Layout{Off: r.Int64N(4000), Size: 1 + r.Int64N(1<<r.IntN(9))}
}

func checkLayouts(t *testing.T, l *layouts, want map[uint64]*model.Layout) {
	t.Helper()
	if l.len() != len(want) {
		t.Fatalf("%d layouts, want %d", l.len(), len(want))
	}
	r := rand.New(rand.NewPCG(3, uint64(len(want))))
	for range 5 {
		id, at := r.Uint64N(300), some(r)
		if l.get(id) != want[id] {
			t.Fatalf("variable %d has %v, want %v", id, l.get(id), want[id])
		}
		var found, over []uint64
		l.over(at, func(id uint64) bool { found = append(found, id); return true })
		for id, o := range want {
			if o.Off < at.End() && o.End() > at.Off {
				over = append(over, id)
			}
		}
		slices.Sort(found)
		slices.Sort(over)
		if !slices.Equal(found, over) {
			t.Fatalf("%v has bytes in common with %v, want %v", at, found, over)
		}
		if len(over) > 0 {
			n := 0
			l.over(at, func(uint64) bool { n++; return false })
			if n != 1 {
				t.Fatalf("called %d times after it had said that this is enough", n)
			}
		}
	}
	for _, tree := range []*spanNode{l.byID, l.byOff} {
		if d, most := tree.depth(), 4*bits.Len(uint(len(want)+1))+8; d > most {
			t.Fatalf("%d layouts, one below %d others", len(want), d)
		}
	}
}

func (n *spanNode) depth() int {
	if n == nil {
		return 0
	}
	return 1 + max(n.left.depth(), n.right.depth())
}

// BenchmarkLayouts registers one more of a million, and takes it away again.
func BenchmarkLayouts(b *testing.B) {
	var l layouts
	var list []layoutState
	for i := range 1_000_000 {
		list = append(list, layoutState{uint64(i), &model.Layout{Off: int64(i) * 64, Size: 64}})
	}
	l.apply(list)
	b.ResetTimer()
	for range b.N {
		l.apply([]layoutState{{2_000_000, &model.Layout{Off: 1 << 29, Size: 8}}})
		l.apply([]layoutState{{2_000_000, nil}})
	}
}
