package sync

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// list returns the names in the order of the list.
func (l *nameList[T]) list() (out []string) {
	l.all(func(it T) { out = append(out, it.label()) })
	return out
}

func frozenNames[T named](leaves []nameLeaf[T]) (out []string) {
	for s := (spot{}); s.leaf < len(leaves); s = after(leaves, s) {
		out = append(out, at(leaves, s).label())
	}
	return out
}

// A list is what a map and sorting make of the same steps, and a frozen copy stays as it was.
func TestNameList(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, tt := range []struct {
		name        string
		names       int
		next        func(i int) int
		removals    int // of ten steps
		steps, show int
	}{
		{"in order", 1 << 30, func(i int) int { return i }, 0, 5000, 1000},
		{"backwards", 1 << 30, func(i int) int { return 1<<29 - i }, 1, 5000, 1000},
		{"anywhere", 3000, func(int) int { return rnd.IntN(3000) }, 4, 20000, 500},
		{"emptied", 2000, func(int) int { return rnd.IntN(2000) }, 9, 20000, 500},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var l nameList[*Variable]
			want := map[string]*Variable{}
			var frozen []nameLeaf[*Variable]
			var was []string
			for i := range tt.steps {
				name := fmt.Sprintf("%010d", tt.next(i))
				there := want[name]
				if got := l.get(name); got != there {
					t.Fatalf("step %d: %s is %p, want %p", i, name, got, there)
				}
				switch {
				case there == nil:
					v := &Variable{name: name}
					if !l.putLast(v) {
						l.put(v)
					}
					want[name] = v
				case rnd.IntN(10) < tt.removals:
					l.remove(name, &Variable{name: name}) // another one
					l.remove(name, there)
					delete(want, name)
				}
				if i%tt.show == tt.show-1 {
					if !slices.Equal(frozenNames(frozen), was) {
						t.Fatalf("step %d: a frozen copy has changed", i)
					}
					was = slices.Sorted(maps.Keys(want))
					if frozen = l.freeze(); !slices.Equal(l.list(), was) || !slices.Equal(frozenNames(frozen), was) {
						t.Fatalf("step %d: %d names, want %d", i, len(l.list()), len(was))
					}
				}
			}
			if l.remove("none", nil); l.empty() != (len(want) == 0) {
				t.Errorf("empty: %v", l.empty())
			}
		})
	}
}

// Names that come in order fill their leaves: a million of them take a pointer each.
func TestNamesInOrderFillLeaves(t *testing.T) {
	var l nameList[*Variable]
	for i := range 10 * maxLeaf {
		l.put(&Variable{name: fmt.Sprintf("%010d", i)})
	}
	if n := len(l.leaves); n > 11 {
		t.Errorf("%d leaves", n)
	}
}

func TestIndex(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	var x index
	want := map[uint64]Node{}
	behind := map[uint64][]Node{}
	for i := range 50000 {
		id := uint64(rnd.IntN(5000)) * 977
		if got := x.get(id); got != want[id] {
			t.Fatalf("step %d: %d is %v, want %v", i, id, got, want[id])
		}
		switch rnd.IntN(5 + i/25000*3) { // first it grows, then it shrinks
		case 0, 1, 2:
			var n Node = &Variable{id: id}
			if rnd.IntN(3) == 0 {
				n = &Dir{id: id}
			}
			if was := want[id]; was != nil {
				behind[id] = append(behind[id], was)
			}
			if over := x.put(n); over != want[id] {
				t.Fatalf("step %d: %d has stood for %v, want %v", i, id, over, want[id])
			}
			want[id] = n
		case 3:
			x.drop(&Variable{id: id}) // not the one that is there
			x.drop(&Dir{id: id})
			if list := behind[id]; len(list) > 0 {
				at := rnd.IntN(len(list))
				x.drop(list[at])
				behind[id] = slices.Delete(list, at, at+1)
			}
		default:
			if n := want[id]; n != nil {
				x.drop(n)
				delete(want, id)
			}
			if list := behind[id]; len(list) > 0 {
				want[id], behind[id] = list[len(list)-1], list[:len(list)-1]
			}
		}
	}
	var made [indexShards][]*Variable
	covered := map[Node]bool{}
	for id := range uint64(5000) {
		v := &Variable{id: id * 977}
		if want[v.id] != nil {
			covered[want[v.id]] = true
		}
		want[v.id] = v
		made[shardOf(v.id)] = append(made[shardOf(v.id)], v)
	}
	for _, n := range x.putAll(&made) {
		if !covered[n] {
			t.Fatalf("%d was another node", n.ID())
		}
		delete(covered, n)
	}
	if len(covered) > 0 {
		t.Errorf("%d nodes are not known to be covered", len(covered))
	}
	for id, n := range want {
		if x.get(id) != n {
			t.Fatalf("%d is %v, want %v", id, x.get(id), n)
		}
	}
}
