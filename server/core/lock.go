package core

import (
	"errors"

	"github.com/commy-project/commyfs/internal/locks"
	"github.com/commy-project/commyfs/model"
)

// lockNews is what a session is told of its locks, behind all changes that were made before.
type lockNews struct {
	answer *model.LockAnswer
	ended  uint64 // the lease that is over
}

// lock queues what became of a lock, without waking anybody.
func (f *feed) lock(t told) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.outcomes = append(f.outcomes, t)
	}
}

// settled reports whether everything that was reported is carried out.
func (f *feed) settled() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.expected) == 0
}

// behindLocked reports whether a watch of the session may be behind what others have been told: who gets a lock then would not
// see what was written under it before.
func (f *feed) behindLocked() bool {
	for _, w := range f.watches {
		if !w.live || w.lost {
			return true
		}
	}
	return false
}

// lockPlace is where a variable was when somebody had a lock of it first.
type lockPlace struct {
	service *service
	name    string
}

// LockWaits returns the services that have to be loaded before a lock can be asked for.
func (s *Session) LockWaits(l *model.Lock) (services []uint64) {
	for _, svc := range s.homes(l.ID, l.In) {
		services = append(services, svc.id)
	}
	return services
}

// mayLock reports whether the session may have a lock, and where its variable is. Who may not write keeps no reader out.
func (s *Session) mayLock(l *model.Lock) (lockPlace, error) {
	v := s.core.view
	for _, svc := range s.homes(l.ID, l.In) {
		if err := s.core.load(s.core.ctx, svc); err != nil {
			return lockPlace{}, err
		}
	}
	v.mu.RLock()
	defer v.mu.RUnlock()
	x := v.byID.get(l.ID)
	if x == nil || s.auth.Need(s.Principal, x.dir.service.tenant.name, 0) != nil {
		return lockPlace{}, model.ErrNotFound
	}
	want := model.RightRead
	if l.Exclusive {
		want = model.RightWrite
	}
	return lockPlace{x.dir.service, x.dir.path(x.name)}, s.auth.Need(s.Principal, x.dir.service.tenant.name, want)
}

// lockOf is a lock as the table has it.
func (s *Session) lockOf(l *model.Lock) locks.Lock {
	return locks.Lock{
		Kind: locks.Kind(l.Kind), Owner: locks.Owner{Client: s.client.id, ID: l.Owner}, Exclusive: l.Exclusive, Start: l.Start, End: l.End,
		Described: l.Described, Pid: l.Pid, Program: l.Program, Since: s.core.locking.now(),
	}
}

// inOrder calls fn when all that the session has reported before is carried out: at once, mostly.
func (s *Session) inOrder(fn func()) error {
	if s.feed.settled() {
		fn()
		return nil
	}
	it := item{session: s, do: fn}
	if _, held := s.hold(it, nil, nil); held {
		return nil
	}
	if !s.core.queue.push(it) {
		return model.ErrUnavailable
	}
	s.core.queue.signal()
	return nil
}

// Lock asks for a lock, of a variable in memory, for a session that has a lease. The answer is delivered.
func (s *Session) Lock(t Ticket, r *model.LockRequest) error {
	at, err := s.mayLock(&r.Lock)
	if err != nil {
		return err
	}
	k := s.core.locking
	k.mu.Lock()
	gives := k.table.Has(r.ID, locks.Kind(r.Kind), locks.Owner{Client: s.client.id, ID: r.Owner})
	k.mu.Unlock()
	if !gives {
		s.lock(t, r, at)
		return nil
	}
	// Another mode may let others in.
	return s.inOrder(func() {
		s.lock(t, r, at)
		s.feed.ready()
	})
}

func (s *Session) lock(t Ticket, r *model.LockRequest, at lockPlace) {
	k := s.core.locking
	a := &model.LockAnswer{Token: r.Token}
	var others touched
	k.mu.Lock()
	l := k.leases[s.client.id]
	if l == nil || l.over || l.session != s {
		a.State, a.Code, a.Message = model.LockFailed, model.CodeUnavailable, model.ErrUnavailable.Message
	} else {
		w, granted, err := k.table.Acquire(r.ID, s.lockOf(&r.Lock), r.Wait, r.Token)
		a.Lease = l.number
		switch {
		case w != nil:
			a.State = model.LockWaits
		case err != nil:
			fail(a, err)
		}
		if err == nil {
			k.places[r.ID] = at
		}
		k.tellLocked(&others, granted)
	}
	s.feed.lock(told{Ticket: t, lock: &lockNews{answer: a}})
	k.mu.Unlock()
	others.wakeBut(s)
}

// fail says why a lock was not granted.
func fail(a *model.LockAnswer, err error) {
	var reason *model.Error
	switch {
	case errors.Is(err, locks.ErrHeld):
		a.State = model.LockRefused
		return
	case errors.Is(err, locks.ErrDeadlock):
		reason = model.ErrDeadlock
	case errors.Is(err, locks.ErrTooMany):
		reason = model.ErrNoLocks
	default:
		reason = model.ErrInvalid
	}
	a.State, a.Code, a.Message = model.LockFailed, reason.Code, err.Error()
}

// tellLocked tells who has waited that it has its lock.
func (k *locking) tellLocked(t *touched, granted []*locks.Waiter) {
	for _, w := range granted {
		k.answerLocked(t, w.Owner.Client, &model.LockAnswer{Token: w.Token})
	}
}

// answerLocked tells a client what became of a lock, if it is connected. Else it asks when it comes back.
func (k *locking) answerLocked(t *touched, client string, a *model.LockAnswer) {
	if l := k.leases[client]; l != nil && l.session != nil {
		a.Lease = l.number
		l.session.feed.lock(told{lock: &lockNews{answer: a}})
		t.add(l.session)
	}
}

// Unlock takes a lock from its owner, when all that the session has reported before is carried out, and calls done then.
func (s *Session) Unlock(m *model.Lock, done func(error)) error {
	return s.inOrder(func() {
		k := s.core.locking
		var t touched
		k.mu.Lock()
		granted, err := k.table.Release(m.ID, s.lockOf(m))
		k.tellLocked(&t, granted)
		k.tidyLocked(m.ID)
		k.mu.Unlock()
		switch {
		case errors.Is(err, locks.ErrTooMany):
			err = model.ErrNoLocks
		case err != nil:
			err = model.ErrInvalid
		}
		done(err)
		t.wakeBut(s)
		if len(granted) > 0 {
			s.feed.ready() // it can be one of those
		}
	})
}

// tidyLocked forgets where a variable was of which nobody has a lock.
func (k *locking) tidyLocked(id uint64) {
	if !k.table.Used(id) {
		delete(k.places, id)
	}
}

// CancelLock takes back a request that waits. The answer is delivered: LockGranted, if it does not wait any more.
func (s *Session) CancelLock(t Ticket, id, token uint64) {
	k := s.core.locking
	a := &model.LockAnswer{Token: token}
	var others touched
	k.mu.Lock()
	if w := k.table.Waits(s.client.id, id, token); w != nil {
		granted, _ := k.table.Cancel(w)
		k.tellLocked(&others, granted)
		a.State = model.LockRefused
		k.tidyLocked(id)
	}
	if l := k.leases[s.client.id]; l != nil {
		a.Lease = l.number
	}
	s.feed.lock(told{Ticket: t, lock: &lockNews{answer: a}})
	k.mu.Unlock()
	others.wakeBut(s)
}

// TestLock tells who is in the way of a lock.
func (s *Session) TestLock(m *model.Lock) (*model.LockTest, error) {
	shared := *m
	shared.Exclusive = false
	if _, err := s.mayLock(&shared); err != nil {
		return nil, err
	}
	k := s.core.locking
	k.mu.Lock()
	defer k.mu.Unlock()
	h, ok := k.table.Conflict(m.ID, s.lockOf(m))
	if !ok {
		return &model.LockTest{}, nil
	}
	near := false
	if l := k.leases[h.Owner.Client]; l != nil {
		near = l.who.Local && s.Local
	}
	return &model.LockTest{Held: true, Near: near, By: model.Lock{
		ID: m.ID, Kind: m.Kind, Exclusive: h.Exclusive, Described: h.Described, Start: h.Start, End: h.End, Pid: h.Pid, Program: h.Program,
	}}, nil
}
