package sync_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
	"github.com/commy-project/commyfs/transport"
)

// lockServer is a server of which anybody gets each lock, by one lease, and that carries out reports when it is told to.
type lockServer struct {
	*fake
	sync.Mutex // guards the following
	held       []func()
	free       bool
	unlocked   []model.Lock
	lease      uint64
}

func newLockServer(t *testing.T) *lockServer {
	s := &lockServer{lease: 7}
	s.fake = &fake{t: t, lease: time.Minute, handle: func(send func(uint64, transport.Message), id uint64, m transport.Message) {
		s.Lock()
		defer s.Unlock()
		switch m := m.(type) {
		case *transport.Lock:
			send(id, &transport.Locked{Token: m.Token, Lease: s.lease})
		case *transport.Unlock:
			s.unlocked = append(s.unlocked, m.Lock)
			send(id, &transport.Done{})
		case *transport.ReportVariableChanges:
			answer := func() { send(id, accept(m)) }
			if s.free {
				answer()
			} else {
				s.held = append(s.held, answer)
			}
		default:
			send(id, &transport.Done{})
		}
	}}
	return s
}

// release has the server carry out what it was sent, and what comes.
func (s *lockServer) release() {
	s.Lock()
	defer s.Unlock()
	s.free = true
	for _, answer := range s.held {
		answer()
	}
	s.held = nil
}

func (s *lockServer) unlocks() int {
	s.Lock()
	defer s.Unlock()
	return len(s.unlocked)
}

func lockOf(owner uint64) model.Lock {
	return model.Lock{ID: fakeVariable, Owner: owner, Exclusive: true}
}

// Who unlocks waits for the edits made before, also while somebody else on the same client waits for the same ones.
func TestS15_UnlocksBehindEdits(t *testing.T) {
	s := newLockServer(t)
	c := s.client(func(o *varsync.Options) { o.NoMap = true })
	v := variable(t, c, "t", "s", "v")
	for owner := uint64(1); owner <= 2; owner++ {
		if err := c.Lock(t.Context(), lockOf(owner), true); err != nil {
			t.Fatal(err)
		}
	}
	var acks []*varsync.Ack
	for _, data := range []string{"a", "b"} { // the second is not sent before the first is answered
		acks = append(acks, v.Enqueue(varsync.Edit{Kind: varsync.EditReplace, Data: []byte(data)}))
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			c.Settle(t.Context())
			if v.Dirty() {
				t.Error("edits are not waited for")
			}
		})
	}
	time.AfterFunc(50*time.Millisecond, s.release)
	wg.Wait()
	for _, a := range acks {
		if _, err := a.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// fullConn is a connection that takes no unlocks while it is full.
type fullConn struct {
	varsync.Conn
	full *atomic.Bool
}

func (c fullConn) Unlock(ctx context.Context, l *model.Lock) error {
	if c.full.Load() {
		<-ctx.Done()
		return ctx.Err()
	}
	return c.Conn.Unlock(ctx, l)
}

// An unlock that could not be told in time is told later, over the same connection, because others wait for it, and before the owner
// asks for another lock.
func TestS15_OwedUnlock(t *testing.T) {
	s := newLockServer(t)
	var full atomic.Bool
	c := s.client(func(o *varsync.Options) {
		o.NoMap = true
		o.Dial = func(ctx context.Context) (varsync.Conn, error) {
			conn, err := s.dial(ctx)
			return fullConn{conn, &full}, err
		}
	})
	for n := 1; n <= 4; n++ {
		if err := c.Lock(t.Context(), lockOf(1), true); err != nil {
			t.Fatal(err)
		}
		if got := s.unlocks(); got != n-1 {
			t.Errorf("%d unlocks before it was locked again, want %d", got, n-1)
		}
		full.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		if err := c.Unlock(ctx, lockOf(1)); err == nil {
			t.Fatal("unlocked")
		}
		cancel()
		if c.HasLock(fakeVariable, model.LockFile, 1) {
			t.Error("it has the lock still")
		}
		full.Store(false)
		if n%2 == 0 {
			eventually(t, func() bool { return s.unlocks() == n })
		}
	}
}

// What was begun while there were locks that are lost by now is refused, also if there are others by another lease, and does not
// travel with what was begun by that.
func TestS15_LostTenure(t *testing.T) {
	s := newLockServer(t)
	s.free = true
	c := s.client(func(o *varsync.Options) { o.NoMap = true })
	v := variable(t, c, "t", "s", "v")
	if c.Tenure() != 0 {
		t.Errorf("tenure %d without a lock", c.Tenure())
	}
	if err := c.Lock(t.Context(), lockOf(1), true); err != nil {
		t.Fatal(err)
	}
	e := varsync.Edit{Kind: varsync.EditReplace, Data: []byte("a"), Tenure: c.Tenure()}
	if _, err := v.Commit(t.Context(), e); err != nil {
		t.Error(err)
	}
	if err := c.Unlock(t.Context(), lockOf(1)); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Commit(t.Context(), e); err != nil {
		t.Errorf("after an unlock: %v", err)
	}
	if err := c.Lock(t.Context(), lockOf(1), true); err != nil {
		t.Fatal(err)
	}
	s.push(&transport.LeaseEnded{Lease: 7})
	eventually(t, func() bool { return !c.HasLock(fakeVariable, model.LockFile, 1) })
	s.Lock()
	s.lease = 6 // the server's clock was set back
	s.Unlock()
	if err := c.Lock(t.Context(), lockOf(1), true); err != nil {
		t.Fatal(err)
	}
	for _, commit := range []func() error{
		func() error { _, err := v.Commit(t.Context(), e); return err },
		func() error { _, err := v.Enqueue(e).Wait(t.Context()); return err },
		func() error {
			_, _, err := c.CreateOrKeep(t.Context(), 1, model.Change{Op: model.OpStore, Tenant: "t", Service: "s", Name: "n"}, e.Tenure)
			return err
		},
	} {
		if err := commit(); model.CodeOf(err) != model.CodeLockLost {
			t.Errorf("after the lease was lost: %v", err)
		}
	}
	for _, tenure := range []uint64{0, c.Tenure()} {
		e.Tenure = tenure
		if _, err := v.Commit(t.Context(), e); err != nil {
			t.Errorf("begun after it, in tenure %d: %v", tenure, err)
		}
	}
}

// A lock that nobody else has takes a round trip, and so does its unlock; nothing else is asked in their way.
func TestS15_RoundTrips(t *testing.T) {
	s := newLockServer(t)
	var asked []string
	handle := s.handle
	s.handle = func(send func(uint64, transport.Message), id uint64, m transport.Message) {
		if _, ok := m.(*transport.Ping); !ok { // which nobody waits for
			s.Lock()
			asked = append(asked, fmt.Sprintf("%T", m))
			s.Unlock()
		}
		handle(send, id, m)
	}
	c := s.client(func(o *varsync.Options) { o.NoMap = true })
	variable(t, c, "t", "s", "v")
	s.Lock()
	asked = nil
	s.Unlock()
	for range 3 {
		if err := c.Lock(t.Context(), lockOf(1), true); err != nil {
			t.Fatal(err)
		}
		if err := c.Unlock(t.Context(), lockOf(1)); err != nil {
			t.Fatal(err)
		}
	}
	s.Lock()
	defer s.Unlock()
	if got, want := strings.Join(asked, " "), strings.TrimSpace(strings.Repeat("*transport.Lock *transport.Unlock ", 3)); got != want {
		t.Errorf("asked %s", got)
	}
}
