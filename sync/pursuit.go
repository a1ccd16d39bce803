package sync

import (
	"math"
	"time"

	"github.com/commy-project/commyfs/model"
)

// An edit that was sent and not answered in time may have been carried out. With an offline queue it is kept, and its report
// goes on: the answer can come yet. Over the next connection it is not sent again. The server is asked under its number for a
// change that it can only refuse: if the report was carried out it answers with the results, else it refuses, and the edit is
// replayed like any other, which has a condition.

// pursuit is a report that goes on when nobody waits for it.
type pursuit struct {
	r     *report
	seq   uint64
	first time.Time
	// Set when done is closed.
	done    chan struct{}
	results []model.Result
	err     error

	entries []uint64 // of the queue; keeper's own
	key     uint64
}

// doubtError is that of an edit which may have been carried out, and whose report is pursued.
type doubtError struct{ *pursuit }

func (*doubtError) Error() string { return errNoAnswer.Error() }
func (*doubtError) Unwrap() error { return errNoAnswer }

// question asks for what became of a report. The server refuses it if that was not carried out: no variable has this version.
func question(ch *model.Change) []model.Change {
	return []model.Change{{Op: model.OpStore, ID: ch.ID, In: ch.In, Tenant: ch.Tenant, Service: ch.Service, Name: ch.Name,
		HasVersion: true, IfVersion: math.MaxUint64}}
}

// pursue has a report go on whose waiter gives up. It returns nil if it is over, or was never sent.
func (c *Client) pursue(r *report) *pursuit {
	p := &pursuit{r: r, done: make(chan struct{})}
	c.flight.mu.Lock()
	underway := r.state == lost || r.state == delayed || r.state == sent && (r.turn == nil || r.turn.age > 0)
	p.seq, p.first = r.seq, r.first
	c.flight.mu.Unlock()
	if !underway || p.first.IsZero() {
		return nil
	}
	if !c.spawn(func() { c.follow(p, question(&r.changes[0])) }) {
		return nil
	}
	return p
}

// follow waits for a report without a bound, until the client is closed. It sends ask in the place of the changes, unless that is
// nil.
func (c *Client) follow(p *pursuit, ask []model.Change) {
	r := p.r
	for range r.rung {
		t, over := c.take(r)
		if over {
			p.results, p.err = r.results, r.err
			r.put()
			close(p.done)
			if c.keeper != nil {
				c.keeper.wakeUp()
			}
			return
		}
		if t != nil {
			r.ask = ask
			c.send(c.ctx, t)
		}
	}
}

// number gives a report its number, so that it can be noted before it is sent. It reports false if there is no room.
func (c *Client) number(r *report) (ok bool) {
	r.bell = bells.Get().(*bell)
	c.update(func(f *inFlight) {
		if ok = f.state != closed && f.room(); ok {
			f.last++
			r.seq, r.state = f.last, delayed
			f.reports[r.seq] = r
		}
	})
	if !ok {
		r.put()
	}
	return ok
}

// sendNumbered sends a report that has its number, and waits for the answer as long as the client is open.
func (c *Client) sendNumbered(r *report) ([]model.Result, error) {
	p := &pursuit{r: r, done: make(chan struct{})}
	c.update(func(f *inFlight) { f.retry(r) })
	c.follow(p, nil)
	return p.results, p.err
}

// unnumber takes back the number of a report that is not sent.
func (c *Client) unnumber(r *report) {
	c.giveUp(r)
	r.put()
}

// unheard notes that nothing has come from the server since a report was begun whose time is over.
func (c *Client) unheard(r *report) {
	c.flight.mu.Lock()
	s := c.flight.session
	c.flight.mu.Unlock()
	if s != nil {
		s.unheard(r.begun)
	}
}

// unheard notes that the server has been silent since a time.
func (sess *session) unheard(since time.Time) {
	if last := sess.conn.LastReceived(); last.Before(since) && time.Since(since) > sess.c.opts.Timeout/2 {
		sess.quiet.Store(last.UnixNano())
	}
}

// cut reports whether it is known that the server cannot be reached: there is no connection, or nothing has come over it since a
// request was not answered in time.
func (c *Client) cut() bool {
	c.flight.mu.Lock()
	defer c.flight.mu.Unlock()
	switch s := c.flight.session; c.flight.state {
	case up:
		return s.quiet.Load() == s.conn.LastReceived().UnixNano()
	case unreachable, closed:
		return true
	}
	return false
}
