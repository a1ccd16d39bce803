package core

import (
	"maps"
	"slices"
	"time"

	"github.com/commy-project/commyfs/engine"
	"github.com/commy-project/commyfs/model"
)

// The answers to a client's reports in a batch are stored with their changes, in one record under a key of its own: the
// client's, and a slot. The slot of a record whose answers the client has is given to a later one, so a client that waits for
// its answers takes one key, and a batch writes no more than the answers to its own reports.
//
// A client that never says what it has loses the oldest answers. What it asks for again then is refused with ErrForgotten,
// and never carried out a second time.

// answer is what an accepted report got.
type answer struct {
	rev     int64
	results []model.Result
	in      *answerRecord
	bytes   int // about what it takes, in memory or in the store
	time    int64
}

// answerRecord is where the answers of a batch to one client are stored.
type answerRecord struct {
	slot  uint64
	bytes int
	left  int // answers in it that are kept
}

// Bounds of the answers that are kept.
const (
	maxResults     = 4096     // of one client
	maxResultBytes = 4 << 20  // the same in bytes
	maxAnswers     = 64 << 20 // bytes of all clients together
	answerCost     = 128
	// Free slots keep what was in them in the store. More and larger ones than these are deleted.
	maxFree      = 16
	maxFreeBytes = 4 << 10
	maxStale     = 500 // deletions that go with a batch
)

// take takes an answer away from a client. It leaves the slot to the caller.
func (c *client) take(seq uint64, a answer) {
	delete(c.results, seq)
	c.bytes -= a.bytes
}

// slot is the one for the next record.
func (c *client) slot() uint64 {
	if n := len(c.free); n > 0 {
		return c.free[n-1]
	}
	return c.high
}

// keep keeps an answer. The first of a record takes the slot.
func (c *client) keep(seq uint64, a answer) {
	if a.in == nil {
		a.in = &answerRecord{bytes: a.bytes}
	}
	if a.in.left == 0 {
		if a.in.slot = c.slot(); len(c.free) > 0 {
			c.free = c.free[:len(c.free)-1]
		} else {
			c.high++
		}
	}
	a.in.left++
	c.results[seq] = a
	c.bytes += a.bytes
}

// release frees the slot of an answer that was taken away, if it was the last of its record.
func (s *Core) release(c *client, a answer) {
	s.answers -= a.bytes
	if a.in.left--; a.in.left > 0 {
		return
	}
	if a.in.bytes <= maxFreeBytes && len(c.free) < maxFree {
		c.free = append(c.free, a.in.slot)
	} else {
		s.stale = append(s.stale, engine.DeleteResult(c.id, a.in.slot))
	}
}

// advance forgets answers that the client has.
func (s *Core) advance(c *client, acked uint64) {
	if acked <= c.acked {
		return
	}
	from := c.acked
	c.acked = acked
	if acked-from <= uint64(len(c.results)) {
		for seq := from; seq < acked; seq++ {
			if a, ok := c.results[seq]; ok {
				c.take(seq, a)
				s.release(c, a)
			}
		}
		return
	}
	for seq, a := range c.results {
		if seq < acked {
			c.take(seq, a)
			s.release(c, a)
		}
	}
}

// lose forgets the oldest n answers to a client, which may ask for them. A mark in the store says so, from before they are
// deleted on.
func (s *Core) lose(c *client, n int) {
	if n > 0 {
		s.marks[c], c.marked = struct{}{}, true
	}
	for _, seq := range slices.Sorted(maps.Keys(c.results))[:n] {
		a := c.results[seq]
		c.lost = max(c.lost, seq)
		c.take(seq, a)
		s.release(c, a)
	}
}

// bound keeps the answers within their bounds after some came to a client.
func (s *Core) bound(c *client) {
	for len(c.results) > maxResults || c.bytes > maxResultBytes {
		s.lose(c, (len(c.results)+3)/4)
	}
	for s.answers > maxAnswers {
		var most *client
		s.mu.Lock()
		for _, cl := range s.clients {
			if most == nil || cl.bytes > most.bytes {
				most = cl
			}
		}
		s.mu.Unlock()
		if most == nil || len(most.results) == 0 {
			return
		}
		s.lose(most, (len(most.results)+1)/2)
	}
}

// forgetResults forgets answers that nobody has asked for in a long time, and deletes what is of no more use.
func (s *Core) forgetResults() {
	if time.Since(s.looked) > forgetAfter/10 {
		s.looked = time.Now()
		s.mu.Lock()
		all := slices.Collect(maps.Values(s.clients))
		s.mu.Unlock()
		before := time.Now().Add(-forgetAfter).UnixNano()
		for _, c := range all {
			n := 0
			for _, a := range c.results {
				if a.time < before {
					n++
				}
			}
			s.lose(c, n)
		}
		if len(s.legacy) > 0 && time.Since(s.up) > forgetAfter {
			for id := range s.legacy {
				s.stale = append(s.stale, engine.DeleteClient(id))
			}
			s.mu.Lock()
			s.legacy = nil
			s.mu.Unlock()
		}
	}
	for len(s.stale)+len(s.marks) > 0 || s.early {
		ops, stored := s.leftovers(engine.MaxOps / 4)
		if _, err := s.engine.CommitFreeing(s.ctx, ops); err != nil {
			s.log.Warn("forget clients", "err", err)
			return
		}
		stored()
	}
	s.stale = nil
}

// leftovers are marks, and a number of deletions, that a batch can take with it; stored is to be called when it has.
func (s *Core) leftovers(most int) (ops []engine.Op, stored func()) {
	stale := s.stale[:min(len(s.stale), most)]
	ops = slices.Clone(stale)
	marked := slices.Collect(maps.Keys(s.marks))
	if len(marked) > most {
		ops, stale, marked = nil, nil, marked[:most] // marks come first
	}
	for _, c := range marked {
		ops = append(ops, engine.PutResult(engine.Result{Client: c.id, Slot: c.mark, Data: c.encode(0, numbered{})}))
	}
	if s.early {
		ops = append(ops, engine.PutForgot(s.forgot.UnixNano()))
	}
	return ops, func() {
		s.early = false
		s.stale = s.stale[len(stale):]
		for _, c := range marked {
			delete(s.marks, c)
		}
	}
}

// forgotten reports whether what became of a report may have been forgotten.
func (s *Core) forgotten(c *client, r *model.Report) bool {
	if r.Seq <= c.lost {
		return true
	}
	if r.Age <= 0 {
		return false
	}
	first := time.Now().Add(-time.Duration(r.Age))
	if (c.damaged || s.unknown) && first.Before(s.up) {
		return true
	}
	if c.born.IsZero() {
		return false
	}
	// The server has come to know the client after the report was sent first: for the first time, or again.
	s.mu.Lock()
	defer s.mu.Unlock()
	return first.Before(c.born) && (time.Duration(r.Age) > forgetAfter/2 || !first.After(s.forgot))
}
