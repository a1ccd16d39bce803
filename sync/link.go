package sync

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/commy-project/commyfs/transport"
)

// link is one connection to a server, from its welcome to its loss.
type link struct {
	c       *Client
	conn    *transport.Client
	welcome *transport.Welcome
	resyncs map[uint64]*snapshot // listings that are arriving as pushes; touched by the receiving goroutine alone
	mute    atomic.Int64         // when the server had last been heard of as a ping was given up
}

// awaitLink returns the connection, waiting for one until ctx ends. When the server has been silent for longer than the
// timeout it fails at once.
func (c *Client) awaitLink(ctx context.Context) (*link, error) {
	for {
		l, changed, _, err := c.link.get()
		if l != nil {
			return l, nil
		}
		if isFinal(err) {
			return nil, err
		}
		if c.link.silentFor(c.opts.Timeout) {
			return nil, unreachable(err)
		}
		look := time.NewTimer(reconnectTime / 2) // the silence grows without a change of the link
		select {
		case <-changed:
		case <-look.C:
		case <-ctx.Done():
			return nil, timedOut(ctx)
		case <-c.ctx.Done():
			return nil, errClosed
		}
		look.Stop()
	}
}

// run keeps a connection, l first, until the client is closed.
func (c *Client) run(l *link) {
	var retry backoff
	for {
		made := time.Now()
		select {
		case <-l.conn.Done():
			c.opts.Logger.Warn("connection lost", "err", l.conn.Err())
		case <-c.ctx.Done():
		}
		l.conn.Close()
		c.link.set(nil, l.conn.Err())
		c.reports.lost()
		if c.opts.OnConnection != nil && c.ctx.Err() == nil {
			c.opts.OnConnection(false)
		}
		// A server on this host is back in a moment, or is started by whoever comes first; over a network many clients
		// come back to one. A connection that ended as soon as it was made is no success: it does not start anew.
		retry.min, retry.max = 5*time.Millisecond, 2*time.Second
		if l.welcome.Local {
			retry.max = 100 * time.Millisecond
		}
		if time.Since(made) < time.Second {
			retry.wait(c.ctx)
		} else {
			retry.next = 0
		}
		for l = nil; l == nil; {
			if c.ctx.Err() != nil {
				return
			}
			var err error
			if l, err = c.connect(c.ctx); err != nil {
				c.opts.Logger.Debug("connect", "err", err)
				c.link.set(nil, err)
				retry.wait(c.ctx)
			}
		}
		c.publish(l)
	}
}

// publish makes the link the one that everybody uses and sends what was in flight again.
func (c *Client) publish(l *link) {
	c.link.mu.Lock()
	c.link.welcome, c.link.heard = l.welcome, time.Now()
	c.link.mu.Unlock()
	c.opts.Logger.Info("connected", "server", l.welcome.Server.URL, "pid", l.welcome.Server.Pid)
	c.link.set(l, nil)
	c.reports.resend(l)
	if c.opts.OnConnection != nil {
		c.opts.OnConnection(true)
	}
}

// connect dials, says hello, and brings the whole copy up to date.
func (c *Client) connect(ctx context.Context) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, c.longBound())
	defer cancel()
	conn, err := c.opts.Dial(ctx)
	if err != nil {
		return nil, err
	}
	l := &link{c: c, resyncs: map[uint64]*snapshot{}}
	l.conn = transport.NewClient(conn, transport.ClientOptions{OnPush: l.push})
	if err := l.begin(ctx); err != nil {
		l.conn.Close()
		return nil, err
	}
	return l, nil
}

func (l *link) begin(ctx context.Context) error {
	hello := l.c.opts.Hello
	hello.ID = l.c.id[:]
	reply, err := l.conn.Call(ctx, &hello)
	if err != nil {
		return err
	}
	w, ok := reply.(*transport.Welcome)
	if !ok {
		return fmt.Errorf("hello was answered by %T", reply)
	}
	l.welcome = w
	l.c.adopt(w.Store)
	if l.c.opts.NoTree {
		return nil
	}
	if err := l.watchTree(ctx); err != nil {
		return err
	}
	var (
		wg    sync.WaitGroup
		slots = make(chan struct{}, 64) // requests under way at once
		mu    sync.Mutex
		first error
	)
	for _, s := range l.c.wantedServices() {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := l.bring(s); err != nil && l.conn.Err() != nil {
				mu.Lock()
				first = err
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return first
}

// adopt makes the copy one of the store. Of another store nothing stays: the same ids stand for other things there, and
// versions start again.
func (c *Client) adopt(store string) {
	c.link.mu.Lock()
	old := c.link.store
	c.link.store = store
	c.link.mu.Unlock()
	if old == "" || old == store {
		return
	}
	c.opts.Logger.Warn("the server's store was replaced", "old", old, "new", store)
	c.reports.begin()
	c.notify(c.applyTree(nil, nil))
}

func (l *link) watchTree(ctx context.Context) error {
	var all transport.Tree
	return l.conn.CallStream(ctx, &transport.WatchTree{}, func(m transport.Message) (bool, error) {
		p, ok := m.(*transport.Tree)
		if !ok {
			return false, fmt.Errorf("watch tree was answered by %T", m)
		}
		all.Tenants = append(all.Tenants, p.Tenants...)
		all.Services = append(all.Services, p.Services...)
		if !p.More {
			l.c.notify(l.c.applyTree(all.Tenants, all.Services))
		}
		return p.More, nil
	})
}

// longBound bounds what takes a server longer than an answer: to start, to load a service.
func (c *Client) longBound() time.Duration { return max(4*c.opts.Timeout, 10*time.Second) }

// backoff waits longer after each failure, with jitter so that clients do not come back in step.
type backoff struct {
	min, max, next time.Duration
}

func (b *backoff) wait(ctx context.Context) {
	b.next = min(max(b.next*2, b.min), b.max)
	t := time.NewTimer(b.next/2 + rand.N(b.next))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
