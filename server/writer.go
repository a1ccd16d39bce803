package server

import (
	"fmt"
	"runtime/debug"
	"time"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/server/access"
	"github.com/commy-project/commyfs/transport"
)

// maxStep bounds the values of one VariableChanged. What is more goes as pages of a resumed snapshot, which the client
// applies as one step too.
const maxStep = 8 << 20

// writeLoop sends what the outbox has, until it is closed or the connection is over.
func (s *session) writeLoop() {
	defer func() {
		if p := recover(); p != nil {
			s.server.log.Error("panic", "panic", p, "stack", string(debug.Stack()))
			s.conn.Fail(fmt.Errorf("panic: %v", p))
		}
	}()
	for {
		l, closed := s.out.take()
		if closed {
			return
		}
		if s.auth.Check(s.principal) != nil {
			s.conn.CloseWith(access.ErrRevoked)
			return
		}
		if l.empty() {
			select {
			case <-s.out.wake:
			case <-s.conn.Done():
				return
			}
			continue
		}
		if err := s.send(l); err != nil {
			s.conn.Fail(err)
			return
		}
	}
}

// parcel is what is encoded and sent at a time: no more than a client will take before long, or one message.
const parcelBytes = 256 << 10

type parcel struct {
	*session
	envs []transport.Envelope
	size int
	// answers and what they, and pushes, have of the session's memory
	answers int
	cost    int
	err     error
}

func (p *parcel) add(id uint64, m transport.Message) {
	size := m.Msgsize()
	if p.size > 0 && p.size+size > parcelBytes {
		p.send()
	}
	p.envs = append(p.envs, transport.Envelope{ID: id, Message: m})
	p.size += size
}

// send sends what was added. What it takes in encoded form is the client's until it has taken it.
func (p *parcel) send() {
	if len(p.envs) > 0 && p.err == nil {
		if p.err = p.sending.Take(p.size); p.err == nil {
			p.sendingSince.Store(time.Now().UnixNano())
			p.err = p.conn.Send(p.envs...)
			p.sendingSince.Store(0)
			p.sending.Give(p.size)
		}
	}
	p.out.answered(p.answers, p.cost)
	clear(p.envs)
	p.envs, p.size, p.answers, p.cost = p.envs[:0], 0, 0, 0
}

// send sends one load, pushes first.
func (s *session) send(l load) error {
	p := &parcel{session: s, cost: l.held}
	for _, m := range l.pushes {
		p.add(0, m)
	}
	for _, f := range l.flushes {
		f.messages(p)
		p.cost += f.held
	}
	for _, r := range l.replies {
		m := r.message
		if r.make != nil {
			m = r.make()
		}
		p.add(r.id, m)
		p.answers++
		p.cost += r.cost
	}
	more := true
	if l.stream != nil {
		var m transport.Message
		m, more = l.stream.next()
		p.add(l.stream.id, m)
		if !more && l.stream.id != 0 && !l.stream.part {
			p.answers++
			p.cost += l.stream.cost
		}
	}
	if p.send(); p.err != nil {
		return p.err
	}
	if !more {
		s.out.ended(l.stream)
	}
	for _, r := range l.replies {
		if r.after != nil {
			r.after()
		}
	}
	for _, w := range l.lost {
		s.resync(w)
	}
	return nil
}

// messages sends the flush as one step.
func (f *flush) messages(p *parcel) {
	rev := f.list[len(f.list)-1].ev.rev
	if len(f.list) > 1 && f.size() > maxStep {
		pages := &snapshot{service: f.watch.service.id, resumed: true, values: f.watch.values, rev: rev, changes: f.list}
		for more := true; more && p.err == nil; {
			var m transport.Message
			m, more = pages.next()
			p.add(0, m)
		}
		return
	}
	m := &transport.VariableChanged{Service: f.watch.service.id, Rev: rev, Changes: make([]model.Event, len(f.list))}
	for i := range f.list {
		m.Changes[i] = f.list[i].message(f.watch.values)
	}
	p.add(0, m)
}

// size is at most about what the flush takes as a message.
func (f *flush) size() int {
	size := len(f.list) * eventCost
	for i := range f.list {
		ev := f.list[i].ev
		size += len(ev.name) + len(ev.oldName)
		if f.watch.values && ev.v != nil {
			size += len(ev.v.data)
		}
	}
	return size
}

// resync starts a watch anew that could not keep up.
func (s *session) resync(w *watch) {
	v := s.server.view
	v.mu.RLock()
	if w.service.content.Load() == nil {
		v.mu.RUnlock()
		return // the watch has ended
	}
	snap := v.snapshotLocked(w.service, w.values)
	s.out.mu.Lock()
	w.drop()
	w.lost = false
	w.live = false
	if !s.out.closed && s.out.watches[w.service.id] == w {
		s.out.streams = append(s.out.streams, &stream{next: snap.next, watch: w})
	}
	s.out.mu.Unlock()
	v.mu.RUnlock()
	s.out.signal()
}
