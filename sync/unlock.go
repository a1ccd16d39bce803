package sync

import (
	"context"
	"errors"
	"time"

	"github.com/commy-project/commyfs/model"
)

// Unlock takes a lock, or part of one, from its owner, when the edits made so far are answered. If the server cannot be asked it
// learns it later.
func (c *Client) Unlock(ctx context.Context, l model.Lock) error {
	h := &c.locks
	if !c.HasLock(l.ID, l.Kind, l.Owner) {
		return nil
	}
	c.Settle(ctx)
	h.mu.Lock()
	h.leaving[&l] = struct{}{}
	h.mu.Unlock()
	err := c.unlock(ctx, &l)
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.leaving, &l)
	if model.CodeOf(err) != model.CodeNoLocks { // a part of one
		_, _ = h.table.Release(l.ID, tableLock(&l))
		h.leftLocked(l.ID)
		if untold(err) {
			c.oweLocked(l)
		}
		h.noteLocked()
	}
	return err
}

func (c *Client) unlock(ctx context.Context, l *model.Lock) error {
	h := &c.locks
	_, err := call(ctx, c, func(ctx context.Context, conn Conn) (struct{}, error) {
		sent := sinceBoot()
		err := conn.Unlock(ctx, l)
		if err == nil {
			h.mu.Lock()
			h.renewLocked(c, sent)
			h.mu.Unlock()
		}
		return struct{}{}, err
	})
	return err
}

// leftLocked forgets a variable of which there is no lock.
func (h *heldLocks) leftLocked(id uint64) {
	if h.table.Used(id) {
		return
	}
	for _, w := range h.waits {
		if w.ID == id {
			return
		}
	}
	delete(h.homes, id)
}

// owedUnlock is an unlock that the server has not answered. Nobody else would ever tell it: with a connection that goes on nothing
// is reclaimed, and others would wait for the lock as long as the client lives.
type owedUnlock struct {
	lock    model.Lock
	lease   uint64
	sending chan struct{} // not nil while it is sent; closed then
}

// untold reports whether the server may not know of what ended with err.
func untold(err error) bool {
	return isRetryable(err) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// oweLocked has the server told of an unlock later.
func (c *Client) oweLocked(l model.Lock) {
	o := &owedUnlock{lock: l, lease: c.locks.lease}
	c.locks.owed[o] = struct{}{}
	c.payLater(o)
}

func (c *Client) payLater(o *owedUnlock) {
	time.AfterFunc(maxRetryAfter, func() {
		c.spawn(func() {
			if !c.payOwed(c.ctx, o) {
				c.payLater(o)
			}
		})
	})
}

// payOwed tells the server of an unlock, unless the lease is over. It reports whether nothing is owed any more.
func (c *Client) payOwed(ctx context.Context, o *owedUnlock) bool {
	h := &c.locks
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	c.Settle(ctx)
	h.mu.Lock()
	for o.sending != nil {
		sending := o.sending
		h.mu.Unlock()
		select {
		case <-sending:
		case <-ctx.Done():
			return false
		}
		h.mu.Lock()
	}
	_, owed := h.owed[o]
	if owed = owed && o.lease == h.lease; !owed {
		delete(h.owed, o)
		h.mu.Unlock()
		return true
	}
	o.sending = make(chan struct{})
	h.mu.Unlock()
	err := c.unlock(ctx, &o.lock)
	h.mu.Lock()
	defer h.mu.Unlock()
	close(o.sending)
	if o.sending = nil; untold(err) {
		return false
	}
	delete(h.owed, o)
	return true
}

// payAll tells the server of all unlocks that an owner owes, before it asks for another lock: what comes later must not take that
// away. It reports whether nothing is owed any more.
func (c *Client) payAll(ctx context.Context, l model.Lock) bool {
	h := &c.locks
	h.mu.Lock()
	var list []*owedUnlock
	for o := range h.owed {
		if o.lock.ID == l.ID && o.lock.Kind == l.Kind && o.lock.Owner == l.Owner {
			list = append(list, o)
		}
	}
	h.mu.Unlock()
	for _, o := range list {
		if !c.payOwed(ctx, o) {
			return false
		}
	}
	return true
}
