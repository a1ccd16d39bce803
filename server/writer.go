package server

import (
	"github.com/commy-project/commyfs/transport"
)

// maxStep bounds the values of one VariableChanged. What is more goes as pages of a resumed snapshot, which the client
// applies as one step too.
const maxStep = 8 << 20

// writeLoop sends what the outbox has, until it is closed or the connection is over.
func (s *session) writeLoop() {
	for {
		l, closed := s.out.take()
		if closed {
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

// send sends one load, pushes first.
func (s *session) send(l load) error {
	var envs []transport.Envelope
	for _, m := range l.pushes {
		envs = append(envs, transport.Envelope{Message: m})
	}
	for _, f := range l.flushes {
		envs = f.messages(envs)
	}
	count, size := 0, 0
	for _, r := range l.replies {
		envs = append(envs, transport.Envelope{ID: r.id, Message: r.message})
		count++
		size += r.size
	}
	more := true
	if l.stream != nil {
		var m transport.Message
		m, more = l.stream.next()
		envs = append(envs, transport.Envelope{ID: l.stream.id, Message: m})
	}
	if len(envs) > 0 {
		if err := s.conn.Send(envs...); err != nil {
			return err
		}
	}
	if !more {
		if l.stream.id != 0 && !l.stream.part {
			count++
			size += l.stream.size
		}
		s.out.ended(l.stream)
	}
	s.out.answered(count, size)
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

// messages appends the flush as one step.
func (f *flush) messages(envs []transport.Envelope) []transport.Envelope {
	rev := f.list[len(f.list)-1].ev.rev
	if len(f.list) > 1 && f.size() > maxStep {
		pages := &snapshot{service: f.watch.service.id, resumed: true, values: f.watch.values, rev: rev, changes: f.list}
		for more := true; more; {
			var m transport.Message
			m, more = pages.next()
			envs = append(envs, transport.Envelope{Message: m})
		}
		return envs
	}
	m := &transport.VariableChanged{Service: f.watch.service.id, Rev: rev, Changes: make([]transport.Event, len(f.list))}
	for i := range f.list {
		m.Changes[i] = f.list[i].message(f.watch.values)
	}
	return append(envs, transport.Envelope{Message: m})
}

// size is at most about what the flush takes as a message.
func (f *flush) size() int {
	size := len(f.list) * eventCost
	if f.watch.values {
		size += f.bytes
	}
	for i := range f.list {
		ev := f.list[i].ev
		size += len(ev.name) + len(ev.oldName)
	}
	return size
}

// resync starts a watch anew that could not keep up.
func (s *session) resync(w *watch) {
	v := s.server.view
	v.mu.RLock()
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
