package kernel

import (
	"errors"
	"syscall"
	"time"

	"github.com/commy-project/commyfs/fs/poke"
)

const (
	// roundPause is the time between two rounds in which the values that were written here are announced. Who writes now and
	// then waits for none.
	roundPause = 5 * time.Millisecond
	// roundStep is how many of them are announced before an event of a change made elsewhere.
	roundStep = 16
)

// round announces the values that waited when it began.
type round struct {
	left int       // of those, not yet announced
	next time.Time // when the next may begin
}

// take takes the next few events, none until it is time. The queue is locked.
func (r *round) take(q *queue) []*event {
	if len(q.own) == 0 {
		return nil
	}
	if r.left == 0 {
		if now := time.Now(); now.Before(r.next) {
			return nil
		}
		r.left = len(q.own)
	}
	before := len(q.own)
	events := q.nextOwn(min(r.left, roundStep))
	r.left -= before - len(q.own)
	if r.left <= 0 {
		r.left, r.next = 0, time.Now().Add(max(roundPause, q.gathering.delay))
	}
	return events
}

// announceOwn raises MODIFY again for values that were written here: the kernel has raised it early, when the old value was
// still the committed one, and CLOSE_WRITE at the right time.
func (c *Cache) announceOwn(events []*event) {
	if len(events) == 0 || !c.Raises(Modify) {
		return
	}
	ops := make([]poke.Op, 0, len(events))
	of := make([]*event, 0, len(events))
	for _, e := range events {
		if c.Knows(e.ID, e.Parent) {
			c.cached(e.ID)
			ops, of = append(ops, poke.Op{Kind: poke.Modify, Path: e.at(), MTime: time.Unix(0, e.MTime)}), append(of, e)
		}
	}
	if len(ops) == 0 {
		return
	}
	poker := c.threads.Load().poker
	for i, err := range poker.DoAll(ops) {
		c.pages.GoesOn(of[i].ID, poker.TID())
		if errors.Is(err, syscall.ENOENT) {
			c.touch(of[i].ID, ops[i:i+1])
			continue
		}
		c.report(ops[i], err)
		if of[i].memory {
			c.announced(of[i].ID, of[i].Parent)
		}
	}
}
