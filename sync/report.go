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
	if lease := c.locks.under.Load(); lease != 0 {
		for i := range changes {
			changes[i].Lease = lease
		}
	}
	return c.report(ctx, 0, nil, changes...)
}

var errStoreReplaced = fmt.Errorf("the server's store was replaced: %w", model.ErrNotFound)

// errSent says that nobody knows what has become of a change.
var errSent = &model.Error{Code: model.CodeDisconnected, Message: "the change was sent, its answer not waited for"}

// Change is [Client.Report] for one change.
func (c *Client) Change(ctx context.Context, change model.Change) (model.Result, error) {
	change.Lease = c.locks.under.Load()
	return c.change(ctx, 0, nil, &change)
}

// change is report for one change.
func (c *Client) change(ctx context.Context, epoch uint64, value []byte, change *model.Change) (model.Result, error) {
	r := &report{value: value, lasting: c.keeper != nil && change.ID != 0 && change.Lease == 0, journal: journalOf(ctx)}
	r.one[0] = *change
	r.changes = r.one[:]
	results, err := c.carryOut(ctx, epoch, r)
	if err != nil {
		return model.Result{}, err
	}
	return results[0], nil
}

// report is [Client.Report] for changes that name their targets by the ids of an epoch, 0: of the present one.
func (c *Client) report(ctx context.Context, epoch uint64, value []byte, changes ...model.Change) ([]model.Result, error) {
	return c.carryOut(ctx, epoch, &report{changes: changes, value: value, journal: journalOf(ctx)})
}

func (c *Client) carryOut(ctx context.Context, epoch uint64, r *report) ([]model.Result, error) {
	if ctx.Err() != nil { // not sent, so that it cannot have been carried out either
		return nil, timedOut(ctx)
	}
	for i := range r.changes {
		if ch := &r.changes[i]; ch.ID != 0 && ch.In == 0 {
			ch.In = c.serviceOf(ch.ID)
		}
	}
	r.bell = bells.Get().(*bell)
	r.set(c.opts.Timeout)
	c.enqueue(epoch, r)
	return c.await(ctx, r)
}

// await waits for the answer to a report that is in the queue, and sends it when it has its turn.
func (c *Client) await(ctx context.Context, r *report) ([]model.Result, error) {
	pursued := false
	defer func() {
		if !pursued {
			r.put()
		}
	}()
	wait := patience{ctx, r.bell}
	for {
		select {
		case <-r.rung:
			t, over := c.take(r)
			if over {
				return r.results, r.err
			}
			if t != nil {
				c.send(wait, t)
			}
			if t != nil || !r.lasting || !c.cut() {
				continue
			}
		case <-r.late():
			if c.extend(r) {
				continue
			}
			r.expired = true
		case <-ctx.Done():
		}
		c.unheard(r)
		if r.lasting {
			if p := c.pursue(r); p != nil {
				pursued = true
				return nil, &doubtError{p}
			}
		}
		if !c.giveUp(r) {
			return r.results, r.err // it came in at the last moment
		}
		c.told()
		err := wait.Err()
		if errors.Is(err, context.Canceled) && c.wasSent(r) {
			return nil, fmt.Errorf("%w: %w", errSent, err)
		}
		return nil, timedOut(wait)
	}
}

// take takes a turn. over says that there is an answer.
func (c *Client) take(r *report) (t *turn, over bool) {
	c.flight.mu.Lock()
	defer c.flight.mu.Unlock()
	t, r.turn = r.turn, nil
	return t, r.state == acknowledged
}

// wasSent reports whether a report that was given up can be under way.
func (c *Client) wasSent(r *report) bool {
	c.flight.mu.Lock()
	defer c.flight.mu.Unlock()
	return !r.first.IsZero()
}

// send puts reports on a connection. What cannot be sent, because it is too large, is answered here.
func (c *Client) send(ctx context.Context, t *turn) {
	if t.crowd() {
		err := c.tell(noWait, t)
		if !errors.Is(err, errFull) {
			if err != nil {
				c.answered(t, nil, err)
			}
			return
		}
		t = c.disperse(t)
	}
	switch err := c.tell(ctx, t); {
	case err == nil:
	case ctx.Err() != nil:
		c.unsent(t)
	default:
		c.answered(t, nil, err)
	}
}

// tell asks the server for the changes of a turn. Those of a crowd must not wait for the connection: they are left out if
// they are over, which is looked at before.
func (c *Client) tell(ctx context.Context, t *turn) error {
	msg := &model.Report{Seq: t.reports[0].seq, Acked: t.acked, Age: t.age, Changes: t.reports[0].changes, Each: t.crowd()}
	if ask := t.reports[0].ask; ask != nil {
		msg.Changes = ask
	}
	if msg.Each {
		c.telling.RLock()
		defer c.telling.RUnlock()
		msg.Changes = make([]model.Change, len(t.reports))
		for i, r := range t.reports {
			if !c.left(r, t) {
				msg.Changes[i] = r.changes[0]
			}
		}
	}
	return t.session.conn.Report(ctx, msg, func(o *model.Outcome, err error) { c.answered(t, o, err) })
}

// left reports whether nobody waits any more for a report that is to travel with others. Nothing goes in its place, which the
// server refuses: its waiter may have sent another change by now, which it must not come after.
func (c *Client) left(r *report, t *turn) bool {
	f := &c.flight
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.state == abandoned && r.on == t.session {
		f.drop(r)
	}
	return r.on != t.session
}

// told returns when no message is under way to a connection from which what was given up before is not left out.
func (c *Client) told() {
	c.telling.Lock() // waiting is all
	defer c.telling.Unlock()
}

// disperse takes a crowd apart that finds its connection full, and returns a turn of its first report. The others each wait
// for the connection by themselves: their times differ, and none is sent when its time is over.
func (c *Client) disperse(t *turn) (first *turn) {
	first = &turn{session: t.session, reports: t.reports[:1:1], acked: t.acked, age: t.age, given: t.given}
	c.update(func(f *inFlight) {
		if i := slices.Index(f.open, t); i >= 0 {
			f.open[i] = first
		}
		if r := t.reports[0]; r.on == t.session {
			r.with = first.reports
			if r.posted != nil {
				r.posted.given = first
			}
		}
		f.scatter(t)
	})
	return first
}

// unsent takes back what was not sent because who was to send it waits no more.
func (c *Client) unsent(t *turn) {
	c.update(func(f *inFlight) {
		f.close(t)
		if r := t.reports[0]; r.on == t.session {
			if r.state == abandoned {
				f.drop(r)
			} else {
				r.state, r.on = lost, nil // who was to send it gives it up
			}
		}
		f.scatter(t)
	})
}

// scatter has all but the first report of a turn that was not sent wait again.
func (f *inFlight) scatter(t *turn) {
	var again []*report
	for _, r := range t.reports[1:] {
		switch {
		case r.on != t.session:
		case r.state == abandoned:
			f.drop(r)
		default:
			r.state, r.on = lost, nil
			again = append(again, r)
		}
	}
	f.again(again...)
}

// serviceOf is the id of the service in which this client knows a variable, 0 if it does not.
func (c *Client) serviceOf(id uint64) uint64 {
	if v, ok := c.index.get(id).(*Variable); ok {
		return v.s.id
	}
	return 0
}

// answer is what became of the ith report of the turn.
func (t *turn) answer(i int, o *model.Outcome, err error) ([]model.Result, error) {
	r := t.reports[i]
	if err != nil {
		return nil, err
	}
	if t.crowd() {
		for _, refused := range o.Refused {
			if refused.Index == i {
				return nil, &model.Error{Code: refused.Code, Message: refused.Message}
			}
		}
		if len(o.Results) != len(t.reports) {
			return nil, fmt.Errorf("%d reports were answered by %d results", len(t.reports), len(o.Results))
		}
		return o.Results[i : i+1 : i+1], nil
	}
	switch {
	case o.Code != model.CodeOK:
		var err error = &model.Error{Code: o.Code, Message: o.Message}
		if len(r.changes) > 1 {
			err = &RefusedError{o.Index, err}
		}
		return nil, err
	case len(o.Results) != len(r.changes) && !r.asks:
		return nil, fmt.Errorf("report of %d changes was answered by %d results", len(r.changes), len(o.Results))
	}
	return o.Results, nil
}

// refusedWhole reports whether a server has looked at none of a crowd's reports.
func refusedWhole(o *model.Outcome, err error) bool {
	code := model.CodeOf(err)
	if err == nil {
		code = o.Code
	}
	return code != model.CodeOK && code != model.CodeDisconnected && code != model.CodeUnavailable
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
