package sync

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/commy-project/commyfs/model"
)

// connState is the state of the connection. In all but up and closed the client goes on trying to connect.
//
//	               made                 lost
//	connecting ────────────> up ─────────────────> connecting
//	connecting ── silent for the timeout ────────> unreachable ── made ──> up
//	connecting, unreachable ── not let in ───────> refused ────── made ──> up
//	refused ────── another error ────────────────> connecting or unreachable
//	any ────────── Close ────────────────────────> closed
type connState uint8

const (
	connecting  connState = iota // who asks waits for the connection
	unreachable                  // who asks is told at once
	refused                      // the same: the credentials or rights do not do
	up
	closed
)

// made takes a connection over which the copy was brought up to date, unless the client has been closed meanwhile.
func (f *inFlight) made(s *session) {
	if f.state == closed {
		return
	}
	f.state, f.session, f.err = up, s, nil
	f.welcome, f.asked = *s.welcome, time.Now()
	s.c.maxValue.Store(s.welcome.Limits.Value)
}

// reconnectTime is what a new connection to a server that is there takes, with room to spare.
const reconnectTime = 250 * time.Millisecond

// disconnected notes that the connection has ended. What was sent is to be sent again, in the old order.
func (c *Client) disconnected(s *session) {
	c.isOff(s, true)
	silent := time.Since(s.conn.LastReceived())
	wait := max(c.opts.Timeout-silent, reconnectTime)
	var down time.Time
	c.update(func(f *inFlight) {
		if f.state == closed {
			return
		}
		down = time.Now()
		f.state, f.session, f.err, f.down, f.patient = connecting, nil, s.conn.Err(), down, down.Add(wait)
		f.open, f.crowded = nil, false
		again := make([]*report, 0, len(f.reports)+len(f.queue))
		for _, r := range f.reports {
			if r.state == abandoned {
				f.drop(r)
				continue
			}
			r.state, r.on, r.turn = lost, nil, nil
			again = append(again, r)
		}
		slices.SortFunc(again, func(a, b *report) int { return cmp.Compare(a.seq, b.seq) })
		for _, r := range f.queue {
			if r.state == queued {
				again = append(again, r)
			}
		}
		f.queue = again
	})
	time.AfterFunc(wait, func() {
		c.update(func(f *inFlight) {
			if f.state == connecting && f.down.Equal(down) {
				f.state = unreachable
			}
		})
	})
}

// failed notes that an attempt to connect has failed.
func (f *inFlight) failed(err error) {
	f.err = err
	switch {
	case f.state == closed:
	case errors.Is(err, model.ErrUnauthorized), errors.Is(err, model.ErrDenied):
		f.state = refused
	case time.Now().After(f.patient):
		f.state = unreachable
	default:
		f.state = connecting
	}
}

// failure is what who asks is told when nobody waits for a connection, nil otherwise.
func (f *inFlight) failure() error {
	switch f.state {
	case closed:
		return errClosed
	case refused:
		return f.err
	case unreachable:
		return fmt.Errorf("%w: %w", model.ErrDisconnected, f.err)
	}
	return nil
}

// errNotTold says that the server tells what became of a report to somebody else only.
var errNotTold = fmt.Errorf("the credentials were replaced: %w", model.ErrForgotten)

// become notes for whom the server takes the client now. What was sent in another's name, and not answered, the server would take for
// new, and carry out again. It reports whether there was another.
func (f *inFlight) become(who string) bool {
	was := f.who
	if who == "" { // it does not say
		return false
	}
	if f.who = who; was == "" || was == who {
		return false
	}
	for _, r := range f.reports {
		if !r.first.IsZero() {
			f.end(r, nil, errNotTold)
		}
	}
	return true
}

// adopt makes the copy one of the store, and returns of which it was. If it was another, what is in flight ends: this store
// never saw it, and its ids stand for other variables here.
func (f *inFlight) adopt(store string) (old string) {
	old, f.store = cmp.Or(f.store, store), store
	if old == store {
		return old
	}
	f.epoch++
	err := fmt.Errorf("the server's store was replaced: %w", model.ErrDisconnected)
	for _, r := range f.reports {
		f.end(r, nil, err)
	}
	for _, r := range slices.Clone(f.queue) {
		f.end(r, nil, err)
	}
	return old
}
