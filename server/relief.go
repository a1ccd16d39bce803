package server

import (
	"sync"
	"sync/atomic"
	"time"
)

// relief sees to it that a session is read from although the goroutine that reads carries out a report of it, if that takes
// long: the engine may hang, and the client's other requests and signs of life must not wait for it. One session at a time
// does so. Looking after it costs a timer that runs only while there is something to look after.
type relief struct {
	turns   atomic.Uint64
	current atomic.Pointer[session] // whose turn was begun last
	armed   atomic.Bool
	begun   func() // tests have an engine that hangs

	// mu is held by who looks, and guards the following.
	mu    sync.Mutex
	timer *time.Timer
	seen  uint64 // the turn that was under way when it was looked last
	last  uint64
}

// reliefAfter is between one and two of these.
const reliefAfter = 2 * time.Millisecond

// begin notes that a session carries out a report from now on. The turn is over when settles is not n any more: set to 0 by
// the one who reads, or by who relieves it.
func (r *relief) begin(s *session) (n uint64) {
	n = r.turns.Add(1)
	s.settles.Store(n)
	r.current.Store(s)
	r.arm()
	if r.begun != nil {
		r.begun()
	}
	return n
}

func (r *relief) arm() {
	if r.armed.Load() || !r.armed.CompareAndSwap(false, true) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.timer == nil {
		r.timer = time.AfterFunc(reliefAfter, r.look)
	} else {
		r.timer.Reset(reliefAfter)
	}
}

// look relieves who has carried out one report since the last time.
func (r *relief) look() {
	r.mu.Lock()
	turns, s := r.turns.Load(), r.current.Load()
	n := s.settles.Load()
	if n != 0 && n == r.seen && s.settles.CompareAndSwap(n, 0) {
		s.out.loud() // who reads now may have nothing to read for long
		s.wg.Go(func() { s.readLoop(nil) })
		n = 0
	}
	r.seen = n
	rest := n == 0 && turns == r.last
	r.last = turns
	if !rest {
		r.timer.Reset(reliefAfter)
		r.mu.Unlock()
		return
	}
	r.mu.Unlock()
	r.armed.Store(false)
	if r.turns.Load() != turns {
		r.arm()
	}
}
