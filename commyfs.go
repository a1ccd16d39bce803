// Package commyfs shares variables between programs and hosts: every program can read, write and watch them.
//
// A variable is a value of bytes with a name, in a service, in a tenant: plant/line1/temp is the variable temp of the
// service line1 of the tenant plant. A slash in a variable's name makes directories. The same variables can be mounted as
// files with the command commyfs; this package is for programs that do without a mount.
//
// Call [Connect] first. The zero [Options] mean this user's own server on this machine, which is started if it does not
// run. [Client.Service] names a service, and [Service.Get], [Service.Put] and [Service.Watch] do most of what there is:
//
//	c, err := commyfs.Connect(ctx, commyfs.Options{})
//	...
//	defer c.Close()
//	line := c.Service("plant", "line1")
//	version, err := line.Put(ctx, "temp", []byte("21.5"))
//	entry, err := line.Get(ctx, "temp")
//	for ev, err := range line.Watch(ctx, commyfs.WatchOptions{}) { ... }
//
// Changes ([Service.Put], [Service.Create], [Service.Update], [Service.Append], [Service.Delete], or several at once with
// [Client.Txn]) return when the server has stored them. They are carried out once, also when the connection is lost
// meanwhile. A change that fails with [ErrUnreachable] or with the context's error may have been carried out.
//
// Reads: [Service.Get] asks the server. The first [Service.Load], [Service.View] or [Service.Watch] makes the client
// follow the service: it has a copy that the server keeps current, until nobody has used it for [Options.Idle], and all
// reads of the service, Get among them, come from that copy (on the server's own host from shared memory) without the
// network. The copy has every change that this client made, on the server's host also those that any other client made;
// over a network it follows within the network's delay. It stays readable while the server is unreachable.
//
// Waits end with the context, or after [Options.Timeout]. A lost connection is made again in the background. Errors match
// the Err variables of this package with [errors.Is], and [io/fs.ErrNotExist], [io/fs.ErrExist] and [io/fs.ErrPermission]
// where those say the same. All methods are safe for concurrent use.
package commyfs

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/commy-project/commyfs/internal/dial"
	varsync "github.com/commy-project/commyfs/sync"
)

// Client is a connection to a server, which mends itself.
type Client struct {
	opts Options
	dial *dial.Dialer
	sync *varsync.Client
	done chan struct{} // closed by Close

	mu       sync.Mutex // guards the following
	closed   bool
	watchers map[*watcher]struct{}
}

// Connect connects to a server, and starts one if the options mean this user's own and it does not run. It waits as long
// as ctx and the start of a server allow; errors match [ErrUnreachable], [ErrUnauthorized] or [ErrInvalid].
func Connect(ctx context.Context, o Options) (*Client, error) {
	d, err := o.dialer()
	if err != nil {
		return nil, err
	}
	c := &Client{opts: o, dial: d, done: make(chan struct{}), watchers: map[*watcher]struct{}{}}
	c.sync, err = varsync.New(ctx, varsync.Options{Dial: c.connect, Client: o.client(), Timeout: o.Timeout, NoTree: true,
		Idle: o.Idle, NoMap: o.NoMap, OnChange: c.onChange, Logger: o.Logger})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// connect makes a connection. Watches end when we are refused: nothing would ever come.
func (c *Client) connect(ctx context.Context) (varsync.Conn, error) {
	conn, err := c.dial.Client(ctx)
	if err == nil {
		return conn, nil
	}
	if errors.Is(err, ErrUnauthorized) || errors.Is(err, ErrDenied) {
		for _, w := range c.watching() {
			w.fail(err)
		}
	}
	return nil, err
}

// Close ends the connection and all watches. Changes under way fail; their fate is unknown. Later calls do nothing.
func (c *Client) Close() error {
	c.mu.Lock()
	again := c.closed
	c.closed = true
	c.mu.Unlock()
	if !again {
		close(c.done)
	}
	return c.sync.Close()
}

// Service names a service. It need not exist: the first change makes it, and reads say [ErrNotFound] until then.
func (c *Client) Service(tenant, service string) *Service {
	return &Service{c: c, tenant: tenant, name: service}
}

// failed is the error of a call: that the client is closed, if it is.
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

func (c *Client) watching() []*watcher {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Keys(c.watchers))
}
