package server

import (
	"sync"

	"github.com/commy-project/commyfs/transport"
)

// maxUnanswered bounds the requests of a session that have not been answered. Beyond it the session is not read from. The
// memory that they take is bounded by the session's budget.
const maxUnanswered = 1024

// outbox is what a session's client is sent beside what the feed has: the answers to all requests but reports and watches.
type outbox struct {
	wake chan struct{}

	// mu guards the following.
	mu     sync.Mutex
	room   sync.Cond // waits for answered requests
	closed bool
	// finishing: closed once everything was sent.
	finishing bool
	replies   []reply
	// hushed: who reads tells what the replies are when it has read all there is; the writer is not woken for them.
	hushed bool

	unanswered int
}

// reply is the answer to a request, or a part of it.
type reply struct {
	id      uint64
	message transport.Message
	make    func() transport.Message // called when it is about to be sent, in place of message
	part    bool                     // there is more to come
	cost    int                      // what it has of the session's memory
	after   func()                   // called when it was sent
}

// replyCost is about what a reply takes.
const replyCost = 256

func newOutbox() *outbox {
	o := &outbox{wake: make(chan struct{}, 1)}
	o.room.L = &o.mu
	return o
}

func (o *outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// close drops what waits; nothing is queued any more.
func (o *outbox) close() {
	o.mu.Lock()
	o.closed = true
	o.replies = nil
	o.mu.Unlock()
	o.room.Broadcast()
	o.signal()
}

// finish lets the writer end when it has sent what there is.
func (o *outbox) finish() {
	o.mu.Lock()
	o.finishing = true
	o.mu.Unlock()
	o.signal()
}

// admit counts a request and waits while too many are unanswered. false: the outbox is closed.
// What is to be done about it before is wait's.
func (o *outbox) admit(wait func()) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for !o.closed && o.unanswered >= maxUnanswered {
		o.hushed = false
		o.signal()
		wait()
		o.room.Wait()
	}
	o.unanswered++
	return !o.closed
}

// answered takes n requests off the count.
func (o *outbox) answered(n int) {
	if n == 0 {
		return
	}
	o.mu.Lock()
	o.unanswered -= n
	o.mu.Unlock()
	o.room.Signal()
}

func (o *outbox) reply(r reply) {
	o.mu.Lock()
	if !o.closed {
		o.replies = append(o.replies, r)
	}
	hushed := o.hushed
	o.mu.Unlock()
	if !hushed {
		o.signal()
	}
}

// hush has replies wait for told.
func (o *outbox) hush() {
	o.mu.Lock()
	o.hushed = true
	o.mu.Unlock()
}

// loud is the end of hush: the writer is woken for what there is.
func (o *outbox) loud() {
	o.mu.Lock()
	o.hushed = false
	o.mu.Unlock()
	o.signal()
}

// takeHushed is the end of hush too, and hands over the replies to who tells them itself. ok: there will be more, and this is
// not left to the writer.
func (o *outbox) takeHushed() (list []reply, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.hushed = false
	if o.closed || o.finishing {
		return nil, false
	}
	list, o.replies = o.replies, nil
	return list, true
}

// back puts replies before all others.
func (o *outbox) back(list []reply) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.replies = append(list, o.replies...)
	}
}

// take hands over the replies. last: there will be no more, and what the feed has is all that is still to be sent.
func (o *outbox) take() (list []reply, last, closed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	list, o.replies = o.replies, nil
	return list, o.finishing, o.closed
}
