package sync

import (
	"context"
	"fmt"

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

// List calls fn with the pages of a listing.
func (c *Client) List(ctx context.Context, req *transport.List, fn func([]transport.Entry) error) error {
	l, err := c.awaitLink(ctx)
	if err != nil {
		return err
	}
	return l.conn.CallStream(ctx, req, func(m transport.Message) (bool, error) {
		p, ok := m.(*transport.Entries)
		if !ok {
			return false, fmt.Errorf("list was answered by %T", m)
		}
		return p.More, fn(p.Entries)
	})
}

// Probe asks the server whether a change would be accepted now, and for a fresh id if Reserve is set.
func (c *Client) Probe(ctx context.Context, p *transport.Probe) (uint64, error) {
	reply, err := Call[*transport.Probed](ctx, c, p)
	if err != nil {
		return 0, err
	}
	return reply.ID, nil
}

// Barrier brings the copy up to date with everything that the server had acknowledged when it was called: what another
// client on this host was told is stored can be on its way to us still. Only a server on this host is asked; others are
// followed at the network's pace. It reports whether it was asked and answered.
func (c *Client) Barrier(ctx context.Context) bool {
	l, _, _, _ := c.link.get()
	if l == nil || !l.welcome.Local {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	// Pushes come before the answer.
	_, err := l.conn.Call(ctx, &transport.Ping{})
	return err == nil
}
