package sync

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/commy-project/commyfs/model"
)

// A small edit of a variable that has no others under way is posted: it is sent from where it is made, and no goroutine waits
// for its report. Who changes what is in flight so that it is over, mostly the receiver, finishes the edit. That is two changes
// of goroutines less than writing back, which takes over when there is more to do than that.

// maxPosted bounds the bytes of such an edit: who makes it is not held up for long.
const maxPosted = 4 << 10

// posted is an edit that was posted, all that it needs in one piece.
type posted struct {
	report
	v     *Variable
	ack   Ack
	edits writeBack // the variable's, with the edit as its first
	queue [1]*Ack
	next  *posted // see errands
	given *turn   // of errands, it is the first of; guarded by inFlight.mu
}

// post carries out an edit if there are no others, else it returns nil.
func (v *Variable) post(e Edit) *Ack {
	c := v.s.c
	if len(e.Data) > maxPosted || !c.up.Load() || v.back.Load() != nil || c.keeper != nil {
		return nil
	}
	p := &posted{v: v}
	p.ack.init(e, c.opts.Timeout)
	p.queue[0] = &p.ack
	p.edits.queue, p.edits.busy = p.queue[:], true
	if !v.back.CompareAndSwap(nil, &p.edits) {
		return nil
	}
	c.dirty.Add(1)
	v.s.use()
	p.one[0], p.value = v.change(p.queue[:])
	p.changes, p.report.posted, p.report.journal = p.one[:], p, e.Journal
	c.enqueue(v.s.epoch, &p.report)
	return &p.ack
}

// finish takes what has become of the report.
func (p *posted) finish() {
	v, b, a := p.v, &p.edits, &p.ack
	defer v.s.c.dirty.Done()
	if p.err == nil {
		p.value = nil // whoever has the ack has all of this; the receiver, which wants it for an echo, is who calls
	}
	if model.CodeOf(p.err) == model.CodeStaleBase {
		b.stale = true
		v.startWriteBack()
		return
	}
	if a.err = p.err; a.err == nil {
		a.result = p.results[0]
	}
	saw(p.queue[:], a.result, a.err)
	b.mu.Lock()
	b.queue[0] = nil
	b.queue = b.queue[1:]
	more := len(b.queue) > 0
	if !more {
		v.endLocked(b)
	}
	b.mu.Unlock()
	close(a.done)
	if more {
		v.startWriteBack()
	}
}

// errands are what follows for posted reports from a change of what is in flight. They are run without a lock.
type errands struct {
	turns, lastTurn *turn
	over, lastOver  *posted
}

func (e *errands) send(t *turn) {
	t.reports[0].posted.given = t
	if e.turns == nil {
		e.turns = t
	} else {
		e.lastTurn.next = t
	}
	e.lastTurn = t
}

func (e *errands) finish(p *posted) {
	if e.over == nil {
		e.over = p
	} else {
		e.lastOver.next = p
	}
	e.lastOver = p
}

// handTime is about how long it takes to send a turn.
const handTime = time.Millisecond

var errFull = errors.New("too much is queued")

// noWait is the context of who must not wait.
var noWait = func() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errFull)
	return ctx
}()

// sendPosted sends a turn whose first report is posted. If the connection takes no more, a goroutine waits for that.
func (c *Client) sendPosted(t *turn) {
	err := c.tell(noWait, t)
	if errors.Is(err, errFull) {
		if t.crowd() {
			t = c.disperse(t)
		}
		c.spawn(func() { // else the client is closed, and all is over
			ctx, cancel := context.WithDeadline(context.Background(), t.reports[0].posted.ack.deadline)
			defer cancel()
			c.send(ctx, t)
			t.handed.Store(true)
		})
		return
	}
	t.handed.Store(true)
	if err != nil {
		c.answered(t, nil, err)
	}
}

// expire ends posted reports whose time is over. One timer serves for all of them: those that are made at the same time have
// about the same end, and are answered long before it.
func (c *Client) expire() {
	todo := c.decide(func(f *inFlight) {
		now := time.Now()
		var next time.Time
		look := func(r *report) {
			if r.posted == nil || r.state == abandoned || r.state == acknowledged {
				return
			}
			end := r.posted.ack.deadline
			if t := r.posted.given; r.state == sent && t != nil && !t.handed.Load() && !end.After(now) {
				end = now.Add(handTime) // or what comes after it could overtake it
			}
			if !end.After(now) {
				f.giveUp(r)
				r.err = errNoAnswer
				f.errands.finish(r.posted)
			} else if next.IsZero() || end.Before(next) {
				next = end
			}
		}
		for _, r := range f.reports {
			look(r)
		}
		for _, r := range slices.Clone(f.queue) {
			look(r)
		}
		f.expires = time.Time{}
		if !next.IsZero() {
			c.expireAt(f, next)
		}
	})
	if todo.over != nil {
		c.told()
	}
	c.carry(todo)
}

// expireAt sees to it that a report is over at its end.
func (c *Client) expireAt(f *inFlight, end time.Time) {
	if !f.expires.IsZero() && !end.Before(f.expires) {
		return
	}
	f.expires = end
	if f.expiry == nil {
		f.expiry = time.AfterFunc(time.Until(end), c.expire)
	} else {
		f.expiry.Reset(time.Until(end))
	}
}
