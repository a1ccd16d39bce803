package sync

import (
	"cmp"
	"context"
	"time"

	"github.com/commy-project/commyfs/model"
)

// leaseLocked notes by which lease the server says that the client has its locks, in an answer to what was sent at a time.
func (h *heldLocks) leaseLocked(c *Client, lease uint64, sent time.Duration) {
	if h.lease != lease {
		h.lease, h.until = lease, 0
		if c.opts.OnLease != nil {
			c.opts.OnLease(lease)
		}
	}
	h.renewLocked(c, sent)
	if !h.keeping {
		h.keeping = true
		if !c.spawn(c.keepLease) {
			h.keeping = false
		}
	}
}

// renewLocked notes that the server has heard of the client since a time.
func (h *heldLocks) renewLocked(c *Client, since time.Duration) {
	h.until = max(h.until, since+lostAfter(c.LeaseTime()))
}

// keepLease looks after the lease as long as there is something to lose.
func (c *Client) keepLease() {
	h := &c.locks
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		every := sayEvery(c.LeaseTime())
		h.mu.Lock()
		if h.lease == 0 || h.table.Len()+len(h.waits) == 0 {
			h.keeping = false
			h.mu.Unlock()
			return
		}
		left := h.until - sinceBoot()
		lease := h.lease
		ping := !h.pinging
		h.mu.Unlock()
		if left <= 0 {
			c.loseLease(lease, true)
			continue
		}
		if ping {
			c.spawn(c.sayHello)
		}
		t.Reset(min(left, every))
		select {
		case <-t.C:
		case <-c.ctx.Done():
			return
		}
	}
}

// sayHello renews the lease.
func (c *Client) sayHello() {
	h := &c.locks
	c.flight.mu.Lock()
	s := c.flight.session
	c.flight.mu.Unlock()
	h.mu.Lock()
	if s == nil || h.pinging {
		h.mu.Unlock()
		return
	}
	h.pinging = true
	h.mu.Unlock()
	sent := sinceBoot()
	ctx, cancel := context.WithTimeout(c.ctx, lostAfter(c.LeaseTime()))
	err := s.conn.Ping(ctx)
	cancel()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pinging = false; err == nil {
		h.renewLocked(c, sent)
	}
}

// loseLease takes all locks for lost. tell: the server may not know it.
func (c *Client) loseLease(lease uint64, tell bool) {
	h := &c.locks
	h.mu.Lock()
	if lease == 0 || h.lease != lease {
		h.mu.Unlock()
		return
	}
	var lost []model.Lock
	for _, e := range h.table.OfClient("") {
		lost = append(lost, modelLock(e.File, &e.Lock))
	}
	h.table.ReleaseClient("")
	if len(lost) > 0 {
		h.losses.Add(1)
	}
	for _, w := range h.waits { // they lose their place
		w.on = nil
	}
	if h.lease = 0; tell {
		h.giving = lease
	}
	h.noteLocked()
	h.mu.Unlock()
	if len(lost) > 0 {
		c.opts.Logger.Warn("the lease of all locks is lost", "locks", len(lost))
	}
	c.locksLost(lost)
	if tell {
		c.spawn(c.giveUpLease)
	} else {
		c.spawn(c.askLocks)
	}
}

func (c *Client) locksLost(lost []model.Lock) {
	if len(lost) > 0 && c.opts.OnLocksLost != nil {
		c.opts.OnLocksLost(lost)
	}
}

// giveUpLease tells the server of a lease that is lost, if there is a connection; else the next one begins with that.
func (c *Client) giveUpLease() {
	h := &c.locks
	c.flight.mu.Lock()
	s := c.flight.session
	c.flight.mu.Unlock()
	if s == nil {
		return
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.opts.Timeout)
	defer cancel()
	if s.reclaim(ctx) == nil {
		c.askLocks()
		return
	}
	h.mu.Lock()
	again := h.giving != 0
	h.mu.Unlock()
	if again && s.conn.Err() == nil {
		time.AfterFunc(maxRetryAfter, func() { c.spawn(c.giveUpLease) })
	}
}

// reclaim shows the server all locks that the client has and waits for.
func (sess *session) reclaim(ctx context.Context) error {
	c, h := sess.c, &sess.c.locks
	if sess.welcome.Lease == 0 {
		c.loseLease(h.current(), false)
		h.mu.Lock()
		defer h.mu.Unlock()
		h.giving = 0
		for _, w := range h.waits {
			h.finishLocked(w, model.ErrUnsupported)
		}
		return nil
	}
	h.mu.Lock()
	r := &model.Reclaim{Lease: h.lease}
	var waits []*lockWait
	switch {
	case h.giving != 0:
		r.Lease, r.Lost = h.giving, true
	case h.lease == 0 && len(h.waits) == 0:
		h.mu.Unlock()
		return nil
	default:
		for _, e := range h.table.OfClient("") {
			l := model.HeldLock{Lock: modelLock(e.File, &e.Lock)}
			l.In = cmp.Or(c.serviceOf(l.ID), h.homes[l.ID])
			for leaving := range h.leaving {
				l.Leaving = l.Leaving || leaving.ID == l.ID && leaving.Kind == l.Kind && leaving.Owner == l.Owner
			}
			for _, w := range h.waits {
				l.Leaving = l.Leaving || w.converts && w.ID == l.ID && w.Owner == l.Owner
			}
			r.Held = append(r.Held, l)
		}
		for _, w := range h.waits {
			if w.abandoned {
				h.finishLocked(w, model.ErrDisconnected)
				continue
			}
			if r.Lease == 0 {
				continue // asked for anew
			}
			w.on, w.Age = sess, int64(time.Since(w.asked))
			waits = append(waits, w)
			r.Waits = append(r.Waits, w.LockRequest)
		}
	}
	h.mu.Unlock()
	if r.Lease == 0 {
		return nil
	}
	sent := sinceBoot()
	a, err := sess.conn.Reclaim(ctx, r)
	if err != nil {
		return err
	}
	if r.Lost {
		h.mu.Lock()
		if h.giving == r.Lease {
			h.giving = 0
		}
		h.mu.Unlock()
		return nil
	}
	if a.Lease != r.Lease {
		c.loseLease(r.Lease, false)
		return nil
	}
	h.mu.Lock()
	if h.lease == a.Lease {
		h.leaseLocked(c, a.Lease, sent)
	}
	var lost []model.Lock
	for _, i := range a.Lost {
		if i >= 0 && i < len(r.Held) {
			lost = append(lost, r.Held[i].Lock)
			_, _ = h.table.Release(r.Held[i].ID, tableLock(&r.Held[i].Lock))
		}
	}
	h.noteLocked()
	h.mu.Unlock()
	c.locksLost(lost)
	for i := range a.Waits {
		for _, w := range waits {
			if w.Token == a.Waits[i].Token {
				c.lockAnswered(sess, w, sent, &a.Waits[i], nil)
			}
		}
	}
	return nil
}

// current is the lease.
func (h *heldLocks) current() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lease
}

// Locked implements model.Watcher.
func (sess *session) Locked(a *model.LockAnswer) {
	h := &sess.c.locks
	h.mu.Lock()
	w := h.waits[a.Token]
	known := w != nil && w.on == sess && (a.Lease == 0 || a.Lease == h.lease)
	h.mu.Unlock()
	if known {
		sess.c.lockTold(sess, w, a)
	}
}

// LeaseEnded implements model.Watcher.
func (sess *session) LeaseEnded(lease uint64) { sess.c.loseLease(lease, false) }

// endLocks ends all waiting, as the client is closed.
func (c *Client) endLocks() {
	h := &c.locks
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range h.waits {
		h.finishLocked(w, errClosed)
	}
}
