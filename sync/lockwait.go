package sync

import (
	"context"
	"time"

	"github.com/commy-project/commyfs/model"
)

func (h *heldLocks) begin(l model.Lock, wait bool) *lockWait {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.token++
	h.homes[l.ID] = l.In
	w := &lockWait{LockRequest: model.LockRequest{Lock: l, Token: h.token, Wait: wait}, asked: time.Now(), first: make(chan struct{}), done: make(chan struct{})}
	h.waits[w.Token] = w
	return w
}

// askLock asks for a lock over a connection, unless the server has to be told first that a lease is lost.
func (c *Client) askLock(s *session, w *lockWait) {
	h := &c.locks
	h.mu.Lock()
	if h.giving != 0 || h.waits[w.Token] != w || w.on == s {
		h.mu.Unlock()
		return
	}
	w.on, w.known = s, false
	req := w.LockRequest
	h.mu.Unlock()
	sent := sinceBoot()
	ctx, cancel := context.WithTimeout(c.ctx, c.opts.Timeout)
	defer cancel()
	err := s.conn.Lock(ctx, &req, func(a *model.LockAnswer, err error) { c.lockAnswered(s, w, sent, a, err) })
	if err != nil {
		c.lockAnswered(s, w, 0, nil, err)
	}
}

// askLocks asks for the locks that the server of the present connection does not know of.
func (c *Client) askLocks() {
	h := &c.locks
	c.flight.mu.Lock()
	s := c.flight.session
	c.flight.mu.Unlock()
	if s == nil {
		return
	}
	h.mu.Lock()
	var list []*lockWait
	for _, w := range h.waits {
		if w.on != s {
			list = append(list, w)
		}
	}
	h.mu.Unlock()
	for _, w := range list {
		c.askLock(s, w)
	}
}

// lockAnswered takes an answer to a request for a lock, that came at once. It runs on the receiving goroutine, or where it could not
// be sent.
func (c *Client) lockAnswered(s *session, w *lockWait, sent time.Duration, a *model.LockAnswer, err error) {
	if err == nil && a.State == model.LockFailed {
		err = &model.Error{Code: a.Code, Message: a.Message}
	}
	h := &c.locks
	h.mu.Lock()
	switch code := model.CodeOf(err); {
	case h.waits[w.Token] != w || w.on != s:
		h.mu.Unlock()
		return
	case code == model.CodeDisconnected || code == model.CodeUnavailable:
		w.on = nil
		h.mu.Unlock()
		time.AfterFunc(retryAfter, func() { c.spawn(c.askLocks) })
		return
	case err != nil:
		h.finishLocked(w, err)
		h.mu.Unlock()
		return
	}
	if a.Lease != 0 {
		h.leaseLocked(c, a.Lease, sent)
	}
	h.mu.Unlock()
	c.lockTold(s, w, a)
}

// lockTold takes what has become of a request.
func (c *Client) lockTold(s *session, w *lockWait, a *model.LockAnswer) {
	h := &c.locks
	h.mu.Lock()
	if h.waits[w.Token] != w {
		h.mu.Unlock()
		return
	}
	if !w.known {
		w.known = true
		select {
		case <-w.first:
		default:
			close(w.first)
		}
	}
	l, abandoned := w.Lock, w.abandoned
	if w.converts && a.State != model.LockGranted {
		_, _ = h.table.Release(l.ID, tableLock(&l)) // as on Linux
		w.converts = false
	}
	switch a.State {
	case model.LockGranted:
		h.table.Force(l.ID, tableLock(&l))
		h.finishLocked(w, nil)
	case model.LockRefused:
		h.finishLocked(w, model.ErrLocked)
	case model.LockFailed:
		h.finishLocked(w, &model.Error{Code: a.Code, Message: a.Message})
	}
	h.noteLocked()
	h.mu.Unlock()
	if !abandoned {
		return
	}
	switch a.State { // it comes too late
	case model.LockGranted:
		c.spawn(func() { _ = c.Unlock(c.ctx, l) })
	case model.LockWaits:
		c.spawn(func() { c.sendCancel(s, w) })
	}
}

func (h *heldLocks) finishLocked(w *lockWait, err error) {
	w.err = err
	delete(h.waits, w.Token)
	close(w.done)
}

// noteLocked says by which lease there are locks.
func (h *heldLocks) noteLocked() {
	under := h.lease
	if h.table.Len() == 0 {
		under = 0
		clear(h.dirty)
		if len(h.waits) == 0 {
			clear(h.homes)
		}
	}
	h.under.Store(under)
}

// cancelLock takes back a request that nobody waits for any more. It returns nil if the lock was granted all the same.
func (c *Client) cancelLock(w *lockWait, reason error) error {
	h := &c.locks
	bound, cancel := context.WithTimeout(context.Background(), c.opts.Timeout)
	defer cancel()
	h.mu.Lock()
	s := w.on
	if s == nil { // the server does not know of it
		if h.waits[w.Token] == w {
			h.finishLocked(w, reason)
		}
		h.mu.Unlock()
		return w.err
	}
	h.mu.Unlock()
	select {
	case <-w.done:
	case <-w.first:
		c.spawn(func() { c.sendCancel(s, w) })
		select {
		case <-w.done:
		case <-bound.Done():
		case <-s.conn.Done():
		}
	case <-bound.Done():
	case <-s.conn.Done():
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.waits[w.Token] == w:
		w.abandoned = true
		return reason
	case w.err == model.ErrLocked:
		return reason
	}
	return w.err
}

// sendCancel asks the server to take a request out.
func (c *Client) sendCancel(s *session, w *lockWait) {
	ctx, cancel := context.WithTimeout(c.ctx, c.opts.Timeout)
	defer cancel()
	_ = s.conn.CancelLock(ctx, w.ID, w.Token, func(a *model.LockAnswer, err error) {
		if err == nil {
			c.lockTold(s, w, a)
		}
	})
}
