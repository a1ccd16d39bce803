package core

import (
	"cmp"
	"fmt"
	"runtime/debug"

	"github.com/commy-project/commyfs/model"
)

// Report hands a report to the committer. Its outcome is delivered. What it needs is loaded here, where only this session
// waits. An error means that nothing of the session is carried out any more.
func (s *Session) Report(t Ticket, r *model.Report) error {
	err := s.HandIn(t, r)
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

// HandIn is Report that leaves the rest to Settle, or to HurryUp.
func (s *Session) HandIn(t Ticket, r *model.Report) error {
	srv := s.core
	for i := range r.Changes {
		c := &r.Changes[i]
		for _, svc := range s.homes(c.ID, c.In) {
			s.feed.ready()             // nothing else is to wait for it
			_ = srv.load(srv.ctx, svc) // the committer meets the error again
		}
		for _, k := range []serviceKey{{c.Tenant, c.Service}, {cmp.Or(c.ToTenant, c.Tenant), c.ToService}} {
			if k.name == "" || s.auth.NeedToChange(s.Principal, k.tenant) != nil {
				continue
			}
			if svc := srv.view.lookup(k.tenant, k.name); svc != nil {
				if svc.content.Load() == nil {
					s.feed.ready()
				}
				_ = srv.load(srv.ctx, svc)
			}
		}
	}
	it := item{Ticket: t, session: s, report: r, size: sizeOf(r)}
	r.Each = r.Each && it.reports() <= maxChanges // else it is refused
	s.feed.expect(r.Seq, it.reports())
	if !srv.queue.push(it) {
		s.feed.unexpect(r.Seq, it.reports())
		return model.ErrUnavailable
	}
	return nil
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
	if !s.core.queue.push(item{session: s, do: func() { s.goodbye(); done() }}) {
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
		srv.forget(s.client)
		srv.forgetResults()
	}
}
