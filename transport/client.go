package transport

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/commy-project/commyfs/model"
)

// ClientOptions are a client's options. The zero value is usable.
type ClientOptions struct {
	// OnPush handles what the server sends without being asked. It is called on the receiving goroutine, in the order
	// of sending relative to all replies: before it returns, nothing that was sent later is looked at. It may start
	// calls, but must neither wait for one nor call Close. Default: pushes are dropped.
	OnPush func(Message)
}

// Client makes calls over a connection, which it owns. When the connection ends, it is of no more use.
type Client struct {
	conn   *Conn
	onPush atomic.Pointer[func(Message)]
	wg     sync.WaitGroup
	done   chan struct{}

	mu    sync.Mutex // guards the following
	calls map[uint64]*Pending
	last  uint64 // request id
	err   error  // why there are no more calls
}

// NewClient starts to receive from conn.
func NewClient(conn *Conn, o ClientOptions) *Client {
	if o.OnPush == nil {
		o.OnPush = func(Message) {}
	}
	c := &Client{conn: conn, done: make(chan struct{}), calls: map[uint64]*Pending{}}
	c.onPush.Store(&o.OnPush)
	c.wg.Go(c.receiveLoop)
	conn.wg.Go(conn.writeLoop)
	return c
}

// Conn returns the connection.
func (c *Client) Conn() *Conn { return c.conn }

// LastReceived returns when something was last received, pings included.
func (c *Client) LastReceived() time.Time { return c.conn.LastReceived() }

// Done is closed when the connection is over and every handler has returned.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err returns nil while the connection works, then why it is over; see [Conn.Err].
func (c *Client) Err() error { return c.conn.Err() }

// Fail ends the connection at once. Unlike Close it may be called from handlers.
func (c *Client) Fail(err error) { c.conn.Fail(err) }

// Close ends the connection and waits until every handler has returned. It is idempotent.
func (c *Client) Close() error {
	err := c.conn.Close()
	c.wg.Wait()
	return err
}

// Call sends a request and waits for its reply. A refusal comes as *[Error]. When ctx ends first, the reply is dropped
// when it comes; the request may have been carried out, or may be yet: it stays queued if the server takes nothing.
func (c *Client) Call(ctx context.Context, req Message) (Message, error) {
	return c.Go(ctx, req).Wait(ctx)
}

// Request is Call for a reply of a known type.
func Request[R Message](ctx context.Context, c *Client, req Message) (R, error) {
	var none R
	m, err := c.Call(ctx, req)
	if err != nil {
		return none, err
	}
	r, ok := m.(R)
	if !ok {
		return none, fmt.Errorf("%w: %T answered by %T", model.ErrUnsupported, req, m)
	}
	return r, nil
}

// CallStream sends a request that is answered by several replies. It calls page with each, on the receiving goroutine
// under the rules of OnPush, until page says that there are no more or fails. When it returns, page is not running and
// will not be called again.
func (c *Client) CallStream(ctx context.Context, req Message, page func(Message) (more bool, err error)) error {
	p := &Pending{client: c, done: make(chan struct{}), page: page}
	_ = c.send(ctx, p, req) // Wait returns it
	_, err := p.Wait(ctx)
	return err
}

// Go sends a request and returns without waiting for the reply. Requests of one goroutine reach the server in order.
// A server that takes nothing is not waited for, but while 16 MiB are queued, and then no longer than ctx.
func (c *Client) Go(ctx context.Context, req Message) *Pending {
	p := &Pending{client: c, done: make(chan struct{})}
	_ = c.send(ctx, p, req) // Wait returns it
	return p
}

// Start sends a request as Go does and has the outcome handled on the receiving goroutine, under the rules of OnPush. It
// returns an error if the request was not sent, and then never calls handle; else handle is called exactly once.
func (c *Client) Start(ctx context.Context, req Message, handle func(Message, error)) error {
	return c.send(ctx, &Pending{client: c, done: make(chan struct{}), handle: handle}, req)
}

// Tell sends a request that has no answer, at once if that takes no waiting. An error means that it was not sent.
func (c *Client) Tell(ctx context.Context, req Message) error {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return c.err
	}
	c.last++
	id := c.last
	c.mu.Unlock()
	return c.conn.queue(ctx, Envelope{ID: id, Message: req}, true)
}

// maxLone is how many calls may wait for their replies so that the next one is still sent at once. Those of a crowd are sent
// together.
const maxLone = 2

func (c *Client) send(ctx context.Context, p *Pending, req Message) error {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		p.finish(nil, c.err)
		return c.err
	}
	c.last++
	p.id = c.last
	c.calls[p.id] = p
	few := len(c.calls) <= maxLone
	c.mu.Unlock()
	err := c.conn.queue(ctx, Envelope{ID: p.id, Message: req}, few)
	if err == nil || c.take(p.id) == nil { // taken: the receive loop has ended and answers for it
		return nil
	}
	p.finish(nil, err)
	return err
}

// take ends a call's claim to replies. It returns nil if it had none any more.
func (c *Client) take(id uint64) *Pending {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.calls[id]
	delete(c.calls, id)
	return p
}

func (c *Client) receiveLoop() {
	defer close(c.done)
	for {
		envs, err := c.conn.Receive()
		if err != nil {
			c.failCalls(err)
			return
		}
		for _, e := range envs {
			if e.ID == 0 {
				(*c.onPush.Load())(e.Message)
				continue
			}
			c.deliver(e)
		}
	}
}

func (c *Client) deliver(e Envelope) {
	c.mu.Lock()
	p := c.calls[e.ID]
	c.mu.Unlock()
	if p == nil {
		return // given up
	}
	reply, err := e.Message, error(nil)
	switch m := reply.(type) {
	case *Error:
		reply, err = nil, (*model.Error)(m)
	case *Unknown:
		reply, err = nil, fmt.Errorf("%w: reply of unknown type %d", model.ErrUnsupported, m.Type)
	default:
		if p.page != nil {
			var more bool
			if more, err = p.turn(m); more && err == nil {
				return
			}
		}
	}
	if c.take(e.ID) != nil {
		p.complete(reply, err)
	}
}

// failCalls answers all calls that are waiting, in the order in which they were made.
func (c *Client) failCalls(err error) {
	c.mu.Lock()
	calls := c.calls
	c.calls, c.err = nil, err
	c.mu.Unlock()
	for _, p := range inOrder(calls) {
		p.complete(nil, err)
	}
}
