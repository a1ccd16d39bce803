package server

import (
	"slices"
	"sync"

	"github.com/commy-project/commyfs/transport"
)

// Bounds of what a session may have asked for and not been answered. Beyond them it is not read from.
const (
	maxUnanswered      = 1024
	maxUnansweredBytes = 64 << 20
)

// outbox is a session's one ordered outgoing stream. What waits is taken all at once and the pushes go first, so that a
// client has been sent every change up to an acknowledgement's revision before the acknowledgement.
type outbox struct {
	wake chan struct{}

	// mu guards the following.
	mu     sync.Mutex
	room   sync.Cond // waits for answered requests
	closed bool
	// finishing: closed once everything was sent.
	finishing bool
	replies   []reply
	streams   []*stream
	pushes    []transport.Message
	tree      *treeWatch // nil: not asked for
	watches   map[uint64]*watch
	dirty     []*watch // those with something to send, in the order in which they got it

	unanswered      int
	unansweredBytes int
}

// reply is the answer to a request. It waits for the snapshots of what it tells of.
type reply struct {
	id       uint64
	message  transport.Message
	services []*service
	tree     bool
	size     int    // of the request
	after    func() // called when it was sent
}

// stream is an answer of several messages. Those that start a watch have id 0 if the server sends them by itself.
type stream struct {
	id   uint64
	size int
	next func() (m transport.Message, more bool)
	part bool // the answer goes on with another stream
	// watch or tree goes live after the last page.
	watch *watch
	tree  *treeWatch
}

// treeWatch is a session's view of the tenants and services.
type treeWatch struct {
	live    bool
	changes []transport.TreeChange
	rev     int64
}

func newOutbox() *outbox {
	o := &outbox{wake: make(chan struct{}, 1), watches: map[uint64]*watch{}}
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
	o.replies, o.streams, o.pushes, o.dirty = nil, nil, nil, nil
	o.tree = nil
	o.mu.Unlock()
	o.room.Broadcast()
	o.signal()
}

// admit counts a request of so many bytes and waits while too many are unanswered. false: the outbox is closed.
func (o *outbox) admit(size int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for !o.closed && (o.unanswered >= maxUnanswered || o.unanswered > 0 && o.unansweredBytes+size > maxUnansweredBytes) {
		o.room.Wait()
	}
	o.unanswered++
	o.unansweredBytes += size
	return !o.closed
}

// answered takes requests off the count.
func (o *outbox) answered(n, size int) {
	if n == 0 {
		return
	}
	o.mu.Lock()
	o.unanswered -= n
	o.unansweredBytes -= size
	o.mu.Unlock()
	o.room.Signal()
}

// reply queues an answer without waking the writer.
func (o *outbox) reply(r reply) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.replies = append(o.replies, r)
	}
}

// push queues a message that no watch is behind, without waking the writer.
func (o *outbox) push(m transport.Message) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.pushes = append(o.pushes, m)
	}
}

// stream queues an answer of several messages.
func (o *outbox) stream(s *stream) {
	o.mu.Lock()
	if !o.closed {
		o.streams = append(o.streams, s)
	}
	o.mu.Unlock()
	o.signal()
}

// events queues events for a watch, without waking the writer.
func (o *outbox) events(w *watch, list []*event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.watches[w.service.id] != w {
		return
	}
	clean := len(w.pending) == 0 && !w.lost
	for _, ev := range list {
		w.add(ev)
	}
	if clean {
		o.dirty = append(o.dirty, w)
	}
}

// changes queues changes of the tree, without waking the writer. false: the watcher takes nothing.
func (o *outbox) changes(rev int64, list []transport.TreeChange) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.tree == nil {
		return true
	}
	o.tree.changes = append(o.tree.changes, list...)
	o.tree.rev = rev
	return len(o.tree.changes) <= maxStructural
}

// load is what the writer sends next.
type load struct {
	pushes  []transport.Message
	flushes []flush
	lost    []*watch
	replies []reply
	stream  *stream
}

// flush is what one watch has to send, as one step.
type flush struct {
	watch *watch
	list  []pending
	bytes int
}

func (l *load) empty() bool {
	return len(l.pushes) == 0 && len(l.flushes) == 0 && len(l.lost) == 0 && len(l.replies) == 0 && l.stream == nil
}

// forget ends a watch.
func (o *outbox) forget(w *watch) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.watches[w.service.id] == w {
		delete(o.watches, w.service.id)
	}
}

// finish lets the writer end when it has sent what there is.
func (o *outbox) finish() {
	o.mu.Lock()
	o.finishing = true
	o.mu.Unlock()
	o.signal()
}

// take hands over everything that may be sent now, and one stream to send a page of.
func (o *outbox) take() (l load, closed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return load{}, true
	}
	if o.tree != nil && o.tree.live && len(o.tree.changes) > 0 {
		for part := range slices.Chunk(o.tree.changes, treePage) {
			l.pushes = append(l.pushes, &transport.TreeChanged{Rev: o.tree.rev, Changes: part})
		}
		o.tree.changes = nil
	}
	l.pushes = append(l.pushes, o.pushes...)
	o.pushes = nil

	wait := o.dirty[:0]
	for _, w := range o.dirty {
		switch {
		case o.watches[w.service.id] != w: // ended
		case !w.live:
			wait = append(wait, w)
		case w.lost:
			l.lost = append(l.lost, w)
		default:
			list, bytes := w.take()
			l.flushes = append(l.flushes, flush{w, list, bytes})
		}
	}
	clear(o.dirty[len(wait):])
	o.dirty = wait

	held := o.replies[:0:0]
	for _, r := range o.replies {
		if o.heldLocked(r) {
			held = append(held, r)
		} else {
			l.replies = append(l.replies, r)
		}
	}
	o.replies = held
	if len(o.streams) > 0 {
		l.stream = o.streams[0]
	}
	return l, o.finishing && l.empty()
}

// heldLocked reports whether a reply tells of changes whose pushes wait for the end of a snapshot.
func (o *outbox) heldLocked(r reply) bool {
	if r.tree && o.tree != nil && !o.tree.live {
		return true
	}
	for _, s := range r.services {
		if w := o.watches[s.id]; w != nil && (!w.live || w.lost) {
			return true
		}
	}
	return false
}

// ended is called when a stream's last page was sent.
func (o *outbox) ended(s *stream) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.streams) > 0 && o.streams[0] == s {
		o.streams = o.streams[1:]
	}
	if s.watch != nil {
		s.watch.live = true
	}
	if s.tree != nil {
		s.tree.live = true
	}
}
