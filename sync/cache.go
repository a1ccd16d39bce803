package sync

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/commy-project/commyfs/model"
)

// Values that are kept where nobody looks before each use, in the kernel's page cache. The server on this host is told which
// variables these are, and asks before it acknowledges a change of one to others: see Options.OnKept. After a reconnect it is
// told again. A server elsewhere does not ask: who is behind a network follows.

// kept is the variables whose values are kept, by service.
type kept struct {
	mu sync.Mutex // guards the following; a leaf
	of map[uint64]map[uint64]struct{}
}

func (k *kept) add(service, id uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.of == nil {
		k.of = map[uint64]map[uint64]struct{}{}
	}
	if k.of[service] == nil {
		k.of[service] = map[uint64]struct{}{}
	}
	k.of[service][id] = struct{}{}
}

func (k *kept) remove(service uint64, ids ...uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, id := range ids {
		delete(k.of[service], id)
	}
	if len(k.of[service]) == 0 {
		delete(k.of, service)
	}
}

// in returns those of a service.
func (k *kept) in(service uint64) []uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Collect(maps.Keys(k.of[service]))
}

// changed returns those that are among the changes.
func (k *kept) changed(p *model.Changes) (ids []uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	of := k.of[p.Service]
	if of == nil {
		return nil
	}
	for i := range p.Changes {
		if _, ok := of[p.Changes[i].ID]; ok {
			ids = append(ids, p.Changes[i].ID)
		}
	}
	return ids
}

// Keep says that values of the variable are kept from when it returns: later changes are told by [Options.OnKept], and a server
// on this host acknowledges them to nobody else before that is confirmed. The present value has to be loaded after that. It
// fails if the service is not watched, and with model.ErrUnsupported if the server is too old.
func (c *Client) Keep(ctx context.Context, v *Variable) error {
	s := v.s.id
	c.kept.add(s, v.id)
	_, err := call(ctx, c, func(ctx context.Context, conn Conn) (struct{}, error) {
		if !c.isLocal() {
			return struct{}{}, nil
		}
		return struct{}{}, conn.CacheVariables(ctx, s, []uint64{v.id}, false)
	})
	if err != nil {
		c.kept.remove(s, v.id)
	}
	return err
}

// LetGo says that values of variables of a service are not kept any more. It does not wait for the server.
func (c *Client) LetGo(service uint64, ids ...uint64) {
	c.kept.remove(service, ids...)
	c.flight.mu.Lock()
	s, local := c.flight.session, c.flight.welcome.Local
	c.flight.mu.Unlock()
	if s == nil || !local {
		return // the next connection has not been told of them
	}
	c.spawn(func() {
		ctx, cancel := context.WithTimeout(c.ctx, c.opts.Timeout)
		defer cancel()
		_ = s.conn.CacheVariables(ctx, service, ids, true)
	})
}

func (c *Client) isLocal() bool {
	c.flight.mu.Lock()
	defer c.flight.mu.Unlock()
	return c.flight.welcome.Local
}

// tellKept tells which values that are kept are old now: ids, or, if nil, all of the service.
func (sess *session) tellKept(service uint64, rev int64, ids []uint64) {
	c := sess.c
	if c.opts.OnKept == nil {
		return
	}
	if ids == nil {
		ids = c.kept.in(service)
	}
	if len(ids) == 0 {
		return
	}
	c.opts.OnKept(ids, func() {
		if sess.local.Load() { // else nobody asks
			_ = sess.conn.ConfirmChanges(c.ctx, service, rev) // a connection that has ended asks no more
		}
	})
}

// keep tells a new connection's server what is kept of a service that was brought up to date.
func (sess *session) keep(ctx context.Context, s *Service) {
	c := sess.c
	ids := c.kept.in(s.id)
	if len(ids) == 0 {
		return
	}
	if sess.welcome.Local {
		if err := sess.conn.CacheVariables(ctx, s.id, ids, false); err != nil {
			c.opts.Logger.Warn("the server does not ask before it acknowledges changes of cached variables: they follow", "service", s.id, "err", err)
		}
	}
	if c.opts.OnKeeping != nil {
		c.opts.OnKeeping(ids)
	}
}
