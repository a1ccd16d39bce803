package sync

import (
	"slices"
	"strings"
	"sync/atomic"
)

// named is an entry of a directory. Its name is guarded by Service.mu, like the lists that it is in.
type named interface {
	comparable
	label() string
}

// nameList holds entries of one directory in the order of their names. One takes no more than a pointer. [nameList.freeze]
// takes all of it at once: what is shared with a frozen copy is copied before it is changed.
type nameList[T named] struct {
	leaves []nameLeaf[T]
	mine   uint64 // generation of leaves itself
	// gen is that of what is nobody else's. What has an earlier one may be in a frozen copy.
	gen atomic.Uint64
}

// nameLeaf is a part of the list. from is not after its first name, and after all names of the leaf before it.
type nameLeaf[T named] struct {
	from  string
	gen   uint64
	items []T
}

// maxLeaf is how many entries a leaf has at most.
const maxLeaf = 512

// freeze takes what there is now. Service.mu may be held by readers.
func (l *nameList[T]) freeze() []nameLeaf[T] {
	l.gen.Add(1)
	return l.leaves
}

func (l *nameList[T]) empty() bool { return len(l.leaves) == 0 }

// leafFor is where name is or would be; -1 if there is no leaf.
func (l *nameList[T]) leafFor(name string) int {
	lo, hi := 0, len(l.leaves)
	for lo < hi {
		if mid := (lo + hi) / 2; l.leaves[mid].from <= name {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return max(lo-1, min(0, len(l.leaves)-1))
}

func (f *nameLeaf[T]) find(name string) (int, bool) {
	return slices.BinarySearchFunc(f.items, name, func(it T, name string) int { return strings.Compare(it.label(), name) })
}

// get returns the entry of that name, the zero value if there is none.
func (l *nameList[T]) get(name string) (it T) {
	if at := l.leafFor(name); at >= 0 {
		if i, ok := l.leaves[at].find(name); ok {
			it = l.leaves[at].items[i]
		}
	}
	return it
}

// change returns a leaf that is nobody else's.
func (l *nameList[T]) change(at int) *nameLeaf[T] {
	gen := l.ownTop()
	f := &l.leaves[at]
	if f.gen != gen {
		f.items, f.gen = slices.Clone(f.items), gen
	}
	return f
}

func (l *nameList[T]) ownTop() (gen uint64) {
	gen = l.gen.Load()
	if l.mine != gen {
		l.leaves, l.mine = slices.Clone(l.leaves), gen
	}
	return gen
}

// put adds an entry whose name is not there.
func (l *nameList[T]) put(it T) {
	name := it.label()
	at := l.leafFor(name)
	if at < 0 {
		l.leaves, l.mine = []nameLeaf[T]{{from: name, gen: l.gen.Load(), items: []T{it}}}, l.gen.Load()
		return
	}
	f := l.change(at)
	i, _ := f.find(name)
	if len(f.items) < maxLeaf {
		f.items = slices.Insert(f.items, i, it)
		return
	}
	// Cut in the middle; but what comes in order leaves full leaves behind.
	cut := maxLeaf / 2
	if i == maxLeaf {
		cut = maxLeaf
	}
	right := append(make([]T, 0, maxLeaf), f.items[cut:]...)
	clear(f.items[cut:])
	f.items = f.items[:cut]
	if i > cut || i == maxLeaf {
		right = slices.Insert(right, i-cut, it)
	} else {
		f.items = slices.Insert(f.items, i, it)
	}
	l.leaves = slices.Insert(l.leaves, at+1, nameLeaf[T]{right[0].label(), f.gen, right})
}

// putLast adds an entry behind all others, and reports whether that is where it belongs.
func (l *nameList[T]) putLast(it T) bool {
	name, at := it.label(), len(l.leaves)-1
	if at >= 0 {
		if items := l.leaves[at].items; items[len(items)-1].label() >= name {
			return false
		}
		if f := l.change(at); len(f.items) < maxLeaf {
			f.items = append(f.items, it)
			return true
		}
	}
	room := 1
	if at >= 0 {
		room = maxLeaf // there are many
	}
	gen := l.ownTop()
	l.leaves = append(l.leaves, nameLeaf[T]{name, gen, append(make([]T, 0, room), it)})
	return true
}

// remove takes the entry of that name away, if it is it.
func (l *nameList[T]) remove(name string, it T) {
	at := l.leafFor(name)
	if at < 0 {
		return
	}
	i, ok := l.leaves[at].find(name)
	if !ok || l.leaves[at].items[i] != it {
		return
	}
	f := l.change(at)
	f.items = slices.Delete(f.items, i, i+1)
	switch {
	case len(f.items) == 0:
		l.leaves = slices.Delete(l.leaves, at, at+1)
	case at > 0 && len(f.items)+len(l.leaves[at-1].items) <= maxLeaf/2:
		l.join(at - 1)
	case at+1 < len(l.leaves) && len(f.items)+len(l.leaves[at+1].items) <= maxLeaf/2:
		l.join(at)
	}
}

// join makes one of the leaves at and at+1.
func (l *nameList[T]) join(at int) {
	f := l.change(at)
	f.items = append(f.items, l.leaves[at+1].items...)
	l.leaves = slices.Delete(l.leaves, at+1, at+2)
}

// all calls fn with each entry. The list must not change meanwhile.
func (l *nameList[T]) all(fn func(T)) {
	for i := range l.leaves {
		for _, it := range l.leaves[i].items {
			fn(it)
		}
	}
}

// clear takes all entries away.
func (l *nameList[T]) clear() { l.leaves = nil }

// take makes an empty list have what is in another one, which is not used any more.
func (l *nameList[T]) take(from *nameList[T]) {
	l.leaves, l.mine = from.leaves, from.mine
	l.gen.Store(from.gen.Load())
}
