package locks

import (
	"slices"
	"sort"
)

// holder returns a lock that somebody has and that keeps l from being granted, nil if there is none.
func (t *Table) holder(f *file, l *Lock) *Lock {
	if !l.Exclusive && f.writers[l.Kind] == 0 || f.owns[l.Kind][l.Owner] == len(f.held[l.Kind]) {
		return nil
	}
	for i := range f.held[l.Kind] {
		if h := &f.held[l.Kind][i]; h.conflicts(l) {
			return h
		}
	}
	return nil
}

// ahead calls fn with those of the first n in the line that l has to wait behind, until that returns false. Who waits for l's own
// owner is none of them.
func (t *Table) ahead(f *file, l *Lock, n int, fn func(*Waiter) bool) {
	for _, w := range f.line[l.Kind][:n] {
		if w.conflicts(l) && !t.blocks(f, l.Owner, &w.Lock) && !fn(w) {
			return
		}
	}
}

// blocks reports whether an owner has what keeps a lock from being granted.
func (t *Table) blocks(f *file, o Owner, l *Lock) bool {
	if f.owns[l.Kind][o] == 0 {
		return false
	}
	for i := range f.held[l.Kind] {
		if h := &f.held[l.Kind][i]; h.Owner == o && h.conflicts(l) {
			return true
		}
	}
	return false
}

// free reports whether l can be granted behind the first n in the line, or, with pass, by them.
func (t *Table) free(f *file, l *Lock, n int, pass bool) bool {
	if t.holder(f, l) != nil {
		return false
	}
	free := true
	if !pass {
		t.ahead(f, l, n, func(*Waiter) bool { free = false; return false })
	}
	return free
}

// enter puts a waiter into the line, behind all who have asked no later.
func (t *Table) enter(f *file, w *Waiter) {
	line := f.line[w.Kind]
	i := len(line)
	for i > 0 && line[i-1].Since > w.Since {
		i--
	}
	f.line[w.Kind] = slices.Insert(line, i, w)
	t.countWaiter(w, 1)
	by := owning{w.Kind, w.Owner}
	t.waiting[by] = append(t.waiting[by], w)
	a := t.act(w.actor())
	a.waits = append(a.waits, w)
}

// leave takes it out.
func (t *Table) leave(f *file, w *Waiter) {
	f.line[w.Kind] = remove(f.line[w.Kind], w)
	t.countWaiter(w, -1)
	by := owning{w.Kind, w.Owner}
	if left := remove(t.waiting[by], w); len(left) > 0 {
		t.waiting[by] = left
	} else {
		delete(t.waiting, by)
	}
	a := t.act(w.actor())
	a.waits = remove(a.waits, w)
	t.rest(w.actor(), a)
}

func remove(list []*Waiter, w *Waiter) []*Waiter {
	if i := slices.Index(list, w); i >= 0 {
		return slices.Delete(list, i, i+1)
	}
	return list
}

// serve grants what can be granted of a line, in order, and returns it.
func (t *Table) serve(f *file, k Kind) (granted []*Waiter) {
	if t.frozen {
		return nil
	}
	for i := 0; i < len(f.line[k]); {
		w := f.line[k][i]
		if !t.free(f, &w.Lock, i, w.pass) || t.crowded(f, &w.Lock, true, 1) {
			i++
			continue
		}
		t.leave(f, w)
		had := t.put(w.File, f, w.Lock, true)
		granted = append(granted, w)
		if t.lets(&w.Lock, had) {
			i = 0
		}
	}
	return granted
}

// lets reports whether others may get something because of a lock that was granted: what its owner had there as an exclusive one
// can be shared now, and other threads of its owner need not wait any more behind who waits for it.
func (t *Table) lets(l *Lock, had bool) bool {
	return !l.Exclusive && had || len(t.waiting[owning{l.Kind, l.Owner}]) > 0
}

// set is put, and serves who waits.
func (t *Table) set(id uint64, f *file, l Lock, keep bool) (granted []*Waiter, err error) {
	if t.crowded(f, &l, keep, 0) {
		return nil, ErrTooMany
	}
	t.files[id] = f
	had := t.put(id, f, l, keep)
	if len(f.line[l.Kind]) > 0 && (!keep || t.lets(&l, had)) {
		granted = t.serve(f, l.Kind)
	}
	t.tidy(id, f)
	return granted, nil
}

// crowded reports whether there is no room for what a change of l's range adds, when less of the client's has gone. Taking
// something away, which can cut one range in two, has the same bound.
func (t *Table) crowded(f *file, l *Lock, keep bool, less int) bool {
	if !t.full(l.Owner.Client, 2) { // the most that it can be
		return false
	}
	from, to := f.touching(l)
	return t.full(l.Owner.Client, len(replaced(f.held[l.Kind][from:to], *l, keep))-(to-from)-less)
}

// full reports whether there is no room for n more of a client's.
func (t *Table) full(name string, n int) bool {
	return n > 0 && (t.limits.Client > 0 && t.LenOf(name)+n > t.limits.Client || t.limits.Total > 0 && t.total+n > t.limits.Total)
}

// block is where an owner's locks of a kind are in the list: they are side by side, in the order of their ranges.
func (f *file) block(k Kind, o Owner) (from, to int) {
	n := f.owns[k][o]
	if n == 0 {
		return len(f.held[k]), len(f.held[k])
	}
	from = slices.IndexFunc(f.held[k], func(h Lock) bool { return h.Owner == o })
	return from, from + n
}

// touching is where those are that overlap l's range, or are next to it.
func (f *file) touching(l *Lock) (from, to int) {
	begin, end := f.block(l.Kind, l.Owner)
	own := f.held[l.Kind][begin:end]
	from = sort.Search(len(own), func(i int) bool { return own[i].End+1 >= l.Start })
	to = from + sort.Search(len(own)-from, func(i int) bool { return own[from+i].Start > l.End+1 })
	return begin + from, begin + to
}

// put makes the owner's locks of a range be l, or none. It reports whether the owner had any of the file.
func (t *Table) put(id uint64, f *file, l Lock, keep bool) (had bool) {
	had = f.owns[l.Kind][l.Owner] > 0
	from, to := f.touching(&l)
	before := slices.Clone(f.held[l.Kind][from:to])
	after := replaced(before, l, keep)
	f.held[l.Kind] = slices.Replace(f.held[l.Kind], from, to, after...)
	for i := range before {
		t.count(id, f, &before[i], -1)
	}
	for i := range after {
		t.count(id, f, &after[i], 1)
	}
	return had
}

// replaced is the list of an owner's locks with l, or with nothing, in the place of what it has of the range. Locks that
// touch and are alike become one.
func replaced(list []Lock, l Lock, keep bool) []Lock {
	out := make([]Lock, 0, len(list)+2)
	at := -1 // where l goes: the order of an owner's is that of their ranges
	for _, h := range list {
		switch {
		case keep && h.Exclusive == l.Exclusive && h.Start <= l.End+1 && l.Start <= h.End+1:
			l.Start, l.End, l.Since = min(l.Start, h.Start), max(l.End, h.End), min(l.Since, h.Since)
		case h.End < l.Start:
			out = append(out, h)
		case h.Start > l.End:
			if at < 0 {
				at = len(out)
			}
			out = append(out, h)
		default:
			if h.Start < l.Start {
				left := h
				left.End = l.Start - 1
				out = append(out, left)
			}
			if h.End > l.End {
				if at < 0 {
					at = len(out)
				}
				right := h
				right.Start = l.End + 1
				out = append(out, right)
			}
		}
	}
	if !keep {
		return out
	}
	if at < 0 {
		at = len(out)
	}
	return slices.Insert(out, at, l)
}

func (t *Table) countWaiter(w *Waiter, n int) { t.add(w.File, w.Owner.Client, n) }

// count counts a lock that has come or gone.
func (t *Table) count(id uint64, f *file, l *Lock, n int) {
	t.add(id, l.Owner.Client, n)
	if l.Exclusive {
		f.writers[l.Kind] += n
	}
	if f.owns[l.Kind] == nil {
		f.owns[l.Kind] = map[Owner]int{}
	}
	if f.owns[l.Kind][l.Owner] += n; f.owns[l.Kind][l.Owner] == 0 {
		delete(f.owns[l.Kind], l.Owner)
	}
	a := t.act(l.actor())
	a.count(id, l.Kind, n)
	t.rest(l.actor(), a)
}

func (a *acting) count(id uint64, k Kind, n int) {
	i := slices.IndexFunc(a.held, func(at heldAt) bool { return at.file == id && at.kind == k })
	if i < 0 {
		i = len(a.held)
		a.held = append(a.held, heldAt{file: id, kind: k})
	}
	if a.held[i].n += n; a.held[i].n == 0 {
		a.held = slices.Delete(a.held, i, i+1)
	}
}

// add counts n locks or waiters of a client.
func (t *Table) add(id uint64, name string, n int) {
	c := t.clients[name]
	if c == nil {
		c = &client{files: map[uint64]int{}}
		t.clients[name] = c
	}
	t.total += n
	c.total += n
	if c.files[id] += n; c.files[id] == 0 {
		delete(c.files, id)
	}
	if c.total == 0 {
		delete(t.clients, name)
	}
}

func (t *Table) act(k actor) *acting {
	a := t.acting[k]
	if a == nil {
		a = &acting{}
		t.acting[k] = a
	}
	return a
}

func (t *Table) rest(k actor, a *acting) {
	if len(a.held)+len(a.waits) == 0 {
		delete(t.acting, k)
	}
}

// tidy forgets a file of which nobody has or wants anything.
func (t *Table) tidy(id uint64, f *file) {
	for k := range kinds {
		if len(f.held[k])+len(f.line[k]) > 0 {
			return
		}
	}
	delete(t.files, id)
}
