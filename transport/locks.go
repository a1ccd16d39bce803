package transport

import (
	"context"

	"github.com/commy-project/commyfs/model"
)

// What a client asks of a server about locks.

// Lock asks for a lock and has the answer handled under the rules of OnPush, as [Client.Report] does.
func (c *Client) Lock(ctx context.Context, r *model.LockRequest, handle func(*model.LockAnswer, error)) error {
	return c.locked(ctx, (*Lock)(r), handle)
}

// CancelLock takes back a request that waits.
func (c *Client) CancelLock(ctx context.Context, id, token uint64, handle func(*model.LockAnswer, error)) error {
	return c.locked(ctx, &CancelLock{ID: id, Token: token}, handle)
}

func (c *Client) locked(ctx context.Context, req Message, handle func(*model.LockAnswer, error)) error {
	return c.Start(ctx, req, func(m Message, err error) {
		a, ok := m.(*Locked)
		if err == nil && !ok {
			err = unexpected(m)
		}
		handle((*model.LockAnswer)(a), err)
	})
}

// Unlock takes a lock from its owner, when what was reported before is carried out.
func (c *Client) Unlock(ctx context.Context, l *model.Lock) error {
	return c.carriedOut(ctx, &Unlock{*l})
}

// TestLock tells who is in the way of a lock.
func (c *Client) TestLock(ctx context.Context, l *model.Lock) (*model.LockTest, error) {
	m, err := Request[*LockTested](ctx, c, &TestLock{*l})
	return (*model.LockTest)(m), err
}

// Reclaim tells what locks the client has.
func (c *Client) Reclaim(ctx context.Context, r *model.Reclaim) (*model.Reclaimed, error) {
	m, err := Request[*LocksReclaimed](ctx, c, (*ReclaimLocks)(r))
	return (*model.Reclaimed)(m), err
}

// Locks calls page with the pages of a list of locks.
func (c *Client) Locks(ctx context.Context, l *model.ListLocks, page func(*model.LockPage) error) error {
	return stream(ctx, c, (*ListLocks)(l), func(m *Locks) (bool, error) { return m.More, page((*model.LockPage)(m)) })
}
