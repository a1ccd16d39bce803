package sync

import (
	"context"
	"fmt"
	"time"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/transport"
)

// Call sends a request and waits for the answer, across a reconnect if need be, within ctx and [Options.Timeout]. It is
// for requests that can be repeated: changes go through [Client.Report].
func Call[Reply transport.Message](ctx context.Context, c *Client, req transport.Message) (Reply, error) {
	var zero Reply
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	for {
		l, err := c.awaitLink(ctx)
		if err != nil {
			return zero, err
		}
		m, err := l.conn.Call(ctx, req)
		if err == nil {
			reply, ok := m.(Reply)
			if !ok {
				return zero, fmt.Errorf("%T was answered by %T", req, m)
			}
			return reply, nil
		}
		if ctx.Err() != nil {
			return zero, timedOut(ctx)
		}
		if !isRetryable(err) {
			return zero, err
		}
		if pause(ctx) != nil {
			return zero, err
		}
	}
}

// List calls fn with the pages of a listing. It waits for a page no longer than [Options.Timeout], or, if services may have
// to be loaded for it, than connecting may take.
func (c *Client) List(ctx context.Context, req *transport.List, fn func([]model.Entry) error) error {
	bound := c.opts.Timeout
	if req.Recursive {
		bound = c.longBound()
	}
	return patient(ctx, bound, func(ctx context.Context, progress func()) error {
		l, err := c.awaitLink(ctx)
		if err != nil {
			return err
		}
		return l.conn.CallStream(ctx, req, func(m transport.Message) (bool, error) {
			progress()
			p, ok := m.(*transport.Entries)
			if !ok {
				return false, fmt.Errorf("list was answered by %T", m)
			}
			return p.More, fn(p.Entries)
		})
	})
}

// patient calls fn with a context that ends when fn has not called progress for as long as the bound.
func patient(ctx context.Context, bound time.Duration, fn func(ctx context.Context, progress func()) error) error {
	whole := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	idle := time.AfterFunc(bound, cancel)
	defer idle.Stop()
	err := fn(ctx, func() { idle.Reset(bound) })
	if err != nil && ctx.Err() != nil && whole.Err() == nil {
		return &model.Error{Code: model.CodeDisconnected, Message: "the server does not go on with a listing"}
	}
	return err
}

// Probe asks the server whether a change would be accepted now, and for a fresh id if Reserve is set.
func (c *Client) Probe(ctx context.Context, p *transport.Probe) (*transport.Probed, error) {
	if p.ID != 0 && p.In == 0 {
		p.In = c.serviceOf(p.ID)
	}
	return Call[*transport.Probed](ctx, c, p)
}

// Barrier brings the copy up to date with everything that the server had acknowledged when it was called: what another
// client on this host was told is stored can be on its way to us still. Only a server on this host is asked; others are
// followed at the network's pace. It reports whether it was asked and answered, and waits half of [Options.Timeout] at
// most; not at all for a server that has not answered the last time, and was not heard of since.
func (c *Client) Barrier(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout/2)
	defer cancel()
	deadline := time.Now().Add(c.grace())
	for {
		l, _, _, _ := c.link.get()
		switch {
		case l != nil && !l.welcome.Local || l == nil && !c.Welcome().Local:
			return false
		case l != nil:
			err := l.ping(ctx)
			if model.CodeOf(err) != model.CodeDisconnected || ctx.Err() != nil {
				return err == nil
			}
		}
		// The server is gone: the next one may have acknowledged something already.
		if !c.awaitSuccessor(deadline) {
			return false
		}
	}
}

// pingTime is what an answer to a ping takes at most, of a server that can answer.
const pingTime = 500 * time.Millisecond

var errMute = &model.Error{Code: model.CodeUnavailable, Message: "the server does not answer"}

// ping waits for an answer, behind which come all pushes from before; not for a server that has been silent while it
// should have been heard of.
func (l *link) ping(ctx context.Context) error {
	if l.mute.Load() == l.conn.Conn().LastReceived().UnixNano() {
		return errMute
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := l.conn.Go(ctx, &transport.Ping{})
	look := time.NewTimer(min(pingTime, l.c.opts.Timeout/2))
	defer look.Stop()
	for ctx.Err() == nil {
		select {
		case <-p.Done():
			_, err := p.Wait(ctx)
			return err
		case <-ctx.Done():
		case <-look.C:
			if left := l.c.opts.Timeout/2 - time.Since(l.conn.Conn().LastReceived()); left > 0 {
				look.Reset(left)
			} else {
				cancel()
			}
		}
	}
	_, err := p.Wait(ctx)
	if err != nil {
		l.mute.Store(l.conn.Conn().LastReceived().UnixNano())
	}
	return err
}
