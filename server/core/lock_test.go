package core

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/locks"
	"github.com/commy-project/commyfs/model"
)

// withLease has leases end soon.
func withLease(d time.Duration) func(*setup) { return func(o *setup) { o.Lease = d } }

// lock asks for an exclusive flock, and returns the first answer.
func (p *peer) lock(id, owner uint64, wait bool) *model.LockAnswer {
	p.t.Helper()
	return p.lockAs(model.Lock{ID: id, Owner: owner, Exclusive: true, Pid: int(owner)}, wait)
}

func (p *peer) lockAs(l model.Lock, wait bool) *model.LockAnswer {
	p.t.Helper()
	if !p.HasLease() {
		if err := p.BeginLease(); err != nil {
			p.t.Fatal(err)
		}
	}
	c, err := p.ask(func(t Ticket) error {
		err := p.Session.Lock(t, &model.LockRequest{Lock: l, Token: l.Owner, Wait: wait})
		p.Ready()
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	got, err := p.await1(c)
	if err != nil {
		p.t.Fatal(err)
	}
	return got.(*model.LockAnswer)
}

func (p *peer) wantLock(id, owner uint64, wait bool, want model.LockState) *model.LockAnswer {
	p.t.Helper()
	a := p.lock(id, owner, wait)
	if a.State != want {
		p.t.Errorf("lock of %d: %+v, want state %d", id, a, want)
	}
	return a
}

func (p *peer) unlock(id, owner uint64) {
	p.t.Helper()
	done := make(chan error, 1)
	if err := p.Session.Unlock(&model.Lock{ID: id, Owner: owner}, func(err error) { done <- err }); err != nil {
		p.t.Fatal(err)
	}
	select {
	case err := <-done:
		if err != nil {
			p.t.Fatal(err)
		}
	case <-time.After(bound):
		p.t.Fatal("not unlocked")
	}
}

// granted waits for the push that a lock was granted.
func (p *peer) granted(token uint64) {
	p.t.Helper()
	p.await(fmt.Sprint("lock ", token), func(told []any) bool {
		return slices.ContainsFunc(told, func(m any) bool {
			a, ok := m.(*model.LockAnswer)
			return ok && a.Token == token && a.State == model.LockGranted
		})
	})
}

func (p *peer) reclaim(r *model.Reclaim) *model.Reclaimed {
	p.t.Helper()
	done := make(chan *model.Reclaimed, 1)
	if err := p.Reclaim(r, func(m *model.Reclaimed) { done <- m }); err != nil {
		p.t.Fatal(err)
	}
	select {
	case m := <-done:
		return m
	case <-time.After(bound):
		p.t.Fatal("not reclaimed")
		return nil
	}
}

// load has a server that was started anew know the variables.
func load(t *testing.T, s *testCore) {
	t.Helper()
	if err := s.load(t.Context(), s.view.lookup("t", "s")); err != nil {
		t.Fatal(err)
	}
}

func TestS15_LockBehindChanges(t *testing.T) {
	s := startCore(t)
	a, b := connect(t, s), connect(t, s)
	id := a.do(store("v", "0"))[0].ID
	sid := b.service("t", "s")
	b.mustWatch(&model.Watch{Service: sid, Values: true})
	a.wantLock(id, 1, false, model.LockGranted)
	b.wantLock(id, 2, false, model.LockRefused)
	b.wantLock(id, 2, true, model.LockWaits)
	a.do(store("v", "1"))
	a.unlock(id, 1)
	b.granted(2)
	at, locked := -1, -1
	for i, m := range b.taken() {
		switch m := m.(type) {
		case *model.Changes:
			at = i
		case *model.LockAnswer:
			if m.State == model.LockGranted {
				locked = i
			}
		}
	}
	if at < 0 || locked < at {
		t.Errorf("told of the change as %dth, of the lock as %dth", at, locked)
	}
}

// An unlock comes behind all that the session has reported before, also if that has to wait.
func TestS15_UnlockBehindReports(t *testing.T) {
	s := startCore(t)
	a, b := connect(t, s), connect(t, s)
	id := a.do(store("v", "0"))[0].ID
	a.wantLock(id, 1, false, model.LockGranted)
	b.wantLock(id, 2, true, model.LockWaits)
	hold := make(chan struct{})
	s.queue.call(func() { <-hold })
	c := a.begin(&model.Report{Seq: a.seq + 1, Changes: []model.Change{store("v", "1")}})
	a.seq++
	done := make(chan error, 1)
	if err := a.Session.Unlock(&model.Lock{ID: id, Owner: 1}, func(err error) { done <- err }); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		t.Errorf("unlocked before the report was carried out, %v", err)
	default:
	}
	close(hold)
	if o := a.outcome(c); o.Code != 0 {
		t.Error(o)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	b.granted(2)
	b.wantValue("v", "1")
}

func TestS15_LockRights(t *testing.T) {
	s := startCore(t)
	admin := connect(t, s)
	id := admin.do(store("v", "0"))[0].ID
	key := admin.createKey("reader", model.RightRead)
	reader := connect(t, s, s.by(key))
	if a := reader.lockAs(model.Lock{ID: id, Owner: 1}, false); a.State != model.LockGranted {
		t.Errorf("shared: %+v", a)
	}
	if err := reader.Session.Lock(Ticket{}, &model.LockRequest{Lock: model.Lock{ID: id, Owner: 1, Exclusive: true}}); model.CodeOf(err) != model.CodeDenied {
		t.Errorf("exclusive: %v", err)
	}
	if err := reader.Session.Lock(Ticket{}, &model.LockRequest{Lock: model.Lock{ID: id + 99, Owner: 1}}); model.CodeOf(err) != model.CodeNotFound {
		t.Errorf("not there: %v", err)
	}
	other := connect(t, s, s.by(admin.createKey("other", model.RightRead|model.RightWrite, "elsewhere")))
	if err := other.Session.Lock(Ticket{}, &model.LockRequest{Lock: model.Lock{ID: id, Owner: 1}}); model.CodeOf(err) != model.CodeNotFound {
		t.Errorf("hidden: %v", err)
	}
	if page := other.ListLocks(&model.ListLocks{}).Page(); len(page.Locks) != 0 {
		t.Errorf("hidden locks are listed: %+v", page.Locks)
	}
}

// A client that goes without a word loses its locks, and what it has reported under them is refused then.
func TestS15_LeaseEnds(t *testing.T) {
	s := startCore(t, withLease(200*time.Millisecond))
	a, b := connect(t, s), connect(t, s)
	id := a.do(store("v", "0"))[0].ID
	lease := a.wantLock(id, 1, false, model.LockGranted).Lease
	a.wantLock(a.do(store("w", ""))[0].ID, 1, false, model.LockGranted)
	b.wantLock(id, 2, true, model.LockWaits)
	under := store("v", "under")
	under.Lease = lease
	a.do(under)
	a.close()
	b.granted(2)
	back := connect(t, s, as(a.id))
	back.seq = a.seq
	under = store("v", "late")
	under.Lease = lease
	back.refused(model.CodeLockLost, under)
	if m := back.reclaim(&model.Reclaim{Lease: lease, Held: []model.HeldLock{{Lock: model.Lock{ID: id, Owner: 1, Exclusive: true}}}}); m.Lease != 0 {
		t.Errorf("reclaimed %+v", m)
	}
	b.wantValue("v", "under")
	s.locking.mu.Lock()
	if n := len(s.locking.places); n != 1 { // of v alone
		t.Errorf("%d places are remembered", n)
	}
	s.locking.mu.Unlock()
	if now := back.wantLock(id, 1, true, model.LockWaits); now.Lease <= lease {
		t.Errorf("lease %d after %d", now.Lease, lease)
	}
}

// A client that comes back in time has its locks, and its place in the line.
func TestS15_LeaseOutlivesConnections(t *testing.T) {
	s := startCore(t, withLease(5*time.Second))
	a, b, c := connect(t, s), connect(t, s), connect(t, s)
	id := a.do(store("v", "0"), store("w", "0"))[0].ID
	lease := a.wantLock(id, 1, false, model.LockGranted).Lease
	lb := b.wantLock(id, 2, true, model.LockWaits).Lease
	c.wantLock(id, 3, true, model.LockWaits)
	held := model.HeldLock{Lock: model.Lock{ID: id, Owner: 1, Exclusive: true}}
	waits := model.LockRequest{Lock: model.Lock{ID: id, Owner: 2, Exclusive: true}, Token: 2, Wait: true}
	a.close()
	b.close()
	a, b = connect(t, s, as(a.id)), connect(t, s, as(b.id))
	if m := b.reclaim(&model.Reclaim{Lease: lb, Waits: []model.LockRequest{waits}}); m.Lease != lb || m.Waits[0].State != model.LockWaits {
		t.Errorf("waits: %+v", m)
	}
	if m := a.reclaim(&model.Reclaim{Lease: lease, Held: []model.HeldLock{held}}); m.Lease != lease || len(m.Lost) > 0 {
		t.Errorf("held: %+v", m)
	}
	c.wantLock(id, 4, false, model.LockRefused)
	a.unlock(id, 1)
	b.granted(2)
	// The answer was lost: it says so again.
	b.close()
	b = connect(t, s, as(b.id))
	if m := b.reclaim(&model.Reclaim{Lease: lb, Waits: []model.LockRequest{waits}}); m.Lease != lb || m.Waits[0].State != model.LockGranted {
		t.Errorf("granted meanwhile: %+v", m)
	}
	// What it does not claim it has no more.
	if m := b.reclaim(&model.Reclaim{Lease: lb}); m.Lease != lb {
		t.Errorf("nothing claimed: %+v", m)
	}
	c.granted(3)
}

// The next server gives locks back to who had them, and nobody else gets one before.
func TestS15_LocksOutliveServers(t *testing.T) {
	dirs := newDirs(t)
	s := dirs.start(t, withLease(3*time.Second))
	a, b, c := connect(t, s), connect(t, s), connect(t, s)
	res := a.do(store("v", "0"), store("w", "0"))
	id := res[0].ID
	la := a.wantLock(id, 1, false, model.LockGranted).Lease
	lb := b.wantLock(res[1].ID, 2, false, model.LockGranted).Lease
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = dirs.start(t, withLease(3*time.Second))
	load(t, s)
	a2, b2, c2 := connect(t, s, as(a.id)), connect(t, s, as(b.id)), connect(t, s, as(c.id))
	a2.seq = a.seq
	c2.wantLock(id, 3, false, model.LockWaits) // also who would not wait: nobody knows yet
	if m := c2.reclaim(&model.Reclaim{Lease: la, Held: []model.HeldLock{{Lock: model.Lock{ID: id, Owner: 1, Exclusive: true}}}}); m.Lease != 0 {
		t.Errorf("another client's lease: %+v", m)
	}
	under := store("v", "under")
	under.Lease = la
	a2.do(under)
	if m := a2.reclaim(&model.Reclaim{Lease: la, Held: []model.HeldLock{{Lock: model.Lock{ID: id, Owner: 1, Exclusive: true}}}}); m.Lease != la || len(m.Lost) > 0 {
		t.Errorf("a: %+v", m)
	}
	if m := b2.reclaim(&model.Reclaim{Lease: lb}); m.Lease != lb {
		t.Errorf("b: %+v", m)
	}
	c2.await("the refusal", func(told []any) bool {
		return slices.ContainsFunc(told, func(m any) bool { a, ok := m.(*model.LockAnswer); return ok && a.State == model.LockRefused })
	})
	c2.wantLock(res[1].ID, 4, false, model.LockGranted)
	c2.wantLock(id, 3, false, model.LockRefused)
}

// Who does not come back to the next server loses its locks there.
func TestS15_UnclaimedLocks(t *testing.T) {
	dirs := newDirs(t)
	s := dirs.start(t, withLease(300*time.Millisecond))
	a := connect(t, s)
	id := a.do(store("v", "0"))[0].ID
	la := a.wantLock(id, 1, false, model.LockGranted).Lease
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = dirs.start(t, withLease(300*time.Millisecond))
	load(t, s)
	b := connect(t, s)
	b.wantLock(id, 2, true, model.LockWaits)
	b.granted(2)
	a2 := connect(t, s, as(a.id))
	if m := a2.reclaim(&model.Reclaim{Lease: la, Held: []model.HeldLock{{Lock: model.Lock{ID: id, Owner: 1, Exclusive: true}}}}); m.Lease != 0 {
		t.Errorf("%+v", m)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = dirs.start(t)
	if leases, err := s.engine.LoadLeases(t.Context(), nil); err != nil || len(leases) != 1 {
		t.Errorf("leases in the store: %v, %v", leases, err)
	}
}

func TestS15_ListLocks(t *testing.T) {
	s := startCore(t)
	a := connect(t, s)
	res := a.do(store("v", "0"), store("d/w", "0"))
	a.lockAs(model.Lock{ID: res[0].ID, Owner: 1, Exclusive: true, Pid: 42, Program: "flock"}, false)
	a.lockAs(model.Lock{ID: res[0].ID, Owner: 2, Pid: 43}, true)
	a.lockAs(model.Lock{ID: res[1].ID, Kind: model.LockRange, Owner: 1, Start: 3, End: 4}, false)
	all := a.ListLocks(&model.ListLocks{}).Page()
	if len(all.Locks) != 3 || all.More {
		t.Fatalf("%+v", all)
	}
	if l := all.Locks[0]; l.Name != "d/w" || l.Tenant != "t" || l.Service != "s" || l.Kind != model.LockRange || l.Start != 3 || l.End != 4 || l.Exclusive || l.Waits {
		t.Errorf("%+v", l)
	}
	if l := all.Locks[1]; l.Name != "v" || l.Pid != 42 || l.Program != "flock" || l.Host != "here" || !l.Exclusive || l.Since == 0 {
		t.Errorf("%+v", l)
	}
	if l := all.Locks[2]; !l.Waits || l.Pid != 43 || l.Program != "test" {
		t.Errorf("%+v", l)
	}
	for name, want := range map[string]int{"d": 1, "d/w": 1, "v": 2, "x": 0, "d/": 0} {
		if page := a.ListLocks(&model.ListLocks{Tenant: "t", Service: "s", Name: name}).Page(); len(page.Locks) != want {
			t.Errorf("%s: %+v", name, page.Locks)
		}
	}
	a.do(at(model.OpDelete, "t", "s", "v"))
	if l := a.ListLocks(&model.ListLocks{}).Page().Locks[0]; l.Name != "" || l.ID != res[0].ID {
		t.Errorf("deleted: %+v", l)
	}
	a.unlock(res[0].ID, 1)
	a.granted(2)
	if test, err := a.TestLock(&model.Lock{ID: res[1].ID, Kind: model.LockRange, Owner: 9, Exclusive: true, End: 9}); err != nil || !test.Held || test.By.Start != 3 || !test.Near {
		t.Errorf("%+v, %v", test, err)
	}
}

// Locks cost no transactions, but for the first one of a client.
func TestS15_NoTransactions(t *testing.T) {
	s := startCore(t)
	a, b := connect(t, s), connect(t, s)
	id := a.do(store("v", "0"))[0].ID
	a.wantLock(id, 1, false, model.LockGranted)
	b.wantLock(id, 2, false, model.LockRefused)
	a.unlock(id, 1)
	rev := s.engine.Rev()
	for range 100 {
		a.wantLock(id, 1, false, model.LockGranted)
		a.unlock(id, 1)
		b.wantLock(id, 2, false, model.LockGranted)
		b.unlock(id, 2)
	}
	if now := s.engine.Rev(); now != rev {
		t.Errorf("revision %d, was %d", now, rev)
	}
}

// A lease that nobody has a lock by leaves the store, and the next lock begins another.
func TestS15_UnusedLease(t *testing.T) {
	s := startCore(t, func(o *setup) { o.interval = 10 * time.Millisecond })
	s.locking.mu.Lock()
	s.locking.idle = 50 * time.Millisecond
	s.locking.mu.Unlock()
	a := connect(t, s)
	id := a.do(store("v", "0"))[0].ID
	lease := a.wantLock(id, 1, false, model.LockGranted).Lease
	time.Sleep(200 * time.Millisecond) // it is used
	if !a.HasLease() {
		t.Error("a lease with a lock has ended")
	}
	a.unlock(id, 1)
	a.await("the end of the lease", func(told []any) bool { return slices.Contains(told, any(leaseEnded(lease))) })
	if leases, err := s.engine.LoadLeases(t.Context(), nil); err != nil || len(leases) != 0 {
		t.Errorf("leases in the store: %v, %v", leases, err)
	}
	if now := a.wantLock(id, 1, false, model.LockGranted).Lease; now <= lease {
		t.Errorf("lease %d after %d", now, lease)
	}
}

// Who says goodbye has no locks any more.
func TestS15_Goodbye(t *testing.T) {
	s := startCore(t)
	a, b := connect(t, s), connect(t, s)
	id := a.do(store("v", "0"))[0].ID
	a.wantLock(id, 1, false, model.LockGranted)
	b.wantLock(id, 2, true, model.LockWaits)
	a.goodbye()
	b.granted(2)
}

// What a client sends that makes no sense is refused, and nobody else notices.
func TestS15_HostileLocks(t *testing.T) {
	p := connect(t, startCore(t))
	id := p.do(store("v", "1"))[0].ID
	p.wantLock(id, 1, false, model.LockGranted)
	for _, l := range []model.Lock{
		{Kind: 2}, {Kind: 255}, {Kind: model.LockRange, Start: 2, End: 1}, {Kind: model.LockRange, End: math.MaxUint64},
		{Kind: model.LockRange, Start: math.MaxUint64, End: math.MaxUint64},
	} {
		l.ID, l.Owner, l.Exclusive = id, 2, true
		if a := p.lockAs(l, true); a.State != model.LockFailed || a.Code != model.CodeInvalid {
			t.Errorf("%+v: %+v", l, a)
		}
		_, _ = p.TestLock(&l)
		done := make(chan error, 1)
		if err := p.Session.Unlock(&l, func(err error) { done <- err }); err != nil {
			t.Fatal(err)
		}
		p.wantCode(<-done, model.CodeInvalid)
		err := p.Reclaim(&model.Reclaim{
			Lease: p.lock(id, 1, false).Lease, Held: []model.HeldLock{{Lock: l}, {Lock: model.Lock{ID: id, Owner: 1, Exclusive: true}}},
			Waits: []model.LockRequest{{Lock: l, Token: 9, Wait: true, Age: math.MaxInt64}, {Lock: l, Token: 9, Wait: true, Age: math.MinInt64}},
		}, func(m *model.Reclaimed) {
			if len(m.Lost) != 1 || m.Lost[0] != 0 || len(m.Waits) != 2 || m.Waits[0].State != model.LockFailed {
				t.Errorf("%+v: reclaimed %+v", l, m)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	p.wantLock(id, 1, false, model.LockGranted) // it has it still
	p.do(store("v", "2"))
}

// What a client with as many locks as there can be reclaims does not hold the server up.
func TestS15_ReclaimMany(t *testing.T) {
	p := connect(t, startCore(t))
	id := p.do(store("v", "1"))[0].ID
	r := &model.Reclaim{Lease: p.wantLock(id, 1, false, model.LockGranted).Lease, Held: []model.HeldLock{{Lock: model.Lock{ID: id, Owner: 1, Exclusive: true}}}}
	for i := uint64(1); i < maxClientLocks; i++ {
		r.Held = append(r.Held, model.HeldLock{Lock: model.Lock{
			ID: id, Kind: model.LockRange, Owner: 1, Exclusive: true, Start: 3 * i, End: 3*i + 1,
		}})
	}
	for range 2 {
		began := time.Now()
		if m := p.reclaim(r); len(m.Lost) != 0 {
			t.Errorf("%d of %d were lost", len(m.Lost), len(r.Held))
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Fatalf("it took %v", took)
		} else {
			t.Log(took)
		}
		if held, _ := p.core.locking.count(); held != len(r.Held) {
			t.Errorf("it has %d", held)
		}
	}
	for i := range r.Held { // a part of each
		r.Held[i].End = r.Held[i].Start
	}
	p.reclaim(r)
	if _, ok := p.core.locking.table.Conflict(id, locks.Lock{Kind: locks.Posix, Start: 4, End: 4}); ok {
		t.Error("it has what it does not claim any more")
	}
	if _, ok := p.core.locking.table.Conflict(id, locks.Lock{Kind: locks.Posix, Start: 3, End: 3}); !ok {
		t.Error("it does not have what it claims")
	}
}
