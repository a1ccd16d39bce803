package core

import (
	"fmt"
	"runtime/debug"

	"github.com/commy-project/commyfs/model"
)

// Report hands a report to the committer. Its outcome is delivered. What it needs is loaded here. An error means that nothing
// of the session is carried out any more.
func (s *Session) Report(t Ticket, r *model.Report) error {
	held, err := s.HandIn(t, r)
	if held != nil {
		held.Load(func(_ uint64, load func()) { load() })
	}
	s.HurryUp()
	return err
}

// HurryUp has the committer begin with what was handed in.
func (s *Session) HurryUp() { s.core.queue.signal() }

// Settle has what was handed in carried out: by the caller, if that is little and the committer has nothing else to do, after
// calling begin, or by the committer. Its own outcome and changes are not announced to a session that has carried out its
// reports itself: it has to look for them. The engine may take long.
func (s *Session) Settle(begin func()) (here bool) {
	q := s.core.queue
	items := q.takeOwn(&s.line)
	if len(items) == 0 {
		return false
	}
	defer dieOfPanic()
	begin()
	q.back(s.core.commit(items, s))
	q.done()
	return true
}

// dieOfPanic ends the process if the caller panics, as the committer's panics do: whoever recovers from one, as net/http does,
// would go on with a server that stores nothing any more.
func dieOfPanic() {
	if p := recover(); p != nil {
		stack := debug.Stack()
		go func() { panic(fmt.Sprintf("%v\n%s", p, stack)) }()
		select {}
	}
}

// HandIn is Report that leaves the rest to Settle, or to HurryUp. If it returns a report, that waits for [Held.Load], which may
// take long. What comes after it waits only if it concerns the same.
func (s *Session) HandIn(t Ticket, r *model.Report) (*Held, error) {
	it := item{Ticket: t, session: s, report: r, size: sizeOf(r)}
	r.Each = r.Each && it.reports() <= maxChanges // else it is refused
	s.feed.expect(r.Seq, it.reports())
	load, pack := s.needs(r)
	h, held := s.hold(it, load, pack)
	if !held && !s.core.queue.push(it) {
		s.feed.unexpect(r.Seq, it.reports())
		return nil, model.ErrUnavailable
	}
	return h, nil
}

// sizeOf is about how many bytes a report has the engine store.
func sizeOf(r *model.Report) int {
	size := 0
	for i := range r.Changes {
		ch := &r.Changes[i]
		size += len(ch.Data) + len(ch.Name) + len(ch.ToName) + entryCost
		for _, g := range ch.Ranges {
			size += len(g.Data) + rangeCost
		}
	}
	return size
}

// Goodbye forgets the client, when all that it has asked for before is carried out, and then calls done. What comes after it
// is refused: there is nobody to keep the answers for.
func (s *Session) Goodbye(done func()) error {
	it := item{session: s, do: func() { s.goodbye(); done() }}
	if _, held := s.hold(it, nil, nil); held {
		return nil
	}
	if !s.core.queue.push(it) {
		return model.ErrUnavailable
	}
	s.core.queue.signal()
	return nil
}

func (s *Session) goodbye() {
	srv := s.core
	srv.queue.fence(&s.line)
	srv.mu.Lock()
	mine := srv.clients[s.client.id] == s.client && s.client.line == &s.line
	if mine {
		delete(srv.clients, s.client.id)
	}
	srv.mu.Unlock()
	if mine {
		srv.locking.goodbye(s.client.id)
		srv.forget(s.client)
		srv.forgetResults()
	}
}
