package server

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/server/core"
	"github.com/commy-project/commyfs/transport"
)

// writeLoop sends what there is to tell the client, until the outbox is closed or the connection is over.
func (s *session) writeLoop() {
	defer func() {
		if p := recover(); p != nil {
			s.server.log.Error("panic", "panic", p, "stack", string(debug.Stack()))
			s.conn.Fail(fmt.Errorf("panic: %v", p))
		}
	}()
	p := &parcel{session: s}
	for {
		// What the replies can know of is told before them.
		replies, last, closed := s.out.take()
		if closed {
			return
		}
		told, err := s.Deliver(p)
		if err == nil {
			err = p.reply(replies)
		}
		if err != nil {
			s.over(err)
			return
		}
		switch {
		case told || len(replies) > 0:
		case last:
			return
		default:
			select {
			case <-s.out.wake:
			case <-s.conn.Done():
				return
			}
		}
	}
}

// over ends the session, with a word if there is something to tell.
func (s *session) over(reason error) {
	if told, ok := reason.(*model.Error); ok {
		s.conn.CloseWith(told)
	} else {
		s.conn.Fail(reason)
	}
}

// parcel is a [core.Receiver] that sends what it gets as messages: [core.PageBytes] at a time, which a client will take before
// long, or one message.
type parcel struct {
	*session
	envs    []transport.Envelope
	size    int
	answers int // requests that are answered by it
	err     error
}

func (p *parcel) add(id uint64, m transport.Message) {
	size := m.Msgsize()
	if p.size > 0 && p.size+size > core.PageBytes {
		_ = p.Flush()
	}
	p.envs = append(p.envs, transport.Envelope{ID: id, Message: m})
	p.size += size
}

// Flush sends what was added. What it takes in encoded form is the client's until it has taken it.
func (p *parcel) Flush() error {
	if len(p.envs) > 0 && p.err == nil {
		if p.err = p.sending.Take(p.size); p.err == nil {
			p.sendingSince.Store(time.Now().UnixNano())
			p.err = p.conn.Send(p.envs...)
			p.sendingSince.Store(0)
			p.sending.Give(p.size)
		}
	}
	p.out.answered(p.answers)
	clear(p.envs)
	p.envs, p.size, p.answers = p.envs[:0], 0, 0
	return p.err
}

// reply sends replies.
func (p *parcel) reply(list []reply) error {
	cost := 0
	for _, r := range list {
		m := r.message
		if r.make != nil {
			m = r.make()
		}
		p.add(r.id, m)
		if cost += r.cost; !r.part {
			p.answers++
		}
	}
	err := p.Flush()
	p.Memory.Give(cost)
	for _, r := range list {
		if r.after != nil && err == nil {
			r.after()
		}
	}
	return err
}

// TreeChanges is a push.
func (p *parcel) TreeChanges(m *model.TreeChanges) { p.add(0, (*transport.TreeChanged)(m)) }

// MemoryFile is a push.
func (p *parcel) MemoryFile(service uint64, f model.MemoryFile) {
	p.add(0, &transport.ServiceFileRotated{Service: service, Path: f.Path, Generation: f.Generation})
}

// Changes is a push.
func (p *parcel) Changes(m *model.Changes) { p.add(0, (*transport.VariableChanged)(m)) }

// Shared is a push that is encoded once for all who get it.
func (p *parcel) Shared(m *core.Shared) {
	encoded := m.Form(func(c *model.Changes) any {
		e, err := transport.Encode((*transport.VariableChanged)(c))
		if err != nil {
			return err
		}
		return e
	})
	switch e := encoded.(type) {
	case *transport.Encoded:
		p.add(0, e)
	case error:
		p.err = errors.Join(p.err, e)
	}
}

// Outcome answers a report.
func (p *parcel) Outcome(request uint64, m *model.Outcome) {
	p.answer(request, (*transport.VariableChangesAcknowledged)(m), false)
}

// Tree answers a watch of the tree.
func (p *parcel) Tree(request uint64, m *model.TreePage) {
	p.answer(request, (*transport.Tree)(m), m.More)
}

// Snapshot answers a watch, or is a push.
func (p *parcel) Snapshot(request uint64, m *model.Snapshot) {
	p.answer(request, (*transport.Snapshot)(m), m.More)
}

func (p *parcel) answer(request uint64, m transport.Message, more bool) {
	p.add(request, m)
	if request != 0 && !more {
		p.answers++
	}
}
