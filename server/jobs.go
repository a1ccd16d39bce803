package server

import "sync"

// jobs are what a session has done on other goroutines, because it may take long: services to be loaded, a few at a time,
// and listings, one after the other.
type jobs struct {
	// mu guards the following.
	mu     sync.Mutex
	aside  lane
	inTurn lane
}

// lane is jobs that wait for one of a number of goroutines, which end when there is nothing left to do.
type lane struct {
	wait    []func()
	running int
}

// maxAside is how many services are loaded at a time for one session.
const maxAside = 8

// aside has fn run on another goroutine.
func (r request) aside(fn func()) { r.run(&r.jobs.aside, maxAside, fn) }

// inTurn has fn run on another goroutine when all that came before it have returned.
func (r request) inTurn(fn func()) { r.run(&r.jobs.inTurn, 1, fn) }

func (r request) run(l *lane, most int, fn func()) {
	r.jobs.mu.Lock()
	defer r.jobs.mu.Unlock()
	l.wait = append(l.wait, func() { r.guard(fn) })
	if l.running == most {
		return
	}
	l.running++
	r.wg.Go(func() {
		for {
			r.jobs.mu.Lock()
			if len(l.wait) == 0 || r.conn.Err() != nil {
				l.running, l.wait = l.running-1, nil
				r.jobs.mu.Unlock()
				return
			}
			next := l.wait[0]
			l.wait = l.wait[1:]
			r.jobs.mu.Unlock()
			next()
		}
	})
}
