package sync

import (
	"context"
	"errors"
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
}

// linkState is what the client knows of its connection.
type linkState struct {
	mu      sync.Mutex // guards the following
	current *link      // nil while there is none
	changed chan struct{}
	down    time.Time // since when there is none
	silent  time.Time // when the server had last been heard of then
	err     error     // why the last attempt failed
	store   string    // that the copy is of
	welcome *transport.Welcome
	heard   time.Time // when the limits in welcome were last asked for

	up atomic.Bool // there is a link; for a look without the lock
}

// get returns the link, nil while disconnected, and a channel that closes at the next change.
func (st *linkState) get() (l *link, changed <-chan struct{}, down time.Time, err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.current, st.changed, st.down, st.err
}

// reconnectTime is what a new connection to a server that is there takes, with room to spare.
const reconnectTime = 250 * time.Millisecond

// silentFor reports whether the server has been silent for longer than d, and there was time to connect again.
func (st *linkState) silentFor(d time.Duration) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.current == nil && time.Since(st.silent) > d && time.Since(st.down) > reconnectTime
}

func (st *linkState) set(l *link, err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if l == nil && st.current != nil {
		st.down, st.silent = time.Now(), st.current.conn.Conn().LastReceived()
	}
	st.current, st.err = l, err
	st.up.Store(l != nil)
	close(st.changed)
	st.changed = make(chan struct{})
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
	hello.Client = l.c.id[:]
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
			err := l.watch(l.c.ctx, s)
			if errors.Is(err, transport.ErrNotFound) || errors.Is(err, transport.ErrDenied) {
				err = nil // it went while we were asking; the tree says so
			}
			mu.Lock()
			if first == nil {
				first = err
			}
			mu.Unlock()
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

// watch loads a service, or brings a loaded one up to date after a reconnect. It takes as long as it takes, as long as
// pages come.
func (l *link) watch(ctx context.Context, s *Service) error {
	whole := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	bound := l.c.longBound()
	idle := time.AfterFunc(bound, cancel)
	defer idle.Stop()
	err := l.listing(ctx, s, func() { idle.Reset(bound) })
	if err != nil && ctx.Err() != nil && whole.Err() == nil {
		return &transport.Error{Code: transport.CodeDisconnected, Message: "the server does not go on with a listing"}
	}
	return err
}

// longBound bounds what takes a server longer than an answer: to start, to load a service.
func (c *Client) longBound() time.Duration { return max(4*c.opts.Timeout, 10*time.Second) }

func (l *link) listing(ctx context.Context, s *Service, progress func()) error {
	var acc Accessor = bufferAccessor{}
	if l.welcome.Local && !l.c.opts.NoMap {
		if a, err := l.openLocal(ctx, s); err == nil {
			acc = a
		} else if errors.Is(err, transport.ErrNotFound) || ctx.Err() != nil {
			return err
		} else {
			l.c.opts.Logger.Warn("memory file not usable, reading over the connection", "service", s.id, "err", err)
		}
	}
	_, values := acc.(bufferAccessor)
	req := &transport.Watch{Service: s.id, Values: values}
	s.mu.RLock()
	// Slots of a memory file are a server's own: only a copy that holds the values itself can resume.
	if values && s.loaded && s.buffered() {
		req.Store, req.Since = l.c.lastStore(), s.rev
	}
	s.mu.RUnlock()
	var (
		sn   snapshot
		done bool
	)
	err := l.conn.CallStream(ctx, req, func(m transport.Message) (bool, error) {
		progress()
		p, ok := m.(*transport.Snapshot)
		if !ok {
			return false, fmt.Errorf("watch was answered by %T", m)
		}
		err := l.page(s, &sn, p, acc)
		done = err == nil && !p.More
		return p.More, err
	})
	if done { // whatever the call says: the wait can end while the last page is taken, and acc is in use then
		return nil
	}
	acc.Close()
	return err
}

// page takes one page of a listing, on the receiving goroutine.
func (l *link) page(s *Service, sn *snapshot, p *transport.Snapshot, acc Accessor) error {
	sn.add(p)
	if p.More {
		return nil
	}
	if p.Resumed {
		notices, ok := s.apply(l, p.Rev, sn.changes)
		l.c.notify(notices)
		if !ok {
			s.forgetRevision()
			return errors.New("the changes do not fit the copy")
		}
		return nil
	}
	s.mu.RLock()
	old, gone := s.acc, s.root.gone
	s.mu.RUnlock()
	if gone {
		return transport.ErrNotFound // while it was being listed
	}
	l.c.notify(s.replace(l, sn, p.Rev, acc))
	if old != nil && old != acc {
		old.Close()
	}
	return nil
}

// push takes what the server sends unasked, on the receiving goroutine, in order.
func (l *link) push(m transport.Message) {
	switch m := m.(type) {
	case *transport.TreeChanged:
		l.c.mu.Lock()
		notices := l.c.treeStepsLocked(m.Changes)
		l.c.applying(notices)
		l.c.mu.Unlock()
		l.c.notify(notices)
	case *transport.VariableChanged:
		s, _ := l.c.index.get(m.Service).(*Service)
		if s == nil {
			return
		}
		notices, ok := s.apply(l, m.Rev, m.Changes)
		l.c.notify(notices)
		if !ok {
			l.misfit(s)
		}
	case *transport.Snapshot:
		l.resync(m)
	case *transport.ServiceFileRotated:
		// A new file is found by its path when the old one says that it is superseded. None at all means that the values
		// have to come over the connection from now on.
		if s, _ := l.c.index.get(m.Service).(*Service); s != nil && m.Path == "" && s.Local() {
			l.misfit(s)
		}
	}
}

// resync takes a listing that the server sends unasked: many changes in one step, or all there is because the client could
// not keep up.
func (l *link) resync(p *transport.Snapshot) {
	s, _ := l.c.index.get(p.Service).(*Service)
	if s == nil {
		return
	}
	sn := l.resyncs[p.Service]
	if sn == nil {
		sn = &snapshot{}
		l.resyncs[p.Service] = sn
	}
	if !p.More {
		delete(l.resyncs, p.Service)
	}
	s.mu.RLock()
	acc := s.acc
	s.mu.RUnlock()
	if acc == nil && !p.More {
		return // not loaded
	}
	if err := l.page(s, sn, p, acc); err != nil {
		l.misfit(s)
	}
}

// misfit ends a connection whose stream does not fit the copy of a service, or that has lost its memory file; the next
// one loads it whole.
func (l *link) misfit(s *Service) {
	l.c.opts.Logger.Warn("the copy of a service has to be loaded anew", "service", s.id)
	s.forgetRevision()
	l.conn.Fail(errors.New("a service has to be loaded anew"))
}

// forgetRevision makes the next watch ask for everything.
func (s *Service) forgetRevision() {
	s.mu.Lock()
	s.rev = 0
	s.mu.Unlock()
}

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
