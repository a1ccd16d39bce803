package locks

import (
	"cmp"
	"maps"
	"slices"
)

// Entry is a lock of a file that somebody has or waits for.
type Entry struct {
	Lock
	File  uint64
	Token uint64
	Waits bool
}

// Used reports whether anybody has or waits for a lock of a file.
func (t *Table) Used(id uint64) bool { return t.files[id] != nil }

// Of returns the locks of a file, and then who waits, in order.
func (t *Table) Of(id uint64) (list []Entry) {
	f := t.files[id]
	if f == nil {
		return nil
	}
	for k := range f.held {
		for _, h := range f.held[k] {
			list = append(list, Entry{Lock: h, File: id})
		}
	}
	for k := range f.line {
		for _, w := range f.line[k] {
			list = append(list, Entry{Lock: w.Lock, File: id, Token: w.Token, Waits: true})
		}
	}
	return list
}

// FilesOf returns the numbers of the files of which a client has or waits for locks, in order.
func (t *Table) FilesOf(name string) []uint64 {
	if c := t.clients[name]; c != nil {
		return slices.Sorted(maps.Keys(c.files))
	}
	return nil
}

// OfClient returns the locks of a client, and those that it waits for, by files.
func (t *Table) OfClient(name string) (list []Entry) {
	for _, id := range t.FilesOf(name) {
		for _, e := range t.Of(id) {
			if e.Owner.Client == name {
				list = append(list, e)
			}
		}
	}
	return list
}

// Waits returns what a client waits for by a token, nil if it does not.
func (t *Table) Waits(name string, id, token uint64) *Waiter {
	f := t.files[id]
	if f == nil {
		return nil
	}
	for k := range f.line {
		for _, w := range f.line[k] {
			if w.Owner.Client == name && w.Token == token {
				return w
			}
		}
	}
	return nil
}

// Files returns the numbers of the files of which somebody has or wants a lock, in order.
func (t *Table) Files() []uint64 { return slices.Sorted(maps.Keys(t.files)) }

// Sort puts entries into the order of files, of kinds, and of time.
func Sort(list []Entry) {
	slices.SortStableFunc(list, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Kind, b.Kind))
	})
}

// Lacks returns the parts of a lock that its owner does not have in its mode.
func (t *Table) Lacks(id uint64, l Lock) []Lock {
	l.whole()
	f := t.files[id]
	if f == nil || l.check() != nil {
		return []Lock{l}
	}
	from, to := f.touching(&l)
	return without(l, f.held[l.Kind][from:to])
}

// without returns the parts of a lock that none of others has in its mode, all being of one owner.
func without(l Lock, others []Lock) []Lock {
	left := []Lock{l}
	for _, o := range others {
		if o.Exclusive != l.Exclusive {
			continue
		}
		o.whole()
		o.Owner, o.Kind = l.Owner, l.Kind
		left = replaced(left, o, false)
	}
	return left
}
