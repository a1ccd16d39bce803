// Package commyfs is the Go client of commyfs, which shares variables between programs and hosts.
//
// A variable is a named value with a version. It belongs to a service, which belongs to a tenant: plant/line1/temp is the
// variable temp of the service line1 of the tenant plant. A slash in a variable's name creates directories. The command
// commyfs mounts the same variables as files.
//
// Start with [Connect]. The zero [Options] connect to your own server on this machine, and start it if it is not running.
// [Client.Service] selects a service; most programs need little more than [Service.Get], [Service.Put] and [Service.Watch]:
//
//	c, err := commyfs.Connect(ctx, commyfs.Options{})
//	...
//	defer c.Close()
//	line := c.Service("plant", "line1")
//	version, err := line.Put(ctx, "temp", []byte("21.5"))
//	entry, err := line.Get(ctx, "temp")
//	for ev, err := range line.Watch(ctx, commyfs.WatchOptions{}) { ... }
//
// # Changes
//
// [Service.Put], [Service.Create], [Service.Update], [Service.Append], [Service.Add], [Service.Delete] and [Client.Txn],
// which makes several changes atomically, return when the server has stored the change. A change is made once, even if the connection
// is lost and the client sends it again. A change that fails with [ErrUnreachable] may or may not have been made; this
// includes changes whose context ends after they were sent.
//
// # Reads
//
// [Service.Get] asks the server. The first [Service.Load], [Service.View] or [Service.Watch] makes the client follow the
// service: it keeps a copy of the service current until the service has not been used for [Options.Idle]. While a
// service is followed, all reads of it, including Get, use the copy and do not wait for the network. On the server's
// host the copy is shared memory and has every change that the server has acknowledged to anyone. Elsewhere it has
// every change that this client has made, and follows the others with the delay of the network. A copy can be read
// while the server is unreachable.
//
// # Errors and waiting
//
// Calls return when their context ends, and after [Options.Timeout]. The client reconnects by itself. Errors match the Err
// variables of this package with [errors.Is], and also [io/fs.ErrNotExist], [io/fs.ErrExist] and [io/fs.ErrPermission]. All
// methods are safe for concurrent use.
package commyfs

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/commy-project/commyfs/internal/watch"
	varsync "github.com/commy-project/commyfs/sync"
)

// Client is a connection to a server. It reconnects by itself.
type Client struct {
	opts    Options
	dial    func(context.Context) (varsync.Conn, error)
	sync    *varsync.Client
	done    chan struct{} // closed by Close
	watches *watch.Hub

	mu     sync.Mutex // guards the following
	closed bool
	locks  map[uint64]*Lock // by the number of their owner
	owner  uint64
}

// Connect connects to a server, and starts your own server if the options select it and it is not running. Errors match
// [ErrUnreachable], [ErrUnauthorized] or [ErrInvalid], among others.
func Connect(ctx context.Context, o Options) (*Client, error) {
	d, err := o.dialer()
	if err != nil {
		return nil, err
	}
	c := &Client{opts: o, done: make(chan struct{}), locks: map[uint64]*Lock{}}
	c.dial = func(ctx context.Context) (varsync.Conn, error) {
		conn, err := d.Client(ctx)
		if err != nil {
			return nil, err
		}
		return conn, nil
	}
	c.watches = watch.New(watch.Options{Dial: c.dial, Client: o.client, Timeout: o.Timeout, Logger: o.Logger})
	c.sync, err = varsync.New(ctx, varsync.Options{Dial: c.connect, Client: o.client(), Timeout: o.Timeout, NoTree: true,
		Idle: o.Idle, NoMap: o.NoMap, OnChange: c.watches.Changed, OnLocksLost: c.onLocksLost, Logger: o.Logger})
	if errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ErrUnreachable) {
		err = fmt.Errorf("%w: timed out waiting for an answer: %w", ErrUnreachable, err)
	}
	if err != nil {
		return nil, err
	}
	c.watches.Of(c.sync)
	return c, nil
}

// connect makes a connection. If the server refuses us, watches end: they would never report anything again.
func (c *Client) connect(ctx context.Context) (varsync.Conn, error) {
	conn, err := c.dial(ctx)
	if err == nil {
		return conn, nil
	}
	if errors.Is(err, ErrUnauthorized) || errors.Is(err, ErrDenied) {
		c.watches.Fail(err)
	}
	return nil, err
}

// Close closes the connection and ends all watches. Calls in progress fail. It is idempotent.
func (c *Client) Close() error {
	c.mu.Lock()
	again := c.closed
	c.closed = true
	c.mu.Unlock()
	if !again {
		close(c.done)
		c.watches.Close()
	}
	return c.sync.Close()
}

// Service returns a handle for a service, which need not exist: the first change creates it. It makes no request.
func (c *Client) Service(tenant, service string) *Service {
	return &Service{c: c, tenant: tenant, name: service}
}

// failed returns the error of a call: [ErrClosed] once the client is closed.
func (c *Client) failed(err error) error {
	if err == nil {
		return nil
	}
	select {
	case <-c.done:
		return ErrClosed
	default:
		return err
	}
}
