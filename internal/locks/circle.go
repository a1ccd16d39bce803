package locks

// maxSteps bounds a search for a circle.
const maxSteps = 1000

// deadlock reports whether the owner of a posix lock would wait for itself: for who waits, and so on, for what it has.
func (t *Table) deadlock(f *file, l *Lock) bool {
	if l.Kind != Posix || l.Described {
		return false
	}
	seen := map[Owner]bool{}
	var next []Owner
	blockers := func(f *file, l *Lock) {
		for i := range f.held[Posix] {
			if h := &f.held[Posix][i]; h.conflicts(l) && !seen[h.Owner] {
				seen[h.Owner] = true
				next = append(next, h.Owner)
			}
		}
	}
	blockers(f, l)
	for steps := 0; len(next) > 0 && steps < maxSteps; steps++ {
		o := next[0]
		next = next[1:]
		for _, w := range t.waiting[owning{Posix, o}] {
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
	for range maxSteps {
		if t.act(w.actor()).held == 0 && len(t.act(w.actor()).waits) == 1 {
			return granted // nobody waits for it
		}
		tied := t.tied(w)
		if tied == nil {
			return granted
		}
		tied.pass = true
		f := t.files[tied.File]
		granted = append(granted, t.serve(f, tied.Kind)...)
		if f := t.files[w.File]; f == nil || !contains(f.line[w.Kind], w) {
			return granted // it was w itself
		}
	}
	return granted
}

func contains(list []*Waiter, w *Waiter) bool {
	for _, o := range list {
		if o == w {
			return true
		}
	}
	return false
}

// tied returns one that waits behind another in a line, and is part of a circle of processes with w; nil if there is none.
func (t *Table) tied(w *Waiter) *Waiter {
	type step struct {
		w    *Waiter
		tied *Waiter // on the way here
	}
	seen := map[*Waiter]bool{w: true}
	todo := []step{{w, nil}}
	for steps := 0; len(todo) > 0 && steps < maxSteps; steps++ {
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
				if !seen[next] {
					seen[next] = true
					todo = append(todo, step{next, tied})
				}
			}
			t.rest(k, t.act(k))
		}
		for i := range f.held[s.w.Kind] {
			if h := &f.held[s.w.Kind][i]; h.conflicts(&s.w.Lock) {
				to(h.actor(), s.tied)
			}
		}
		if !s.w.pass {
			n := 0
			for f.line[s.w.Kind][n] != s.w {
				n++
			}
			t.ahead(f, &s.w.Lock, n, func(before *Waiter) bool {
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
