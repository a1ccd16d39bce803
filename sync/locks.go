package sync

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/locks"
	"github.com/commy-project/commyfs/model"
)

// Locks are the server's, and the client has them by a lease: as long as the server is heard to hear of it. The client takes the
// lease for lost before the server does. It repeats what it has in a table of its own, which it shows to the server after each
// reconnect. A lock is granted behind all changes that were made under it before, and an unlock is sent when all edits before it are
// answered. What is changed while the client has a lock names the lease, and is refused when that is over.

// heldLocks are the locks that a client has and waits for.
type heldLocks struct {
	// under is the lease by which the client has locks now, 0 if it has none.
	under atomic.Uint64
	used  atomic.Bool // somebody has asked for a lock
	// losses is how often locks were lost.
	losses atomic.Uint64

	mu      sync.Mutex // guards the following; a leaf
	table   *locks.Table
	lease   uint64
	until   time.Duration // by sinceBoot: when it is lost
	giving  uint64        // a lease that is lost and that the server does not know of yet
	waits   map[uint64]*lockWait
	token   uint64
	leaving map[*model.Lock]struct{} // being unlocked
	owed    map[*owedUnlock]struct{} // given up here, and the server may not know
	keeping bool                     // somebody looks after the lease
	pinging bool
	homes   map[uint64]uint64      // the services of the variables of which there are locks
	dirty   map[*Variable]struct{} // that were edited while there were locks, with others
	look    int                    // how many there are when they are looked through
}

// lockWait is a request for a lock that is not answered for good.
type lockWait struct {
	model.LockRequest
	asked     time.Time
	on        *session      // the connection over which the server knows of it
	first     chan struct{} // closed with the first answer
	known     bool          // it is
	converts  bool          // it takes the place of a flock that the owner has, which ends with the request
	abandoned bool          // nobody waits, and the server is to be told
	done      chan struct{}
	err       error // once it is done
}

func (h *heldLocks) init() {
	h.table = locks.New(locks.Limits{})
	h.waits, h.leaving, h.dirty = map[uint64]*lockWait{}, map[*model.Lock]struct{}{}, map[*Variable]struct{}{}
	h.homes, h.owed = map[uint64]uint64{}, map[*owedUnlock]struct{}{}
}

// sinceBoot is a clock that nobody sets, and that goes on while the machine sleeps.
func sinceBoot() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) // does not fail
	return time.Duration(t.Nano())
}

// The lease is lost for the client after so much of the time after which it is for the server, without a sign that the server has
// heard of it. It says something so often.
func lostAfter(lease time.Duration) time.Duration { return lease * 4 / 5 }
func sayEvery(lease time.Duration) time.Duration  { return lease / 5 }

func tableLock(l *model.Lock) locks.Lock {
	return locks.Lock{
		Kind: locks.Kind(l.Kind), Owner: locks.Owner{ID: l.Owner}, Exclusive: l.Exclusive, Start: l.Start, End: l.End, Described: l.Described,
		Pid: l.Pid, Program: l.Program,
	}
}

func modelLock(id uint64, l *locks.Lock) model.Lock {
	return model.Lock{
		ID: id, Kind: model.LockKind(l.Kind), Owner: l.Owner.ID, Exclusive: l.Exclusive, Start: l.Start, End: l.End, Described: l.Described,
		Pid: l.Pid, Program: l.Program,
	}
}

// LeaseTime is how long the server keeps the locks of a client that it does not hear of, as it said at the last connection; 0: it
// has no locks.
func (c *Client) LeaseTime() time.Duration {
	c.flight.mu.Lock()
	defer c.flight.mu.Unlock()
	return time.Duration(c.flight.welcome.Lease)
}

// Lock asks for a lock in the place of what its owner has of the range. Without wait the error is model.ErrLocked if somebody else
// has it, and it waits for the server no longer than [Options.Timeout]. With wait it returns when the lock is granted, and as
// canceled when ctx ends before. Other errors: model.ErrDeadlock, ErrNoLocks, ErrDenied, ErrNotFound, and ErrUnsupported if
// the server has no locks. When it returns without an error, the copy has what was changed under the lock before.
func (c *Client) Lock(ctx context.Context, l model.Lock, wait bool) error {
	if !c.AwaitReplay(ctx, l.ID) {
		return model.ErrDisconnected // what is queued comes before, and hides what others have written
	}
	h := &c.locks
	bound, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	s, err := c.session(bound)
	if err != nil {
		return err
	}
	if c.LeaseTime() == 0 {
		return model.ErrUnsupported
	}
	h.used.Store(true)
	if l.In == 0 {
		l.In = c.serviceOf(l.ID)
	}
	h.mu.Lock()
	has := h.table.Has(l.ID, locks.Kind(l.Kind), locks.Owner{ID: l.Owner})
	h.mu.Unlock()
	if has {
		c.Settle(bound) // another mode can let others in
	}
	if !c.payAll(bound, l) {
		return model.ErrDisconnected
	}
	w := h.begin(l, wait)
	w.converts = has && l.Kind == model.LockFile
	c.askLock(s, w)
	if !wait {
		ctx = bound
	}
	select {
	case <-w.done:
		return w.err
	case <-ctx.Done():
		reason := ctx.Err()
		if !wait {
			reason = timedOut(ctx)
		}
		return c.cancelLock(w, reason)
	}
}

// HasLock reports whether an owner has, or had when last heard of, a lock of a kind of a variable.
func (c *Client) HasLock(id uint64, kind model.LockKind, owner uint64) bool {
	h := &c.locks
	if !h.used.Load() {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.table.Has(id, locks.Kind(kind), locks.Owner{ID: owner})
}

// LockedByOther reports whether another owner on this client has what is in the way of a lock.
func (c *Client) LockedByOther(l model.Lock) bool {
	h := &c.locks
	h.mu.Lock()
	defer h.mu.Unlock()
	_, ok := h.table.Conflict(l.ID, tableLock(&l))
	return ok
}

// Tenure is a number that stands for the locks that the client has now, 0 if it has none. What is written now and sent later, as an
// [Edit] that has it, is refused with model.ErrLockLost if they are lost by then.
func (c *Client) Tenure() uint64 {
	losses := c.locks.losses.Load()
	if c.locks.under.Load() == 0 {
		return 0
	}
	return losses + 1
}

// leaseOf is the lease of a change that was begun in a tenure.
func (h *heldLocks) leaseOf(tenure uint64) (uint64, error) {
	lease := h.under.Load()
	if tenure != 0 && tenure <= h.losses.Load() { // noted before there are no locks any more
		return 0, model.ErrLockLost
	}
	return lease, nil
}

// LockedBy is the lease by which this client has locks, 0 if it has none.
func (c *Client) LockedBy() uint64 { return c.locks.under.Load() }

// Locked reports whether this client has any lock of a variable.
func (c *Client) Locked(id uint64) bool {
	h := &c.locks
	if h.under.Load() == 0 {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.table.Used(id)
}

// TestLock tells who is in the way of a lock.
func (c *Client) TestLock(ctx context.Context, l model.Lock) (*model.LockTest, error) {
	if l.In == 0 {
		l.In = c.serviceOf(l.ID)
	}
	return call(ctx, c, func(ctx context.Context, conn Conn) (*model.LockTest, error) { return conn.TestLock(ctx, &l) })
}

// Locks calls fn with the locks of what is at or below a path.
func (c *Client) Locks(ctx context.Context, l *model.ListLocks, fn func([]model.LockInfo) error) error {
	return patient(ctx, c.opts.Timeout, func() int64 { return 0 }, func(ctx context.Context, progress func()) error {
		s, err := c.session(ctx)
		if err != nil {
			return err
		}
		return s.conn.Locks(ctx, l, func(p *model.LockPage) error {
			progress()
			return fn(p.Locks)
		})
	})
}

// edited notes a variable that an unlock waits for.
func (h *heldLocks) edited(v *Variable) {
	if h.under.Load() == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.dirty[v] = struct{}{}; len(h.dirty) < h.look {
		return
	}
	maps.DeleteFunc(h.dirty, func(v *Variable, _ struct{}) bool { return !v.Dirty() })
	h.look = 2*len(h.dirty) + fewDirty
}

// fewDirty is how many variables are noted without looking which of them are not dirty any more.
const fewDirty = 1024

// Settle returns when the edits enqueued so far, while there were locks, are answered, or when ctx ends. They are noted until then:
// others wait for them as well.
func (c *Client) Settle(ctx context.Context) {
	h := &c.locks
	h.mu.Lock()
	list := slices.Collect(maps.Keys(h.dirty))
	h.mu.Unlock()
	for _, v := range list {
		_ = v.Flush(ctx)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, v := range list {
		if !v.Dirty() {
			delete(h.dirty, v)
		}
	}
}

// LocksHere returns the locks that this client has, and those that it waits for, in order of their variables' ids. It looks at
// memory only.
func (c *Client) LocksHere() (held, waited []model.Lock) {
	h := &c.locks
	if !h.used.Load() {
		return nil, nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range h.table.Files() {
		for _, e := range h.table.Of(id) {
			held = append(held, modelLock(id, &e.Lock))
		}
	}
	for _, token := range slices.Sorted(maps.Keys(h.waits)) {
		waited = append(waited, h.waits[token].Lock)
	}
	return held, waited
}
