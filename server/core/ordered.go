package core

import (
	"slices"
	"strings"
	"sync/atomic"
)

// ordered holds the entries of all directories of a service, each directory's together, in the order of their names. A
// [frozen] of it is had at once, whatever its size, and stays as it is: what is shared with one is copied before it is changed.
// It is a B+ tree: entries are in its leaves alone. A directory that gets another name or place is one entry that moves.
//
// The committer alone changes it, under view.mu; frozen ones are taken under view.mu.RLock.
type ordered struct {
	root *block
	// gen is that of the blocks that are nobody else's. Those of an earlier one may be in a frozen.
	gen atomic.Uint64
}

// frozen is an [ordered] at one moment.
type frozen struct{ root *block }

// nodeKey is where an entry is: in which directory, by its id, and under which name.
type nodeKey struct {
	dir  uint64
	name string
}

func (k nodeKey) compare(to nodeKey) int {
	switch {
	case k.dir < to.dir:
		return -1
	case k.dir > to.dir:
		return 1
	}
	return strings.Compare(k.name, to.name)
}

type block struct {
	gen   uint64
	items []entry // of a leaf
	kids  []kid   // of what is not a leaf: at least one
}

// kid is a block below another. from is not after its first key, and after all keys of the kid before it.
type kid struct {
	from nodeKey
	*block
}

const (
	maxBlock = 64
	minBlock = maxBlock / 4 // below it a block joins a neighbour, if the two have room
)

func (b *block) len() int { return len(b.items) + len(b.kids) }

// freeze takes what there is now.
func (o *ordered) freeze() frozen {
	o.gen.Add(1)
	return frozen{o.root}
}

// get returns what is at a key.
func (o *ordered) get(key nodeKey) entry { return frozen{o.root}.get(key) }

func (f frozen) get(key nodeKey) entry {
	b := f.root
	if b == nil {
		return entry{}
	}
	for b.kids != nil {
		b = b.kids[b.kidFor(key)].block
	}
	if i, ok := b.find(key); ok {
		return b.items[i]
	}
	return entry{}
}

func (b *block) find(key nodeKey) (int, bool) {
	lo, hi := 0, len(b.items)
	for lo < hi {
		mid := (lo + hi) / 2
		switch c := b.items[mid].key().compare(key); {
		case c == 0:
			return mid, true
		case c < 0:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return lo, false
}

// kidFor is where a key is or would be.
func (b *block) kidFor(key nodeKey) int {
	lo, hi := 1, len(b.kids)
	for lo < hi {
		if mid := (lo + hi) / 2; b.kids[mid].from.compare(key) <= 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo - 1
}

// own returns b if it is nobody else's, a copy if it may be.
func (b *block) own(gen uint64) *block {
	if b.gen == gen {
		return b
	}
	return &block{gen: gen, items: slices.Clone(b.items), kids: slices.Clone(b.kids)}
}

// set puts n at its key, and returns what was there.
func (o *ordered) set(key nodeKey, n entry) (was entry) {
	gen := o.gen.Load()
	if o.root == nil {
		o.root = &block{gen: gen}
	}
	o.root = o.root.own(gen)
	was, right := o.root.set(key, n)
	if right != nil {
		o.root = &block{gen: gen, kids: []kid{{nodeKey{}, o.root}, *right}}
	}
	return was
}

// set changes an owned block. right is its second half if it had to be split.
func (b *block) set(key nodeKey, n entry) (was entry, right *kid) {
	if b.kids == nil {
		i, found := b.find(key)
		if found {
			was, b.items[i] = b.items[i], n
			return was, nil
		}
		return entry{}, b.insert(i, n)
	}
	i := b.kidFor(key)
	k := &b.kids[i]
	k.block = k.own(b.gen)
	was, more := k.set(key, n)
	if more == nil {
		return was, nil
	}
	b.kids = slices.Insert(b.kids, i+1, *more)
	if len(b.kids) <= maxBlock {
		return was, nil
	}
	half := &block{gen: b.gen}
	b.kids, half.kids = parted(b.kids, splitAt(len(b.kids), i+1))
	return was, &kid{half.kids[0].from, half}
}

// insert puts an item into a leaf.
func (b *block) insert(i int, n entry) (right *kid) {
	if len(b.items) < maxBlock {
		b.items = slices.Insert(b.items, i, n)
		return nil
	}
	half := &block{gen: b.gen}
	at := splitAt(len(b.items), i)
	b.items, half.items = parted(b.items, at)
	if i > at || i == maxBlock {
		half.items = slices.Insert(half.items, i-at, n)
	} else {
		b.items = slices.Insert(b.items, i, n)
	}
	return &kid{half.items[0].key(), half}
}

// splitAt is where n things are parted for one that comes at i: in the middle, but near their end, where what comes in
// order comes, so that little room is left before it.
func splitAt(n, i int) int {
	if i > n*3/4 {
		return min(i, n)
	}
	return n / 2
}

// parted cuts list in two that share nothing.
func parted[T any](list []T, at int) (left, right []T) {
	right = slices.Clone(list[at:])
	clear(list[at:])
	return list[:at], right
}

// delete takes away what is at key, and returns it.
func (o *ordered) delete(key nodeKey) (was entry) {
	if was = o.get(key); was.none() {
		return was
	}
	o.root = o.root.own(o.gen.Load())
	o.root.delete(key)
	for len(o.root.kids) == 1 {
		o.root = o.root.kids[0].block
	}
	if o.root.len() == 0 {
		o.root = nil
	}
	return was
}

func (b *block) delete(key nodeKey) {
	if b.kids == nil {
		if i, ok := b.find(key); ok {
			b.items = slices.Delete(b.items, i, i+1)
		}
		return
	}
	i := b.kidFor(key)
	k := &b.kids[i]
	k.block = k.own(b.gen)
	k.delete(key)
	switch n := k.len(); {
	case n == 0 && len(b.kids) > 1:
		b.kids = slices.Delete(b.kids, i, i+1)
	case n >= minBlock:
	case i > 0 && n+b.kids[i-1].len() <= maxBlock*3/4:
		b.join(i - 1)
	case i+1 < len(b.kids) && n+b.kids[i+1].len() <= maxBlock*3/4:
		b.join(i)
	}
}

// join makes one of the kids i and i+1.
func (b *block) join(i int) {
	left, right := b.kids[i].own(b.gen), &b.kids[i+1]
	left.items = append(left.items, right.items...)
	if n := len(left.kids); right.kids != nil {
		left.kids = append(left.kids, right.kids...)
		left.kids[n].from = right.from
	}
	b.kids[i].block = left
	b.kids = slices.Delete(b.kids, i+1, i+2)
}

// cursor walks over a [frozen] in order.
type cursor struct {
	frozen
	stack []step // from the root to a leaf
}

type step struct {
	*block
	next int
}

// from returns a cursor that begins at the first key that is not before key.
func (f frozen) from(key nodeKey) *cursor {
	c := &cursor{frozen: f}
	c.seek(key)
	return c
}

// seek goes to the first key that is not before key.
func (c *cursor) seek(key nodeKey) {
	c.stack = c.stack[:0]
	for b := c.root; b != nil; {
		if b.kids == nil {
			i, _ := b.find(key)
			c.stack = append(c.stack, step{b, i})
			return
		}
		i := b.kidFor(key)
		c.stack = append(c.stack, step{b, i + 1})
		b = b.kids[i].block
	}
}

// next returns what comes next; false: that was all.
func (c *cursor) next() (entry, bool) {
	for len(c.stack) > 0 {
		s := &c.stack[len(c.stack)-1]
		switch {
		case s.next < len(s.items):
			s.next++
			return s.items[s.next-1], true
		case s.next < len(s.kids):
			s.next++
			c.stack = append(c.stack, step{s.kids[s.next-1].block, 0})
		default:
			c.stack = c.stack[:len(c.stack)-1]
		}
	}
	return entry{}, false
}
