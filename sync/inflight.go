package sync

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/commy-project/commyfs/model"
)

// reportState is the state of a report that somebody waits for.
//
//	           connection, room         answered
//	queued ─────────────────────> sent ───────────> acknowledged
//	                       ┌────> │  │ server not available
//	           connection  │      │  └──────────────> delayed
//	                     lost <───┘ connection lost      │
//	                       ^         in a moment         │
//	                       └─────────────────────────────┘
//
// When nobody waits any more a report that is sent becomes abandoned: its changes can come back as an echo. In any other
// state it is dropped, and so is an abandoned one when it is answered or its connection is lost.
type reportState uint8

const (
	queued       reportState = iota // has no number yet, and was never sent
	sent                            // on a connection, not answered
	lost                            // its connection has ended; waits for the next
	delayed                         // the server cannot carry it out now
	abandoned                       // sent, and nobody waits
	acknowledged                    // carried out, refused, or given up by us: over
)

// report is changes that are carried out together, once, because the server knows their sequence number.
type report struct {
	changes []model.Change
	one     [1]model.Change // room for changes
	value   []byte          // what the variable holds once a store or patch of ours is accepted: the server does not send it back
	*bell                   // of who waits
	posted  *posted         // nobody waits; see post.go
	lasting bool            // who gives up waiting keeps the edit: see pursue
	ask     []model.Change  // what is sent in place of changes, to learn what became of them; who sends it sets it
	journal Journal         // nil: nobody is told
	asks    bool            // it only asks what has become of another; see Resume

	// guarded by inFlight.mu
	state   reportState
	seq     uint64
	on      *session      // sent, abandoned: where
	turn    *turn         // not taken yet
	with    []*report     // sent: all that it travels with, itself among them
	first   time.Time     // when it was first sent
	wait    time.Duration // the last delay
	results []model.Result
	err     error
}

// turn is the right to send reports, given to who waits for the first.
type turn struct {
	session *session
	reports []*report
	acked   uint64
	age     int64 // of the one report that is sent again
	given   time.Time
	next    *turn       // see errands
	handed  atomic.Bool // of errands: it is sent, or will not be
}

// maxInFlight bounds the reports whose answers are not here, and how far the newest is ahead of the oldest: the server
// keeps the answers in between, and refuses to keep more than a few thousand.
const maxInFlight = 1024

// inFlight is the connection, and the reports that are on their way over it. [Client.update] is the only way to change it.
type inFlight struct {
	mu sync.Mutex // guards the following

	state   connState
	session *session      // up: where requests go
	changed chan struct{} // closed at the next change of state
	err     error         // why the last attempt failed
	down    time.Time     // since when it is not up
	patient time.Time     // connecting: until when

	store   string // that the copy is of
	who     string // for whom the server takes this client; see model.Welcome
	epoch   uint64 // rises when the store is replaced: ids mean something else from then on
	welcome model.Welcome
	asked   time.Time // when the limits in welcome were last asked for

	last    uint64             // number given to a report
	low     uint64             // nobody waits for the answer to a report below it
	reports map[uint64]*report // by number
	queue   []*report          // lost and queued, in the order in which they are to be sent
	open    []*turn            // those that who comes next waits for; see crowd.go
	look    *time.Timer        // looks whether they take too long
	looking bool
	crowded bool // the last turn was of several reports
	held    bool // the first of a crowd waits for the others

	numbered func(uint64) // Options.OnNumber

	errands errands     // update's own
	expiry  *time.Timer // ends posted reports
	expires time.Time   // when; zero: it does not run
}

// update changes what is in flight, and decides what follows from that: who waits is told, and reports get their turn. What
// nobody waits for is done before it returns: no lock may be held.
func (c *Client) update(fn func(f *inFlight)) {
	c.carry(c.decide(fn))
}

// carry does what is left to be done.
func (c *Client) carry(todo errands) {
	for t := todo.turns; t != nil; t = t.next {
		c.sendPosted(t)
	}
	for p := todo.over; p != nil; p = p.next {
		p.finish()
	}
}

// decide is update without what is left to be done.
func (c *Client) decide(fn func(f *inFlight)) (todo errands) {
	f := &c.flight
	f.mu.Lock()
	defer f.mu.Unlock()
	defer func() { todo, f.errands = f.errands, errands{} }()
	state := f.state
	fn(f)
	if f.state != state {
		c.up.Store(f.state == up)
		close(f.changed)
		f.changed = make(chan struct{})
	}
	switch f.state {
	case connecting:
	case up:
		for len(f.queue) > 0 && (f.queue[0].state == lost || f.room() && c.mayGive(f)) {
			f.give()
		}
	default:
		for _, r := range slices.Clone(f.queue) {
			if r.lasting && !r.first.IsZero() && f.state != closed {
				r.ring() // who waits for it need not; it goes on
				continue
			}
			if r.state == queued || f.state != refused { // what was sent may have been carried out: it waits for its answer
				f.end(r, nil, f.failure())
			}
		}
	}
	if f.state == closed {
		for _, r := range f.reports {
			f.end(r, nil, errClosed)
		}
	}
	return todo
}

// room reports whether one more report can get a number.
func (f *inFlight) room() bool {
	return len(f.reports) < maxInFlight && f.last+1-f.acked() < maxInFlight
}

// acked returns the lowest number that somebody waits for: all below it are acknowledged. The search goes on where the last one ended: there can be many.
func (f *inFlight) acked() uint64 {
	for f.low <= f.last {
		if r := f.reports[f.low]; r != nil && r.state != abandoned {
			break
		}
		f.low++
	}
	return f.low
}

// give lets the waiter send the first report of the queue, and with it those behind it that can travel together.
func (f *inFlight) give() {
	n := 1
	if f.queue[0].state == queued {
		n = f.crowd()
	}
	t := &turn{session: f.session, reports: slices.Clone(f.queue[:n]), given: time.Now()}
	clear(f.queue[:n])
	f.queue = f.queue[n:]
	for _, r := range t.reports {
		if r.state == queued {
			f.last++
			r.seq = f.last
			f.reports[r.seq] = r
			if f.numbered != nil {
				f.numbered(r.seq)
			}
			if r.journal != nil {
				r.journal.Sent(r.seq)
			}
		}
		r.state, r.on, r.with = sent, f.session, t.reports
		if !r.first.IsZero() {
			// The one clock stands while the machine sleeps, the other can be set back.
			t.age = max(1, t.given.Sub(r.first).Nanoseconds(), t.given.UnixNano()-r.first.UnixNano())
		} else {
			r.first = t.given
		}
	}
	t.acked = f.acked()
	if f.welcome.Each && t.gathers() {
		f.open = append(f.open, t)
		f.crowded = n > 1
	}
	if r := t.reports[0]; r.posted != nil {
		f.errands.send(t)
	} else {
		r.turn = t
		r.ring()
	}
}

// takeBack takes back a turn that the waiter has not taken. What was to travel with its report waits again.
func (f *inFlight) takeBack(r *report) bool {
	t := r.turn
	if t == nil {
		return false
	}
	r.turn = nil
	f.close(t)
	var again []*report
	for _, other := range t.reports {
		switch {
		case other == r:
		case other.state == sent:
			other.state, other.on = lost, nil
			again = append(again, other)
		case other.state == abandoned: // no answer will come
			f.drop(other)
		}
	}
	f.again(again...)
	return true
}

// again puts reports that have numbers before all that have none: these can have no room until those are answered.
func (f *inFlight) again(list ...*report) { f.queue = slices.Insert(f.queue, 0, list...) }

// drop takes a report out.
func (f *inFlight) drop(r *report) {
	delete(f.reports, r.seq)
	if r.state == lost || r.state == queued {
		if i := slices.Index(f.queue, r); i >= 0 {
			f.queue = slices.Delete(f.queue, i, i+1)
		}
	}
	f.takeBack(r)
	r.on = nil
}

// end tells the waiter what has become of a report.
func (f *inFlight) end(r *report, results []model.Result, err error) {
	f.drop(r)
	if r.state != abandoned {
		r.results, r.err = results, err
		if r.journal != nil && r.seq != 0 && (err == nil || !unknown(err)) {
			r.journal.Answered(err == nil)
		}
		if r.posted != nil {
			f.errands.finish(r.posted)
		} else {
			r.ring()
		}
	}
	r.state = acknowledged
}

// unknown reports whether an error says that nobody knows what became of a report.
func unknown(err error) bool {
	code := model.CodeOf(err)
	return code == model.CodeDisconnected || code == model.CodeForgotten
}

// answered takes the answer that came, or did not, over a connection. It runs on the receiving goroutine, after the pushes
// that the answer comes behind.
func (c *Client) answered(t *turn, outcome *model.Outcome, err error) {
	c.update(func(f *inFlight) {
		f.close(t)
		apart := t.crowd() && refusedWhole(outcome, err)
		var again []*report
		for i, r := range t.reports {
			switch {
			case r.on != t.session: // it was sent again since, or is over
			case apart && r.state == sent:
				r.state, r.on = lost, nil // none was carried out: each may be alone
				again = append(again, r)
			default:
				results, err := t.answer(i, outcome, err)
				c.answer(f, r, results, err)
			}
		}
		f.again(again...)
	})
}

// answer takes the answer to a report.
func (c *Client) answer(f *inFlight, r *report, results []model.Result, err error) {
	switch code := model.CodeOf(err); {
	case r.state == abandoned:
		f.drop(r)
	case code == model.CodeDisconnected:
		r.state, r.on = lost, nil // disconnected puts it into the queue
	case code == model.CodeUnavailable:
		// The server starts, stops or waits for its engine. Under the same number it is carried out once, whatever became
		// of it.
		r.state, r.on = delayed, nil
		r.wait = min(max(2*r.wait, retryAfter), maxRetryAfter)
		time.AfterFunc(r.wait, func() { c.update(func(f *inFlight) { f.retry(r) }) })
	default:
		f.end(r, results, err)
	}
}

// retry puts a delayed report back into the queue.
func (f *inFlight) retry(r *report) {
	if r.state == delayed {
		r.state = lost
		f.again(r)
	}
}

// giveUp says that nobody waits for the report any more. It reports false if the report is over.
func (c *Client) giveUp(r *report) (ok bool) {
	c.update(func(f *inFlight) { ok = f.giveUp(r) })
	return ok
}

func (f *inFlight) giveUp(r *report) (ok bool) {
	switch {
	case r.state == acknowledged:
		return false
	case r.state == sent && r.turn == nil:
		r.state = abandoned
	default:
		f.drop(r)
		r.state = acknowledged
	}
	return true
}
