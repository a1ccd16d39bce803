package core

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/commy-project/commyfs/engine"
	"github.com/commy-project/commyfs/internal/locks"
	"github.com/commy-project/commyfs/model"
)

// A client has its locks by a lease. It keeps the lease as long as it is heard of, across reconnects, and a server that was
// started anew gives it back to who had it: the store knows who that can be. When a lease ends this is stored first, then its
// locks are given to others. So nobody can come back with a lease whose locks others have had.

const (
	// LeaseTime is how long a client keeps its locks that is not heard of, and how long a server that was started waits for who
	// had locks by the one before.
	LeaseTime = 10 * time.Second
	// returnTime is how long one keeps them that has closed its connection, or whose host has.
	returnTime = 2 * time.Second
	// leaseIdle is how long a lease is kept that nobody has a lock by: the next lock takes no transaction.
	leaseIdle = time.Minute
	// leaseRetry is when the end of a lease that could not be stored is tried again.
	leaseRetry = time.Second
)

// Bounds of all that clients have and wait for.
const (
	maxClientLocks = 16 << 10
	maxLocks       = 256 << 10
)

// locking is the locks of all clients. Its mu comes before feed.mu.
type locking struct {
	core *Core
	// away, back and idle are LeaseTime, returnTime and leaseIdle.
	away, back, idle time.Duration
	began            time.Time // the clock's start
	wall             int64     // in Unix nanoseconds

	// mu guards the following.
	mu     sync.Mutex
	table  *locks.Table
	leases map[string]*lease // by the client's name
	last   uint64            // number of the newest lease
	places map[uint64]lockPlace
	// unclaimed is how many leases of the server before have not been claimed: until they are, nobody gets a lock. 0: the table
	// is not frozen.
	unclaimed int
	grace     *time.Timer
	closed    bool
}

// lease is what a client has its locks by. It is guarded by locking.mu.
type lease struct {
	client  string
	number  uint64 // of no other lease of the store
	session *Session
	who     Identity      // who had it last
	away    time.Time     // since when it has had no session
	timer   *time.Timer   // ends it if none comes
	idle    time.Time     // since when it has had no locks, zero if it has
	claimed bool          // else it is the server's before, and nobody has asked for it yet
	stored  chan struct{} // closed when it is in the store, or err is set
	err     error
	over    bool          // what the client reports by it is refused
	ended   chan struct{} // closed when others have its locks
}

func (s *Core) initLocks(o *Options) {
	s.locking = &locking{
		core: s, away: cmp.Or(o.Lease, LeaseTime), back: min(cmp.Or(o.Lease, LeaseTime), returnTime), idle: leaseIdle, began: time.Now(),
		wall: time.Now().UnixNano(), table: locks.New(locks.Limits{Client: maxClientLocks, Total: maxLocks}), leases: map[string]*lease{},
		places: map[uint64]lockPlace{},
	}
}

// LeaseTime is how long a client keeps its locks that is not heard of.
func (s *Core) LeaseTime() time.Duration { return s.locking.away }

// count returns how many locks there are, and how many are waited for.
func (k *locking) count() (held, waits int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	waits = k.table.Waiting()
	return k.table.Len() - waits, waits
}

// now is the time in Unix nanoseconds, by a clock that nobody sets.
func (k *locking) now() int64 { return k.wall + int64(time.Since(k.began)) }

// loadLeases reads who can have locks by the server before. A lease that cannot be read is nobody's.
func (s *Core) loadLeases(ctx context.Context) error {
	stored, err := s.engine.LoadLeases(ctx, s.setAside)
	if err != nil {
		return err
	}
	s.locking.mu.Lock()
	defer s.locking.mu.Unlock()
	s.locking.load(stored)
	return nil
}

// load takes over the leases of the server before.
func (k *locking) load(stored map[string]uint64) {
	for client, number := range stored {
		l := k.add(client, number)
		l.claimed, l.away = false, time.Now()
		close(l.stored)
		k.last = max(k.last, number)
		k.unclaimed++
	}
	if k.unclaimed > 0 {
		k.table.Freeze()
		k.grace = time.AfterFunc(k.away, k.endGrace)
	}
}

func (k *locking) add(client string, number uint64) *lease {
	l := &lease{client: client, number: number, claimed: true, idle: time.Now(), stored: make(chan struct{}), ended: make(chan struct{})}
	k.leases[client] = l
	return l
}

// valid reports whether a client has its locks by a lease. The committer asks before it carries out a change that was made
// under one.
func (k *locking) valid(client string, number uint64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.leases[client]
	return l != nil && l.number == number && !l.over
}

// attached gives a client's lease to its session.
func (k *locking) attached(s *Session) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l := k.leases[s.client.id]; l != nil && !l.over {
		k.giveLocked(l, s)
	}
}

func (k *locking) giveLocked(l *lease, s *Session) {
	l.session, l.who, l.away = s, s.Identity, time.Time{}
	if l.timer != nil {
		l.timer.Stop()
	}
}

// detached has the lease of a session that is over end if the client does not come back. A process that has ended does not.
func (k *locking) detached(s *Session) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.leases[s.client.id]
	if l == nil || l.over || l.session != s || k.closed {
		return
	}
	l.session, l.away = nil, time.Now()
	away := l.away
	wait := k.away - time.Since(s.sub.Heard())
	left := s.sub.Left()
	if left {
		wait = min(wait, k.back)
	}
	gone := func() bool { k.mu.Lock(); defer k.mu.Unlock(); return l.session == nil && l.away.Equal(away) }
	l.timer = time.AfterFunc(max(wait, 0), func() {
		if gone() {
			k.end(l, "the client does not come back", nil)
		}
	})
	if left && s.Local {
		go func() {
			if s.sub.Gone(wait) && gone() {
				k.end(l, "the client's process has ended", s)
			}
		}()
	}
}

// HasLease reports whether the session can have locks without a wait for the store.
func (s *Session) HasLease() bool {
	k := s.core.locking
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.leases[s.client.id]
	if l == nil || l.over || l.session != s {
		return false
	}
	select {
	case <-l.stored:
		return l.err == nil
	default:
		return false
	}
}

// BeginLease returns when the session can have locks. It waits for the store.
func (s *Session) BeginLease() error {
	k := s.core.locking
	for {
		k.mu.Lock()
		l := k.leases[s.client.id]
		if k.closed {
			k.mu.Unlock()
			return model.ErrUnavailable
		}
		if l == nil {
			k.last = max(k.last+1, uint64(time.Now().UnixNano()))
			l = k.add(s.client.id, k.last)
			k.giveLocked(l, s)
			k.mu.Unlock()
			_, err := s.core.engine.CommitFreeing(s.core.ctx, []engine.Op{engine.PutLease(l.client, l.number)})
			k.mu.Lock()
			if l.err = fromEngine(err); err != nil && k.leases[l.client] == l {
				l.over = true
				delete(k.leases, l.client)
				close(l.ended)
			}
			close(l.stored)
			k.mu.Unlock()
			return l.err
		}
		wait := l.stored
		if l.over {
			wait = l.ended
		} else if l.session != s {
			k.mu.Unlock()
			return model.ErrUnavailable // the client has a newer session
		}
		k.mu.Unlock()
		select {
		case <-wait:
		case <-s.core.ctx.Done():
			return model.ErrUnavailable
		case <-s.sub.Done():
			return model.ErrUnavailable
		}
		if wait == l.stored {
			return l.err
		}
	}
}
