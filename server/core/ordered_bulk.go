package core

import (
	"iter"
	"slices"
)

// What a directory has comes or goes as a whole when the directory changes its service, and faster than one by one.

// deleteDir takes away all that is in a directory.
func (o *ordered) deleteDir(dir uint64) {
	if o.root == nil {
		return
	}
	o.root = o.root.own(o.gen.Load())
	o.root.cut(nodeKey{dir: dir}, nodeKey{dir: dir + 1})
	for len(o.root.kids) == 1 {
		o.root = o.root.kids[0].block
	}
	if o.root.len() == 0 {
		o.root = nil
	}
}

// cut takes away what is from one key on and before another.
func (b *block) cut(from, to nodeKey) {
	if b.kids == nil {
		i, _ := b.find(from)
		j, _ := b.find(to)
		b.items = slices.Delete(b.items, i, j)
		return
	}
	first, last := b.kidFor(from), b.kidFor(to)
	for _, i := range slices.Compact([]int{first, last}) {
		k := &b.kids[i]
		k.block = k.own(b.gen)
		k.cut(from, to)
	}
	next := 0
	b.kids = slices.DeleteFunc(b.kids, func(k kid) bool {
		i := next
		next++
		return i > first && i < last || k.len() == 0
	})
	for i := min(last, first+1, len(b.kids)-1); i > 0 && i >= first; i-- { // what is left of the two, and their neighbours
		if n := b.kids[i-1].len(); min(n, b.kids[i].len()) < minBlock && n+b.kids[i].len() <= maxBlock*3/4 {
			b.kids[i-1].block = b.kids[i-1].own(b.gen)
			b.join(i - 1)
		}
	}
}

// in is all that is in a directory, a block at a time.
func (f frozen) in(dir uint64) iter.Seq[[]entry] {
	return func(yield func([]entry) bool) {
		if f.root != nil {
			f.root.part(&nodeKey{dir: dir}, &nodeKey{dir: dir + 1}, yield)
		}
	}
}

// part yields what is from one key on and before another; nil: from the first, to the last.
func (b *block) part(from, to *nodeKey, yield func([]entry) bool) bool {
	first, last := 0, b.len()
	if b.kids == nil {
		if from != nil {
			first, _ = b.find(*from)
		}
		if to != nil {
			last, _ = b.find(*to)
		}
		return first == last || yield(b.items[first:last])
	}
	if from != nil {
		first = b.kidFor(*from)
	}
	if to != nil {
		last = b.kidFor(*to) + 1
	}
	for i := first; i < last; i++ {
		var after, before *nodeKey
		if i == first {
			after = from
		}
		if i == last-1 {
			before = to
		}
		if !b.kids[i].part(after, before, yield) {
			return false
		}
	}
	return true
}

// setAll puts what is in order, and under keys that have nothing.
func (o *ordered) setAll(items []entry) {
	if len(items) == 0 {
		return
	}
	gen := o.gen.Load()
	if o.root == nil {
		o.root = &block{gen: gen}
	}
	o.root = o.root.own(gen)
	for more := o.root.setAll(items); len(more) > 0; {
		kids := append([]kid{{nodeKey{}, o.root}}, more...)
		o.root = &block{gen: gen}
		more = o.root.fillKids(kids)
	}
}

// setAll changes an owned block. more is what has no room in it.
func (b *block) setAll(items []entry) (more []kid) {
	if b.kids == nil {
		at, _ := b.find(items[0].key())
		if to, _ := b.find(items[len(items)-1].key()); to == at {
			items = slices.Insert(slices.Clone(b.items), at, items...)
		} else {
			items = append(slices.Clone(b.items), items...)
			slices.SortFunc(items, func(a, b entry) int { return a.key().compare(b.key()) })
		}
		parts := evenly(items)
		b.items = parts[0]
		for _, part := range parts[1:] {
			more = append(more, kid{part[0].key(), &block{gen: b.gen, items: part}})
		}
		return more
	}
	var kids []kid
	for i := range b.kids {
		n := len(items)
		if i+1 < len(b.kids) {
			n, _ = slices.BinarySearchFunc(items, b.kids[i+1].from, func(it entry, k nodeKey) int { return it.key().compare(k) })
		}
		k := b.kids[i]
		var extra []kid
		if n > 0 {
			k.block = k.own(b.gen)
			extra = k.setAll(items[:n])
		}
		kids = append(append(kids, k), extra...)
		items = items[n:]
	}
	return b.fillKids(kids)
}

// fillKids gives a block as many kids as it should have, and makes more blocks for the others.
func (b *block) fillKids(kids []kid) (more []kid) {
	parts := evenly(kids)
	b.kids = parts[0]
	for _, part := range parts[1:] {
		more = append(more, kid{part[0].from, &block{gen: b.gen, kids: part}})
	}
	return more
}

// evenly cuts a list into parts for blocks, which share nothing.
func evenly[T any](list []T) (parts [][]T) {
	n := (len(list) + maxBlock - 1) / maxBlock
	for i := range n {
		parts = append(parts, slices.Clone(list[i*len(list)/n:(i+1)*len(list)/n]))
	}
	return parts
}
