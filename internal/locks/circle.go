package locks

import "slices"

// maxLooks bounds a search for a circle: so many locks are looked at.
const maxLooks = 4_000

// quickLooks is how many locks that are nothing to a search are looked at in the time of one.
const quickLooks = 16

// looks is what is left of that.
type looks int

func (n *looks) take() bool {
	*n--
	return *n >= 0
}

// deadlock reports whether the owner of a posix lock would wait for itself: for who waits, and so on, for what it has.
func (t *Table) deadlock(f *file, l *Lock) bool {
	if l.Kind != Posix || l.Described {
		return false
	}
	left := looks(maxLooks)
	seen := map[Owner]bool{}
	var next []Owner
	blockers := func(f *file, l *Lock) {
		for i := range f.held[Posix] {
			if !left.take() {
				return
			}
			if h := &f.held[Posix][i]; h.conflicts(l) && !seen[h.Owner] {
				seen[h.Owner] = true
				next = append(next, h.Owner)
			}
		}
	}
	blockers(f, l)
	for len(next) > 0 {
		o := next[0]
		next = next[1:]
		for _, w := range t.waiting[owning{Posix, o}] {
			if !left.take() {
				return false
			}
			if w.Described {
				continue // others can unlock what its owner has
			}
			wf := t.files[w.File]
			if t.blocks(wf, l.Owner, &w.Lock) {
				return true
			}
			blockers(wf, &w.Lock)
		}
	}
	return false
}

// untie lets pass who would wait in a circle with w for no other reason than its place in a line. It returns who got something.
// Nobody does on Linux, which has no such places.
func (t *Table) untie(w *Waiter) (granted []*Waiter) {
	for left := looks(maxLooks); left > 0 && t.wanted(w); {
		tied := t.tied(w, &left)
		if tied == nil {
			return granted
		}
		tied.pass = true
		f := t.files[tied.File]
		granted = append(granted, t.serve(f, tied.Kind)...)
		if f := t.files[w.File]; f == nil || !slices.Contains(f.line[w.Kind], w) {
			return granted // it was w itself
		}
	}
	return granted
}

// wanted reports whether anybody can wait for w's process: else w is part of no circle.
func (t *Table) wanted(w *Waiter) bool {
	a := t.act(w.actor())
	if line := t.files[w.File].line[w.Kind]; len(a.waits) > 1 || line[len(line)-1] != w {
		return true
	}
	return slices.ContainsFunc(a.held, func(at heldAt) bool {
		line := t.files[at.file].line[at.kind]
		return len(line) > 1 || len(line) == 1 && line[0] != w
	})
}

// tied returns one that waits behind another in a line, and is part of a circle of processes with w; nil if there is none.
func (t *Table) tied(w *Waiter, left *looks) *Waiter {
	type step struct {
		w    *Waiter
		tied *Waiter // on the way here
	}
	seen := map[*Waiter]bool{w: true}
	todo := []step{{w, nil}}
	for len(todo) > 0 && *left > 0 {
		s := todo[0]
		todo = todo[1:]
		f := t.files[s.w.File]
		var found *Waiter
		// to goes on at a process that s.w waits for.
		to := func(k actor, tied *Waiter) {
			if k == w.actor() && s.w != w && tied != nil {
				found = tied
			}
			for _, next := range t.act(k).waits {
				if left.take() && !seen[next] {
					seen[next] = true
					todo = append(todo, step{next, tied})
				}
			}
			t.rest(k, t.act(k))
		}
		for i := range f.held[s.w.Kind] {
			if h := &f.held[s.w.Kind][i]; left.take() && h.conflicts(&s.w.Lock) {
				to(h.actor(), s.tied)
			}
		}
		if !s.w.pass {
			n := 0
			for f.line[s.w.Kind][n] != s.w {
				n++
			}
			*left -= looks(n / quickLooks)
			t.ahead(f, &s.w.Lock, n, func(before *Waiter) bool {
				if !left.take() {
					return false
				}
				tied := s.tied
				if tied == nil {
					tied = s.w
				}
				to(before.actor(), tied)
				return found == nil
			})
		}
		if found != nil {
			return found
		}
	}
	return nil
}
