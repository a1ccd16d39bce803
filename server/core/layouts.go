package core

import (
	"cmp"
	"slices"

	"github.com/commy-project/commyfs/model"
)

// layouts are those of the registered variables of a service. A copy of it stays as it is: who has one from under the lock can go
// on using it without. A change takes a time that hardly grows with their number.
type layouts struct {
	n     int
	byID  *spanNode // keys are ids
	byOff *spanNode // keys are offsets, then ids
}

// spanNode is a node of a treap, which is a search tree by key, and a heap by a hash of the key. It is never changed: a change of
// the tree copies the nodes above.
type spanNode struct {
	key         spanKey
	id          uint64
	layout      *model.Layout
	furthest    int64 // the largest end in this tree
	left, right *spanNode
}

type spanKey struct{ first, second uint64 }

func (k spanKey) compare(o spanKey) int {
	return cmp.Or(cmp.Compare(k.first, o.first), cmp.Compare(k.second, o.second))
}

// priority is a hash of the key (the finalizer of splitmix64).
func (k spanKey) priority() uint64 {
	x := k.first*0x9e3779b97f4a7c15 + k.second
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func keyByID(id uint64, _ *model.Layout) spanKey  { return spanKey{first: id} }
func keyByOff(id uint64, l *model.Layout) spanKey { return spanKey{uint64(l.Off), id} }

// get is the layout of a variable, nil if it is not a registered one.
func (l *layouts) get(id uint64) *model.Layout {
	key := keyByID(id, nil)
	for n := l.byID; n != nil; {
		switch c := key.compare(n.key); {
		case c == 0:
			return n.layout
		case c < 0:
			n = n.left
		default:
			n = n.right
		}
	}
	return nil
}

// len is how many there are.
func (l *layouts) len() int { return l.n }

func (l *layouts) apply(changes []layoutState) {
	if l.n == 0 && len(changes) > 1 {
		l.fill(changes)
		return
	}
	for _, st := range changes {
		if was := l.get(st.id); was != nil {
			l.n--
			l.byID = l.byID.without(keyByID(st.id, was))
			l.byOff = l.byOff.without(keyByOff(st.id, was))
		}
		if st.layout != nil {
			l.n++
			l.byID = l.byID.set(spanNode{key: keyByID(st.id, nil), id: st.id, layout: st.layout})
			l.byOff = l.byOff.set(spanNode{key: keyByOff(st.id, st.layout), id: st.id, layout: st.layout})
		}
	}
}

// fill puts many into empty layouts. No variable is twice among them.
func (l *layouts) fill(list []layoutState) {
	build := func(key func(uint64, *model.Layout) spanKey) *spanNode {
		nodes := make([]spanNode, 0, len(list))
		for _, st := range list {
			if st.layout != nil {
				nodes = append(nodes, spanNode{key: key(st.id, st.layout), id: st.id, layout: st.layout})
			}
		}
		slices.SortFunc(nodes, func(a, b spanNode) int { return a.key.compare(b.key) })
		l.n = len(nodes)
		return heaped(nodes)
	}
	l.byID, l.byOff = build(keyByID), build(keyByOff)
}

// heaped makes a treap of nodes that are in order.
func heaped(nodes []spanNode) *spanNode {
	var spine []*spanNode // from the root to the right
	for i := range nodes {
		n := &nodes[i]
		p := n.key.priority()
		for len(spine) > 0 && spine[len(spine)-1].key.priority() < p {
			n.left = spine[len(spine)-1]
			spine = spine[:len(spine)-1]
			n.left.measure() // nothing comes below it any more
		}
		if len(spine) > 0 {
			spine[len(spine)-1].right = n
		}
		spine = append(spine, n)
	}
	for _, n := range slices.Backward(spine) {
		n.measure()
	}
	if len(spine) == 0 {
		return nil
	}
	return spine[0]
}

// over calls fn with the variables that have bytes in common with a layout, until it returns false.
func (l *layouts) over(at *model.Layout, fn func(id uint64) bool) { l.byOff.over(at, fn) }

func (n *spanNode) over(at *model.Layout, fn func(id uint64) bool) bool {
	switch {
	case n == nil || n.furthest <= at.Off:
		return true
	case !n.left.over(at, fn):
		return false
	case n.layout.Off >= at.End():
		return true
	case n.layout.End() > at.Off && !fn(n.id):
		return false
	}
	return n.right.over(at, fn)
}

func (n *spanNode) measure() {
	n.furthest = n.layout.End()
	for _, below := range []*spanNode{n.left, n.right} {
		if below != nil {
			n.furthest = max(n.furthest, below.furthest)
		}
	}
}

// with is a copy of n that has other nodes below.
func (n *spanNode) with(left, right *spanNode) *spanNode {
	c := *n
	c.left, c.right = left, right
	c.measure()
	return &c
}

// split parts a tree into what is before key and what is not.
func (n *spanNode) split(key spanKey) (before, rest *spanNode) {
	if n == nil {
		return nil, nil
	}
	if n.key.compare(key) < 0 {
		before, rest = n.right.split(key)
		return n.with(n.left, before), rest
	}
	before, rest = n.left.split(key)
	return before, n.with(rest, n.right)
}

// merged is one tree of two, the first of which has the smaller keys.
func merged(a, b *spanNode) *spanNode {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.key.priority() >= b.key.priority():
		return a.with(a.left, merged(a.right, b))
	}
	return b.with(merged(a, b.left), b.right)
}

// set adds a node whose key is not there.
func (n *spanNode) set(one spanNode) *spanNode {
	before, rest := n.split(one.key)
	return merged(merged(before, one.with(nil, nil)), rest)
}

// without leaves out the node with a key, which is there.
func (n *spanNode) without(key spanKey) *spanNode {
	switch c := key.compare(n.key); {
	case c < 0:
		return n.with(n.left.without(key), n.right)
	case c > 0:
		return n.with(n.left, n.right.without(key))
	}
	return merged(n.left, n.right)
}
