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
	defer s.recovered()
	for {
		switch what, err := s.tell(); {
		case err != nil:
			s.over(err)
			return
		case what == toldAll:
			return
		case what == toldNone:
			select {
			case <-s.out.wake:
			case <-s.conn.Done():
				return
			}
		}
	}
}

// recovered ends the session, and not the server, after a panic.
func (s *session) recovered() {
	if p := recover(); p != nil {
		s.server.log.Error("panic", "panic", p, "stack", string(debug.Stack()))
		s.conn.Fail(fmt.Errorf("panic: %v", p))
	}
}

// What tell has found.
type state int

const (
	toldSome state = iota // there was something to tell
	toldNone              // there was nothing
	toldAll               // there will be nothing
)

// tell tells the client what there is, and waits until it was sent.
func (s *session) tell() (state, error) {
	s.speaking.Lock()
	defer s.speaking.Unlock()
	p := &s.parcel
	if err := p.sendLeft(); err != nil {
		return toldAll, err
	}
	// What the replies can know of is told before them.
	replies, last, closed := s.out.take()
	if closed {
		return toldAll, nil
	}
	told, err := s.Deliver(p)
	if err == nil {
		err = p.reply(replies)
	}
	switch {
	case err != nil:
		return toldAll, err
	case told || len(replies) > 0:
		return toldSome, nil
	case last:
		return toldAll, nil
	}
	return toldNone, nil
}

// Bounds of what is told without waiting.
const (
	nowFeed    = 32 << 10
	nowReplies = 32 << 10
)

// tellNow tells the client what there is, as long as that is little and takes no waiting, without a change of goroutines. The
// rest is left to the writer. Who reads calls it: a client that takes nothing holds it up no more than one that does.
func (s *session) tellNow() {
	defer s.recovered()
	if !s.speaking.TryLock() {
		s.out.loud()
		return
	}
	left, err := s.speakNow()
	if err != nil {
		s.over(err)
	} else if left {
		s.out.signal()
	}
}

// speakNow lets others speak again also after a panic: the writer is waited for.
func (s *session) speakNow() (left bool, err error) {
	defer s.speaking.Unlock()
	return s.parcel.now()
}

// now does what tellNow does. left: there is something for the writer to do.
func (p *parcel) now() (left bool, err error) {
	if p.left > 0 || !p.conn.Direct() {
		p.out.loud()
		return false, nil
	}
	replies, ok := p.out.takeHushed()
	if !ok {
		return true, nil
	}
	some, little := p.Little(nowFeed)
	switch {
	case !some && len(replies) == 0:
		return false, nil
	case !little || !p.sending.Try(nowFeed+nowReplies):
		p.out.back(replies)
		return true, nil
	}
	p.dontWait = true
	defer func() {
		p.dontWait = false
		if p.left == 0 {
			p.sending.Give(nowFeed + nowReplies)
		}
	}()
	// What the replies can know of is told before them.
	if some {
		little, err := p.DeliverLittle(p, nowFeed)
		if err != nil {
			return false, err
		} else if !little { // by now there is more
			p.out.back(replies)
			return true, nil
		}
	}
	n, size := 0, 0
	for ; n < len(replies); n++ {
		r := &replies[n]
		if r.make != nil {
			r.message, r.make = r.make(), nil
		}
		if size += r.message.Msgsize(); size > nowReplies {
			p.out.back(replies[n:])
			left = true
			break
		}
	}
	err = p.reply(replies[:n])
	return left || p.left > 0, err
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

	dontWait bool // what the client does not take at once is left
	left     int  // what the rest has of the memory for what is being sent
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
	switch {
	case len(p.envs) == 0 || p.err != nil:
	case p.dontWait:
		var left bool
		if left, p.err = p.conn.SendNow(p.envs...); left && p.left == 0 {
			p.left = nowFeed + nowReplies
			p.sendingSince.Store(time.Now().UnixNano())
		}
	default:
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

// sendLeft sends what was left, and waits for the client to take it.
func (p *parcel) sendLeft() error {
	if p.left == 0 {
		return nil
	}
	err := p.conn.Flush()
	p.sendingSince.Store(0)
	p.sending.Give(p.left)
	p.left = 0
	return err
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

// MemoryStored is a push.
func (p *parcel) MemoryStored(service uint64) {
	p.add(0, &transport.ServiceFileRotated{Service: service, Stored: true})
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
