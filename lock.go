package commyfs

import (
	"context"

	"github.com/commy-project/commyfs/model"
)

// Lock is a lock of a variable. Locks of all clients, and those that programs take with flock(2) on a mount, exclude each other,
// also those of one client. They do not prevent anybody without a lock from reading and writing.
//
// The server keeps a lock as long as it hears of the client. If it does not for 10 s it gives the lock to the next; a server that
// is restarted gives it back to the client. So a lock can be lost: then its context ends, a little earlier than others get it, and
// changes that are under way fail with [ErrLockLost].
type Lock struct {
	c      *Client
	lock   model.Lock
	ctx    context.Context
	cancel context.CancelCauseFunc
}

// Lock returns when nobody else has a lock of a variable, which must exist. Who asks first gets it first. Everything that was
// written under the lock before can be read then.
func (s *Service) Lock(ctx context.Context, name string) (*Lock, error) {
	return s.lock(ctx, name, true, true)
}

// TryLock is like Lock, but fails with [ErrLocked] if somebody else has a lock.
func (s *Service) TryLock(ctx context.Context, name string) (*Lock, error) {
	return s.lock(ctx, name, true, false)
}

// RLock is like Lock for who only reads: others can have such a lock at the same time.
func (s *Service) RLock(ctx context.Context, name string) (*Lock, error) {
	return s.lock(ctx, name, false, true)
}

// TryRLock is to RLock as TryLock is to Lock.
func (s *Service) TryRLock(ctx context.Context, name string) (*Lock, error) {
	return s.lock(ctx, name, false, false)
}

func (s *Service) lock(ctx context.Context, name string, exclusive, wait bool) (*Lock, error) {
	c := s.c
	info, err := s.Stat(ctx, name)
	if err == nil {
		err = c.failed(c.sync.WatchTree(ctx))
	}
	if err != nil {
		return nil, err
	}
	n := s.node()
	if n == nil {
		return nil, ErrNotFound
	}
	l := &Lock{c: c, lock: model.Lock{ID: info.ID, In: n.ID(), Kind: model.LockFile, Exclusive: exclusive}}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	c.mu.Lock()
	c.owner++
	l.lock.Owner = c.owner
	c.locks[l.lock.Owner] = l // before it is granted: it can be lost at once
	c.mu.Unlock()
	if err := c.sync.Lock(ctx, l.lock, wait); err != nil {
		c.forget(l, err)
		return nil, c.failed(err)
	}
	return l, nil
}

func (c *Client) forget(l *Lock, cause error) {
	c.mu.Lock()
	delete(c.locks, l.lock.Owner)
	c.mu.Unlock()
	l.cancel(cause)
}

// Context returns a context that ends when the lock is unlocked or lost; its cause is [ErrLockLost] then. Calls that are made with
// it fail as soon as the lock is lost.
func (l *Lock) Context() context.Context { return l.ctx }

// Unlock gives the lock back. It fails with [ErrLockLost] if the lock was lost before, or perhaps with an error of the connection:
// the lock is given back all the same, when the client comes back or the server has not heard of it for a while. It is idempotent.
func (l *Lock) Unlock() error {
	c := l.c
	lost := context.Cause(l.ctx)
	c.mu.Lock()
	_, has := c.locks[l.lock.Owner]
	c.mu.Unlock()
	if !has {
		if lost == ErrLockLost {
			return ErrLockLost
		}
		return nil
	}
	err := c.sync.Unlock(context.Background(), l.lock)
	c.forget(l, context.Canceled)
	return c.failed(err)
}

func (c *Client) onLocksLost(lost []model.Lock) {
	for _, m := range lost {
		c.mu.Lock()
		l := c.locks[m.Owner]
		c.mu.Unlock()
		if l != nil {
			c.forget(l, ErrLockLost)
		}
	}
}
