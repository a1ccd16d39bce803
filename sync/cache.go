package sync

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/commy-project/commyfs/model"
)

// Values that are where nobody looks before each use, in the kernel's page cache. The server on this host is told which
// variables these are, and asks before it acknowledges a change of one to others: see Options.OnCached. After a reconnect it is
// told again. A server elsewhere does not ask: who is behind a network follows.

// cached is the variables whose values are cached.
type cached struct {
	mu sync.Mutex // a leaf; guards the following, and the lists of all sessions
	of ids
	// carried has in which services variables are that have moved there and that nobody has said to be cached there yet.
	carried map[uint64]uint64
}

// ids are variables by service.
type ids map[uint64]map[uint64]struct{}

func (m ids) add(service uint64, list ...uint64) {
	if m[service] == nil {
		m[service] = map[uint64]struct{}{}
	}
	for _, id := range list {
		m[service][id] = struct{}{}
	}
}

func (m ids) remove(service uint64, list ...uint64) {
	for _, id := range list {
		delete(m[service], id)
	}
	if len(m[service]) == 0 {
		delete(m, service)
	}
}

func (k *cached) change(fn func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	fn()
}

// Cache says that values of the variable are cached from when it returns: later changes are told by [Options.OnCached], and a server
// on this host acknowledges them to nobody else before that is confirmed. The present value has to be loaded after that. It
// fails if the service is not watched, and with model.ErrUnsupported if the server is too old.
func (c *Client) Cache(ctx context.Context, v *Variable) error {
	s := v.s.id
	c.cached.change(func() {
		c.cached.of.add(s, v.id)
		delete(c.cached.carried, v.id)
	})
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	for {
		sess, err := c.session(ctx)
		if err == nil {
			err = sess.tellCached(ctx, s, v.id)
		}
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || !isRetryable(err) || pause(ctx) != nil {
			c.cached.change(func() { c.cached.of.remove(s, v.id) })
			return err
		}
	}
}

// Uncache says that a value is not cached any more, of a variable that is in a service, or was. It returns when the server knows, or
// when ctx ends.
func (c *Client) Uncache(ctx context.Context, service, id uint64) {
	c.cached.change(func() {
		c.cached.of.remove(service, id)
		if to, ok := c.cached.carried[id]; ok {
			delete(c.cached.carried, id)
			c.cached.of.remove(to, id)
		}
	})
	c.flight.mu.Lock()
	sess := c.flight.session
	c.flight.mu.Unlock()
	if sess == nil || !sess.local.Load() {
		return // it is not told again
	}
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	if sess.conn.CacheVariables(ctx, service, []uint64{id}, true) == nil {
		c.cached.change(func() { sess.asks.remove(service, id) })
	}
}

// tellCached has the server ask.
func (sess *session) tellCached(ctx context.Context, service uint64, list ...uint64) error {
	if !sess.local.Load() {
		return nil
	}
	sess.c.cached.change(func() { sess.asks.add(service, list...) })
	return sess.conn.CacheVariables(ctx, service, list, false)
}

// cachedMoved has those variables cached in another service that were cached in the one that they have left: what is told of them there
// makes them old. The server of this host has still to be told by [Client.Cache].
func (c *Client) cachedMoved(from, to uint64, list []uint64) {
	if from == to {
		return
	}
	c.flight.mu.Lock()
	sess := c.flight.session
	c.flight.mu.Unlock()
	c.cached.change(func() {
		of := c.cached.of[from]
		if len(of) == 0 {
			return
		}
		for _, id := range list {
			if _, ok := of[id]; !ok {
				continue
			}
			c.cached.of.remove(from, id)
			c.cached.of.add(to, id)
			c.cached.carried[id] = to
			if sess == nil {
				continue
			}
			if _, ok := sess.asks[from][id]; ok {
				sess.asks.add(to, id)
			}
		}
	})
}

// tellOld tells which values that are cached are old: those of the changes and of what has left with a directory, or, without changes,
// of the whole service. The server is answered also for those that it does not know are let go.
func (sess *session) tellOld(service uint64, rev int64, changes []model.Event, left []uint64) {
	c := sess.c
	var list []uint64
	asks := false
	c.cached.change(func() {
		of, cached := c.cached.of[service], sess.asks[service]
		if len(of)+len(cached)+len(c.cached.carried) == 0 {
			return
		}
		for _, id := range left {
			_, here := of[id]
			_, there := c.cached.carried[id]
			if here && changes != nil || there {
				list = append(list, id)
			}
			if _, ok := cached[id]; ok {
				asks = true
			}
		}
		if changes == nil {
			list, asks = slices.AppendSeq(list, maps.Keys(of)), true
			return
		}
		for i := range changes {
			id := changes[i].ID
			if _, ok := of[id]; ok {
				list = append(list, id)
			}
			if _, ok := cached[id]; ok {
				asks = true
			}
		}
	})
	confirm := func() {
		if asks && sess.local.Load() {
			_ = sess.conn.ConfirmChanges(c.ctx, service, rev) // a connection that has ended asks no more
		}
	}
	if len(list) == 0 || c.opts.OnCached == nil {
		confirm()
		return
	}
	c.opts.OnCached(list, confirm)
}

// tellAll tells a new connection's server what is cached of a service that was brought up to date.
func (sess *session) tellAll(ctx context.Context, s *Service) {
	c := sess.c
	var list []uint64
	c.cached.change(func() { list = slices.Collect(maps.Keys(c.cached.of[s.id])) })
	if len(list) == 0 {
		return
	}
	if err := sess.tellCached(ctx, s.id, list...); err != nil {
		c.opts.Logger.Warn("the server does not ask before it acknowledges changes of cached variables: they follow", "service", s.id, "err", err)
	}
	if c.opts.OnCaching != nil {
		c.opts.OnCaching(list)
	}
}
