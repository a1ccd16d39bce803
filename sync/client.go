package sync

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/commy-project/commyfs/model"
)

var errClosed = &model.Error{Code: model.CodeDisconnected, Message: "client is closed"}

// Client is a connection to a server that mends itself, and the copy of what the server shares.
type Client struct {
	opts   Options
	id     [16]byte
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	close  sync.Once
	wg     sync.WaitGroup
	dirty  sync.WaitGroup // variables that are being written back

	flight  inFlight
	telling sync.RWMutex // held while a crowd goes to the connection, which takes no waiting; before inFlight.mu
	up      atomic.Bool  // flight.state is up; for a look without the lock

	maxValue atomic.Int64 // as the server has it

	treeSteps atomic.Uint64 // see TreeSteps
	renames   atomic.Uint64 // in all services so far; see Dir.Where
	heardElse atomic.Int64  // when the server last said that it loads a service that is not known here

	// steps is held while a step of the copy is made and told, and guards moves: before all other locks.
	steps sync.Mutex
	moves moves
	away  away

	mu         sync.RWMutex // guards the following, and the tenants and services themselves
	treeLoaded bool
	tenants    map[string]*Tenant
	mtime      int64 // of the root; see MTime

	cached cached // see Cache

	wantTree atomic.Bool   // every new connection watches the tree
	treeTurn chan struct{} // has a token while WatchTree is under way

	unmapped struct { // what was last logged of it
		sync.Mutex
		last time.Time
		more int
	}

	asked map[uint64]*asked // see Resume

	index index
	locks heldLocks

	keeper *keeper // nil: what cannot be sent fails
}

func newClient(opts Options) *Client {
	c := &Client{opts: opts.withDefaults(), tenants: map[string]*Tenant{}}
	c.flight = inFlight{changed: make(chan struct{}), down: time.Now(), epoch: 1, low: 1, reports: map[uint64]*report{}, numbered: opts.OnNumber}
	_, _ = rand.Read(c.id[:]) // does not fail
	if c.asked = map[uint64]*asked{}; opts.Resume != nil {
		c.resume(opts.Resume)
	}
	c.cached.of, c.cached.carried = ids{}, map[uint64]uint64{}
	c.moves.init(&c.away)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.wantTree.Store(!c.opts.NoTree)
	c.treeTurn = make(chan struct{}, 1)
	c.locks.init()
	if c.opts.Offline != nil {
		c.keeper = newKeeper(c, c.opts.Offline)
	}
	return c
}

// New connects and returns when the tenants and services are known. Errors: model.ErrUnauthorized,
// model.ErrDisconnected, or what Dial said. Later losses of the connection are mended in the background.
func New(ctx context.Context, opts Options) (*Client, error) {
	c := newClient(opts)
	s, err := c.connect(ctx)
	if err != nil {
		c.cancel()
		return nil, err
	}
	c.askAll()
	c.use(s)
	c.wg.Go(func() { c.run(s) })
	if c.keeper != nil {
		c.wg.Go(c.keeper.run)
	}
	return c, nil
}

// spawn runs fn on a goroutine that Close waits for. It reports false, and does not, once the client is closed.
func (c *Client) spawn(fn func()) bool {
	c.flight.mu.Lock()
	defer c.flight.mu.Unlock()
	if c.flight.state == closed {
		return false
	}
	c.wg.Go(fn)
	return true
}

// Flush returns when the edits enqueued so far have been answered, which takes no longer than [Options.Timeout]. None
// may be enqueued meanwhile.
func (c *Client) Flush() { c.dirty.Wait() }

// Close says goodbye and ends the connection. Changes in flight fail.
func (c *Client) Close() error {
	c.close.Do(func() {
		c.flight.mu.Lock()
		s := c.flight.session
		c.flight.mu.Unlock()
		if s != nil && !c.keeper.asks(c.id) { // else the next mount asks for answers to this client
			ctx, cancel := context.WithTimeout(context.Background(), min(c.opts.Timeout, time.Second))
			_ = s.conn.Goodbye(ctx) // a server that is gone needs none
			cancel()
		}
		c.update(func(f *inFlight) {
			f.state, f.session = closed, nil
			if f.expiry != nil {
				f.expiry.Stop() // all reports are over
			}
		})
		c.endLocks()
		c.cancel()
		c.wg.Wait()
		c.endMoves()
		for _, s := range c.services(func(*Service) bool { return true }) {
			s.mu.Lock()
			acc := s.acc
			s.setAccessor(nil)
			s.state = unwatched
			s.mu.Unlock()
			if acc != nil {
				acc.Close()
			}
		}
	})
	return nil
}

func (c *Client) notify(notices []Notice) {
	if len(notices) > 0 && c.opts.OnChange != nil {
		c.opts.OnChange(notices)
	}
}

// Connection tells whether there is a connection, and if not since when and why.
func (c *Client) Connection() (connected bool, down time.Time, err error) {
	c.flight.mu.Lock()
	defer c.flight.mu.Unlock()
	if c.flight.state == up {
		return true, time.Time{}, nil
	}
	return false, c.flight.down, c.flight.err
}

// Welcome returns what the server said of itself at the last connection; it may be gone by now.
func (c *Client) Welcome() model.Welcome {
	c.flight.mu.Lock()
	defer c.flight.mu.Unlock()
	return c.flight.welcome
}

// InFlight is how many reports have no answer yet.
func (c *Client) InFlight() int {
	c.flight.mu.Lock()
	defer c.flight.mu.Unlock()
	return len(c.flight.reports) + len(c.flight.queue)
}

// MaxValue is how large a value can be, as the server said at the last connection.
func (c *Client) MaxValue() int64 { return c.maxValue.Load() }

// Limits returns the server's bounds as last heard, without waiting; figures older than a second are refreshed behind
// the caller's back.
func (c *Client) Limits() model.Limits {
	c.flight.mu.Lock()
	defer c.flight.mu.Unlock()
	f := &c.flight
	if s := f.session; s != nil && time.Since(f.asked) > time.Second {
		f.asked = time.Now()
		c.wg.Go(func() { c.refreshLimits(s) })
	}
	return f.welcome.Limits
}

func (c *Client) refreshLimits(s *session) {
	ctx, cancel := context.WithTimeout(c.ctx, c.opts.Timeout)
	defer cancel()
	if st, err := s.conn.Status(ctx); err == nil {
		c.update(func(f *inFlight) { f.welcome.Limits = st.Limits })
		c.maxValue.Store(st.Limits.Value)
	}
}

func (c *Client) currentEpoch() uint64 {
	c.flight.mu.Lock()
	defer c.flight.mu.Unlock()
	return c.flight.epoch
}

// Timeout is the bound of every wait on the network.
func (c *Client) Timeout() time.Duration { return c.opts.Timeout }

// isRetryable reports errors after which the same request can succeed within the bound.
func isRetryable(err error) bool {
	code := model.CodeOf(err)
	return code == model.CodeDisconnected || code == model.CodeUnavailable
}

func timedOut(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.Canceled) && !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return ctx.Err()
	}
	return errNoAnswer
}

var errNoAnswer = &model.Error{Code: model.CodeDisconnected, Message: "no answer from the server in time"}
