package sync

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/commy-project/commyfs/model"
)

// session is one connection to a server, from its welcome to its loss. It keeps the copy up to date by what the server
// tells it; see listing.go.
type session struct {
	c       *Client
	conn    Conn
	welcome *model.Welcome
	resyncs map[uint64]*snapshot // listings that are arriving unasked; touched by the receiving goroutine alone
	// how many of these there are, and have been
	replacing, replaced atomic.Int32

	asks  ids          // what the server asks about; see cached
	local atomic.Bool  // welcome.Local, for the receiving goroutine
	mute  atomic.Int64 // when the server had last been heard of as a ping was given up
	quiet atomic.Int64 // the same of a request or a report
}

// session returns the one that requests go to, waiting for it until ctx ends, unless nobody waits any more.
func (c *Client) session(ctx context.Context) (*session, error) {
	for {
		c.flight.mu.Lock()
		s, changed, err := c.flight.session, c.flight.changed, c.flight.failure()
		c.flight.mu.Unlock()
		if s != nil || err != nil {
			return s, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, timedOut(ctx)
		}
	}
}

// run keeps a connection, that of s first, until the client is closed.
func (c *Client) run(s *session) {
	var retry backoff
	for {
		made := time.Now()
		c.keep(s)
		_ = s.conn.Close()
		c.disconnected(s)
		if c.opts.OnConnection != nil && c.ctx.Err() == nil {
			c.opts.OnConnection(false)
		}
		// A server on this host is back in a moment, or is started by whoever comes first; over a network many clients
		// come back to one. A connection that ended as soon as it was made is no success: it does not start anew.
		retry.min, retry.max = 5*time.Millisecond, 2*time.Second
		if s.welcome.Local {
			retry.max = 100 * time.Millisecond
		}
		if time.Since(made) < time.Second {
			retry.wait(c.ctx)
		} else {
			retry.next = 0
		}
		for s = nil; s == nil; {
			if c.ctx.Err() != nil {
				return
			}
			var err error
			if s, err = c.connect(c.ctx); err != nil {
				c.opts.Logger.Debug("connect", "err", err)
				c.update(func(f *inFlight) { f.failed(err) })
				retry.wait(c.ctx)
			}
		}
		c.use(s)
	}
}

// keep returns when the connection has ended, or the client.
func (c *Client) keep(s *session) {
	var tick <-chan time.Time
	if c.opts.Idle > 0 {
		t := time.NewTicker(c.opts.Idle / 2)
		defer t.Stop()
		tick = t.C
	}
	for {
		select {
		case <-s.conn.Done():
			c.opts.Logger.Warn("connection lost", "err", s.conn.Err())
			return
		case <-c.ctx.Done():
			return
		case <-tick:
			c.letGo(s)
		}
	}
}

// use has requests go over s from now on, those in flight first.
func (c *Client) use(s *session) {
	c.opts.Logger.Info("connected", "server", s.welcome.Server.URL, "pid", s.welcome.Server.Pid)
	c.update(func(f *inFlight) { f.made(s) })
	c.spawn(c.askLocks)
	if c.opts.OnConnection != nil {
		c.opts.OnConnection(true)
	}
}

// connect dials, says hello, and brings the whole copy up to date.
func (c *Client) connect(ctx context.Context) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, c.longBound())
	defer cancel()
	conn, err := c.opts.Dial(ctx)
	if err != nil {
		return nil, err
	}
	s := &session{c: c, conn: conn, resyncs: map[uint64]*snapshot{}, asks: ids{}}
	if err := s.begin(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return s, nil
}

func (sess *session) begin(ctx context.Context) error {
	who := sess.c.opts.Client
	who.ID = sess.c.id[:]
	var err error
	if sess.welcome, err = sess.conn.Hello(ctx, &who, sess); err != nil {
		return err
	}
	sess.local.Store(sess.welcome.Local)
	sess.c.adopt(sess.welcome.Store)
	sess.c.become(sess.welcome.Principal)
	if err := sess.reclaim(ctx); err != nil {
		return err
	}
	if !sess.c.wantTree.Load() {
		return nil
	}
	sess.c.gather(true)
	defer sess.c.gather(false)
	sess.c.isOn(sess)
	if err := sess.watchTree(ctx); err != nil {
		return err
	}
	var (
		wg    sync.WaitGroup
		slots = make(chan struct{}, 64) // requests under way at once
		mu    sync.Mutex
		first error
	)
	for _, s := range sess.c.services((*Service).wantedLocked) {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := sess.bring(s); err != nil && sess.conn.Err() != nil {
				mu.Lock()
				first = err
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if first != nil {
		return first
	}
	ctx, cancel := context.WithTimeout(sess.c.ctx, sess.c.longBound()) // the services took as long as they took
	defer cancel()
	if err := sess.catchUp(ctx); err != nil && sess.conn.Err() != nil {
		return err
	}
	sess.c.isOff(sess, false)
	return nil
}

// adopt makes the copy one of the store. Of another store nothing stays: the same ids stand for other things there, and
// versions start again.
func (c *Client) adopt(store string) {
	var old string
	c.update(func(f *inFlight) { old = f.adopt(store) })
	if old != store {
		c.opts.Logger.Warn("the server's store was replaced", "old", old, "new", store)
		c.steps.Lock()
		c.notify(c.untold(true))
		c.moves.plain = true
		c.steps.Unlock()
		c.changeTree(func() []Notice { return c.applyTree(nil, nil) })
		c.steps.Lock()
		c.moves.plain = false
		c.steps.Unlock()
	}
}

func (c *Client) become(who string) {
	var other bool
	c.update(func(f *inFlight) { other = f.become(who) })
	if other {
		c.opts.Logger.Warn("the server takes this client for somebody else than before: what was not answered is not known any more")
	}
}

func (sess *session) watchTree(ctx context.Context) error {
	var all model.TreePage
	return sess.conn.WatchTree(ctx, func(p *model.TreePage) error {
		all.Tenants = append(all.Tenants, p.Tenants...)
		all.Services = append(all.Services, p.Services...)
		if !p.More {
			sess.c.changeTree(func() []Notice { return sess.c.applyTree(all.Tenants, all.Services) })
		}
		return nil
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
