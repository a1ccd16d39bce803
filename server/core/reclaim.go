package core

import (
	"cmp"

	"github.com/commy-project/commyfs/internal/locks"
	"github.com/commy-project/commyfs/model"
)

// Reclaim takes what a client says it has and waits for, which is the truth from then on, and calls done with what of it holds. It
// may have to load services.
func (s *Session) Reclaim(r *model.Reclaim, done func(*model.Reclaimed)) error {
	if len(r.Held)+len(r.Waits) > maxClientLocks {
		return model.ErrNoLocks
	}
	k := s.core.locking
	k.mu.Lock()
	l := k.leases[s.client.id]
	ours := l != nil && l.number == r.Lease && !l.over && l.session == s
	k.mu.Unlock()
	switch {
	case !ours:
		done(&model.Reclaimed{})
		return nil
	case r.Lost:
		k.end(l, "the client gives it up", s, func() { done(&model.Reclaimed{}) })
		return nil
	}
	places := k.askedOf(s, r)
	return s.inOrder(func() { done(k.reclaimed(s, r, l, places)) })
}

// askedOf returns the variables that a client may have locks of, and where they are. Who has one by this server need not be asked
// for its rights again.
func (k *locking) askedOf(s *Session, r *model.Reclaim) map[uint64]lockPlace {
	places := map[uint64]lockPlace{}
	ask := func(l *model.Lock) {
		if at, err := s.mayLock(l); err == nil {
			places[l.ID] = at
		}
	}
	for i := range r.Held {
		h := &r.Held[i].Lock
		k.mu.Lock()
		has := k.table.Holds(h.ID, s.lockOf(h))
		k.mu.Unlock()
		if !has {
			ask(h)
		}
	}
	for i := range r.Waits {
		ask(&r.Waits[i].Lock)
	}
	return places
}

// reclaimed is what of a client's locks holds.
func (k *locking) reclaimed(s *Session, r *model.Reclaim, l *lease, places map[uint64]lockPlace) *model.Reclaimed {
	m := &model.Reclaimed{}
	var t touched
	k.mu.Lock()
	defer func() {
		k.mu.Unlock()
		t.wake()
	}()
	if l.over || l.session != s {
		return m
	}
	m.Lease = l.number
	for i := range r.Held {
		h := s.lockOf(&r.Held[i].Lock)
		id := r.Held[i].ID
		if k.table.Holds(id, h) || r.Held[i].Leaving {
			continue
		}
		if at, ok := places[id]; !ok || !k.table.Restore(id, h) {
			m.Lost = append(m.Lost, i)
		} else {
			k.places[id] = at
		}
	}
	k.keepOnlyLocked(&t, s, r)
	k.claimLocked(l)
	for i := range r.Waits {
		m.Waits = append(m.Waits, k.waitAgainLocked(&t, s, &r.Waits[i], places))
	}
	k.thawLocked(&t)
	return m
}

// keepOnlyLocked takes from a client what it does not claim.
func (k *locking) keepOnlyLocked(t *touched, s *Session, r *model.Reclaim) {
	waits := map[uint64]bool{}
	for i := range r.Waits {
		waits[r.Waits[i].Token] = true
	}
	// Of a range that it has as a shared lock and waits for as an exclusive one either may be what it has.
	claims := map[bool]*locks.Table{false: locks.New(locks.Limits{}), true: locks.New(locks.Limits{})}
	claim := func(l *model.Lock) { claims[l.Exclusive].Force(l.ID, s.lockOf(l)) }
	for i := range r.Held {
		claim(&r.Held[i].Lock)
	}
	for i := range r.Waits { // it can have been granted, and the answer lost
		claim(&r.Waits[i].Lock)
	}
	for _, e := range k.table.OfClient(s.client.id) {
		if e.Waits {
			if waits[e.Token] {
				continue
			}
			if w := k.table.Waits(s.client.id, e.File, e.Token); w != nil {
				granted, _ := k.table.Cancel(w)
				k.tellLocked(t, granted)
			}
			continue
		}
		for _, rest := range claims[e.Exclusive].Lacks(e.File, e.Lock) {
			granted, _ := k.table.Release(e.File, rest)
			k.tellLocked(t, granted)
		}
		k.tidyLocked(e.File)
	}
}

// waitAgainLocked says what has become of a request that a client waits for, which may not have arrived.
func (k *locking) waitAgainLocked(t *touched, s *Session, r *model.LockRequest, places map[uint64]lockPlace) model.LockAnswer {
	a := model.LockAnswer{Token: r.Token, Lease: k.leases[s.client.id].number}
	l := s.lockOf(&r.Lock)
	l.Since -= max(r.Age, 0)
	at, known := places[r.ID]
	switch {
	case k.table.Waits(s.client.id, r.ID, r.Token) != nil:
		a.State = model.LockWaits
	case k.table.Holds(r.ID, l):
	case !known:
		a.State, a.Code, a.Message = model.LockFailed, model.CodeNotFound, model.ErrNotFound.Message
	default:
		w, granted, err := k.table.Acquire(r.ID, l, r.Wait, r.Token)
		k.tellLocked(t, granted)
		if w != nil {
			a.State = model.LockWaits
		} else if err != nil {
			fail(&a, err)
		}
		if err == nil {
			k.places[r.ID] = cmp.Or(k.places[r.ID], at)
		}
	}
	return a
}
