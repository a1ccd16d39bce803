package sync

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/transport"
)

var errClosed = &model.Error{Code: model.CodeDisconnected, Message: "client is closed"}

// Client is a connection to a server that mends itself, and the copy of what the server shares.
type Client struct {
	opts   Options
	id     [16]byte
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup
	drains sync.WaitGroup // outboxes that have something to send

	life   sync.Mutex // guards the following
	closed bool

	mu         sync.RWMutex // guards the following, and the tenants and services themselves
	treeLoaded bool
	tenants    map[string]*Tenant
	mtime      int64 // of the root; see MTime

	unmapped struct { // what was last logged of it
		sync.Mutex
		last time.Time
		more int
	}

	index   index
	link    linkState
	reports reports
}

// New connects and returns when the tenants and services are known. Errors: model.ErrUnauthorized,
// model.ErrDisconnected, or what Dial said. Later losses of the connection are mended in the background.
func New(ctx context.Context, opts Options) (*Client, error) {
	c := &Client{opts: opts.withDefaults(), tenants: map[string]*Tenant{}}
	c.index.m = map[uint64]Node{}
	c.link.changed = make(chan struct{})
	c.link.down = time.Now()
	c.reports.m, c.reports.low = map[uint64]*report{}, 1
	_, _ = rand.Read(c.id[:]) // does not fail
	c.ctx, c.cancel = context.WithCancel(context.Background())

	l, err := c.connect(ctx)
	if err != nil {
		c.cancel()
		return nil, err
	}
	c.publish(l)
	c.wg.Go(func() { c.run(l) })
	return c, nil
}

// spawn runs fn on a goroutine that Close waits for. It reports false, and does not, once Close was called.
func (c *Client) spawn(fn func()) bool {
	c.life.Lock()
	defer c.life.Unlock()
	if !c.closed {
		c.wg.Go(fn)
	}
	return !c.closed
}

// Drain returns when the edits enqueued so far have been answered, which takes no longer than [Options.Timeout]. None
// may be enqueued meanwhile.
func (c *Client) Drain() { c.drains.Wait() }

// Close says goodbye and ends the connection. Changes in flight fail.
func (c *Client) Close() error {
	c.life.Lock()
	again := c.closed
	c.closed = true
	c.life.Unlock()
	if again {
		c.wg.Wait()
		return nil
	}
	if l, _, _, _ := c.link.get(); l != nil {
		ctx, cancel := context.WithTimeout(context.Background(), min(c.opts.Timeout, time.Second))
		_, _ = l.conn.Call(ctx, &transport.Goodbye{}) // a server that is gone needs no goodbye
		cancel()
	}
	c.cancel()
	c.reports.fail(errClosed)
	c.wg.Wait()
	for _, s := range c.wantedServices() {
		s.mu.Lock()
		acc := s.acc
		s.acc, s.loaded = nil, false
		s.mu.Unlock()
		if acc != nil {
			acc.Close()
		}
	}
	return nil
}

// applying announces a change that is about to be visible; the lock that hides it is held.
func (c *Client) applying(notices []Notice) {
	if len(notices) > 0 && c.opts.OnApply != nil {
		c.opts.OnApply(notices)
	}
}

func (c *Client) notify(notices []Notice) {
	if len(notices) > 0 && c.opts.OnChange != nil {
		c.opts.OnChange(notices)
	}
}

// wantedServices returns the services that somebody has asked for.
func (c *Client) wantedServices() []*Service {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var wanted []*Service
	for _, t := range c.tenants {
		for _, s := range t.services {
			if s.wanted.Load() {
				wanted = append(wanted, s)
			}
		}
	}
	return wanted
}

func (c *Client) lastStore() string {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	return c.link.store
}

// Connection tells whether there is a connection, and if not since when and why.
func (c *Client) Connection() (connected bool, down time.Time, err error) {
	l, _, down, err := c.link.get()
	if l != nil {
		return true, time.Time{}, nil
	}
	return false, down, err
}

// Welcome returns what the server said of itself at the last connection; it may be gone by now.
func (c *Client) Welcome() transport.Welcome {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	return *c.link.welcome
}

// Limits returns the server's bounds as last heard, without waiting; figures older than a second are refreshed behind
// the caller's back.
func (c *Client) Limits() model.Limits {
	c.link.mu.Lock()
	limits, l := c.link.welcome.Limits, c.link.current
	ask := l != nil && time.Since(c.link.heard) > time.Second
	if ask {
		c.link.heard = time.Now()
	}
	c.link.mu.Unlock()
	if ask {
		c.spawn(func() { c.refreshLimits(l) }) // sending waits for a server that takes nothing
	}
	return limits
}

func (c *Client) refreshLimits(l *link) {
	_ = l.conn.Start(c.ctx, &transport.GetStatus{}, func(m transport.Message, err error) {
		if st, ok := m.(*transport.Status); ok && err == nil {
			c.link.mu.Lock()
			w := *c.link.welcome
			w.Limits = st.Limits
			c.link.welcome = &w
			c.link.mu.Unlock()
		}
	})
}

// Timeout is the bound of every wait on the network.
func (c *Client) Timeout() time.Duration { return c.opts.Timeout }

// isFinal reports errors of a connection attempt that will not go away by themselves soon: no point in waiting.
func isFinal(err error) bool {
	return errors.Is(err, model.ErrUnauthorized) || errors.Is(err, model.ErrDenied)
}

// isRetryable reports errors after which the same request can succeed within the bound.
func isRetryable(err error) bool {
	code := model.CodeOf(err)
	return code == model.CodeDisconnected || code == model.CodeUnavailable
}

func timedOut(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	return &model.Error{Code: model.CodeDisconnected, Message: "no answer from the server in time"}
}

func unreachable(cause error) error {
	if cause == nil {
		return model.ErrDisconnected
	}
	return fmt.Errorf("%w: %w", model.ErrDisconnected, cause)
}
