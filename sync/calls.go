package sync

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/commy-project/commyfs/model"
)

// call makes a request that can be repeated, across a reconnect if need be, within ctx and [Options.Timeout]. Changes go
// through [Client.Report].
func call[Reply any](ctx context.Context, c *Client, request func(context.Context, Conn) (Reply, error)) (Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	return repeated(ctx, c, request)
}

func repeated[Reply any](ctx context.Context, c *Client, request func(context.Context, Conn) (Reply, error)) (Reply, error) {
	var none Reply
	for {
		sess, err := c.session(ctx)
		if err != nil {
			return none, err
		}
		began := time.Now()
		reply, err := request(ctx, sess.conn)
		switch {
		case err == nil:
			return reply, nil
		case ctx.Err() != nil:
			err := timedOut(ctx)
			if err == errNoAnswer {
				sess.unheard(began)
			}
			return none, err
		case !isRetryable(err) || pause(ctx) != nil:
			return none, err
		}
	}
}

// Read returns one variable by its names, without a watch.
func (c *Client) Read(ctx context.Context, r *model.Read) (*model.Variable, error) {
	return call(ctx, c, func(ctx context.Context, conn Conn) (*model.Variable, error) { return conn.Read(ctx, r) })
}

// Probe asks the server whether a change would be accepted now, and for a fresh id if Reserve is set.
func (c *Client) Probe(ctx context.Context, p *model.Probe) (*model.Probed, error) {
	probe := func(ctx context.Context, conn Conn) (*model.Probed, error) { return conn.Probe(ctx, p) }
	if p.ID == 0 {
		return call(ctx, c, probe)
	}
	if p.In == 0 {
		p.In = c.serviceOf(p.ID)
	}
	ctx, cancel := c.whileLoading(ctx, func() int64 { return c.heardOf(p.In, "", "") })
	defer cancel()
	return repeated(ctx, c, probe)
}

// Status asks the server for its state.
func (c *Client) Status(ctx context.Context) (*model.Status, error) {
	return call(ctx, c, func(ctx context.Context, conn Conn) (*model.Status, error) { return conn.Status(ctx) })
}

// NewKey makes an API key and returns it: it is shown this once.
func (c *Client) NewKey(ctx context.Context, k *model.NewKey) (string, error) {
	return call(ctx, c, func(ctx context.Context, conn Conn) (string, error) { return conn.NewKey(ctx, k) })
}

// Keys describes the API keys.
func (c *Client) Keys(ctx context.Context) ([]model.KeyInfo, error) {
	return call(ctx, c, func(ctx context.Context, conn Conn) ([]model.KeyInfo, error) { return conn.Keys(ctx) })
}

// RevokeKey ends an API key and every session that uses it.
func (c *Client) RevokeKey(ctx context.Context, name string) error {
	_, err := call(ctx, c, func(ctx context.Context, conn Conn) (struct{}, error) { return struct{}{}, conn.RevokeKey(ctx, name) })
	return err
}

// List calls fn with the pages of a listing. It waits for a page no longer than [Options.Timeout], or, if services may have
// to be loaded for it, than connecting may take.
func (c *Client) List(ctx context.Context, l *model.List, fn func([]model.Entry) error) error {
	bound := c.opts.Timeout
	if l.Recursive {
		bound = c.longBound()
	}
	return patient(ctx, bound, func() int64 { return 0 }, func(ctx context.Context, progress func()) error {
		s, err := c.session(ctx)
		if err != nil {
			return err
		}
		return s.conn.List(ctx, l, func(p *model.Page) error {
			progress()
			return fn(p.Entries)
		})
	})
}

// patient calls fn with a context that ends when for as long as the bound fn has not called progress, and nothing was heard
// otherwise: that is the time, in Unix nanoseconds, when something last was. That alone it does not wait for for ever.
func patient(ctx context.Context, bound time.Duration, heard func() int64, fn func(ctx context.Context, progress func()) error) error {
	whole := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var last atomic.Int64
	last.Store(time.Now().UnixNano())
	var idle *time.Timer
	armed := make(chan struct{})
	idle = time.AfterFunc(bound, func() {
		<-armed
		if left := min(bound-time.Since(time.Unix(0, heard())), maxLoading*bound-time.Since(time.Unix(0, last.Load()))); left > 0 {
			idle.Reset(left)
		} else {
			cancel()
		}
	})
	close(armed)
	defer idle.Stop()
	err := fn(ctx, func() {
		last.Store(time.Now().UnixNano())
		idle.Reset(bound)
	})
	if err != nil && ctx.Err() != nil && whole.Err() == nil {
		return &model.Error{Code: model.CodeDisconnected, Message: "the server does not go on with a listing"}
	}
	return err
}

// Barrier brings the copy up to date with everything that the server had acknowledged when it was called: what another
// client on this host was told is stored can be on its way to us still. Only a server on this host is asked; others are
// followed at the network's pace. It reports whether it was asked and answered, and waits half of [Options.Timeout] at
// most; not at all for a server that has not answered the last time, and was not heard of since.
func (c *Client) Barrier(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout/2)
	defer cancel()
	deadline := time.Now().Add(c.grace())
	for ctx.Err() == nil {
		c.flight.mu.Lock()
		s, local := c.flight.session, c.flight.welcome.Local
		c.flight.mu.Unlock()
		if !local {
			return false
		}
		if s != nil {
			err := s.ping(ctx)
			if model.CodeOf(err) != model.CodeDisconnected || ctx.Err() != nil {
				return err == nil
			}
		}
		// The server is gone: the next one may have acknowledged something already.
		if !c.awaitSuccessor(deadline) {
			return false
		}
	}
	return false
}

// pingTime is what an answer to a ping takes at most, of a server that can answer.
const pingTime = 500 * time.Millisecond

var errMute = &model.Error{Code: model.CodeUnavailable, Message: "the server does not answer"}

// ping waits for an answer, behind which come all pushes from before; not for a server that has been silent while it
// should have been heard of.
func (sess *session) ping(ctx context.Context) error {
	if sess.mute.Load() == sess.conn.LastReceived().UnixNano() {
		return errMute
	}
	whole := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	half := sess.c.opts.Timeout / 2
	var look *time.Timer
	armed := make(chan struct{})
	look = time.AfterFunc(min(pingTime, half), func() {
		<-armed
		if left := half - time.Since(sess.conn.LastReceived()); left > 0 {
			look.Reset(left)
		} else {
			cancel()
		}
	})
	close(armed)
	defer look.Stop()
	err := sess.conn.Ping(ctx)
	if err != nil && ctx.Err() != nil && !errors.Is(whole.Err(), context.Canceled) { // who is interrupted has not found it silent
		sess.mute.Store(sess.conn.LastReceived().UnixNano())
	}
	return err
}
