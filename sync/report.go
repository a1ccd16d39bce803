package sync

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/commy-project/commyfs/model"
)

// Report asks the server for changes, all or none, and waits for its answer. A connection that is lost meanwhile does
// not matter, nor does a server that dies: the changes are carried out exactly once, or, if the answer does not come in
// time, the error is model.ErrDisconnected and they may have been carried out once. That is so too when ctx is canceled after
// they were sent; before that the error is that of ctx alone. The bytes in changes must not be modified afterwards: they can
// become the value that this client reads.
func (c *Client) Report(ctx context.Context, changes ...model.Change) ([]model.Result, error) {
	return c.report(ctx, 0, nil, changes...)
}

// errSent says that nobody knows what has become of a change.
var errSent = &model.Error{Code: model.CodeDisconnected, Message: "the change was sent, its answer not waited for"}

// report is [Client.Report] for changes that name their targets by the ids of an epoch, 0: of the present one.
func (c *Client) report(ctx context.Context, epoch uint64, value []byte, changes ...model.Change) ([]model.Result, error) {
	if ctx.Err() != nil { // not sent, so that it cannot have been carried out either
		return nil, timedOut(ctx)
	}
	for i := range changes {
		if ch := &changes[i]; ch.ID != 0 && ch.In == 0 {
			ch.In = c.serviceOf(ch.ID)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	r := &report{changes: changes, value: value, done: make(chan struct{}), turn: make(chan turn, 1)}
	c.update(func(f *inFlight) {
		if epoch != 0 && epoch != f.epoch {
			f.end(r, nil, fmt.Errorf("the server's store was replaced: %w", model.ErrNotFound))
			return
		}
		f.queue = append(f.queue, r)
	})
	for {
		select {
		case <-r.done:
			return r.results()
		case t := <-r.turn:
			c.send(ctx, r, t)
			continue
		case <-ctx.Done():
		}
		if !c.giveUp(r) {
			return r.results() // it came in at the last moment
		}
		err := timedOut(ctx)
		if !r.first.IsZero() && errors.Is(err, context.Canceled) {
			err = fmt.Errorf("%w: %w", errSent, err)
		}
		return nil, err
	}
}

// send puts a report on a connection. One that cannot be sent, because it is too large, is answered here.
func (c *Client) send(ctx context.Context, r *report, t turn) {
	msg := &model.Report{Seq: t.seq, Acked: t.acked, Changes: r.changes}
	if now := time.Now(); r.first.IsZero() {
		r.first = now
	} else {
		// The one clock stands while the machine sleeps, the other can be set back.
		msg.Age = max(1, now.Sub(r.first).Nanoseconds(), now.UnixNano()-r.first.UnixNano())
	}
	err := t.session.conn.Report(ctx, msg, func(o *model.Outcome, err error) { c.answered(t.session, r, o, err) })
	if err != nil && ctx.Err() != nil {
		err = model.ErrDisconnected // not sent, and nobody waits
	}
	if err != nil {
		c.answered(t.session, r, nil, err)
	}
}

// serviceOf is the id of the service in which this client knows a variable, 0 if it does not.
func (c *Client) serviceOf(id uint64) uint64 {
	if v, ok := c.index.get(id).(*Variable); ok {
		return v.s.id
	}
	return 0
}

// results is what the caller is told of a report that is over.
func (r *report) results() ([]model.Result, error) {
	switch {
	case r.err != nil:
		return nil, r.err
	case r.outcome.Code != model.CodeOK:
		var err error = &model.Error{Code: r.outcome.Code, Message: r.outcome.Message}
		if len(r.changes) > 1 {
			err = &RefusedError{r.outcome.Index, err}
		}
		return nil, err
	case len(r.outcome.Results) != len(r.changes):
		return nil, fmt.Errorf("report of %d changes was answered by %d results", len(r.changes), len(r.outcome.Results))
	}
	return r.outcome.Results, nil
}

// RefusedError says which of several changes was refused.
type RefusedError struct {
	Index int
	Err   error
}

func (e *RefusedError) Error() string { return fmt.Sprintf("change %d: %v", e.Index+1, e.Err) }

// Unwrap returns the reason.
func (e *RefusedError) Unwrap() error { return e.Err }

// echo returns the bytes of an own change that the server does not send back: a whole value, or what a patch leads to.
func (c *Client) echo(prefix []string, e *model.Event) (value []byte, ok bool) {
	c.flight.mu.Lock()
	r := c.flight.reports[e.Echo]
	c.flight.mu.Unlock()
	switch {
	case r == nil:
		return nil, false
	case r.value != nil:
		return r.value, int64(len(r.value)) == e.Size
	}
	for _, ch := range slices.Backward(r.changes) {
		named := ch.ID == 0 && ch.Tenant == prefix[0] && ch.Service == prefix[1] && ch.Name == e.Name
		if ch.Op == model.OpStore && int64(len(ch.Data)) == e.Size && (named || ch.ID == e.ID) {
			return ch.Data, true
		}
	}
	return nil, false
}

// How long a client waits when the server says that it is not available.
const (
	retryAfter    = 10 * time.Millisecond
	maxRetryAfter = 200 * time.Millisecond
)

// pause waits a moment before something is tried again.
func pause(ctx context.Context) error {
	t := time.NewTimer(retryAfter)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return timedOut(ctx)
	}
}
