package server

import (
	"slices"
	"sync"
	"unsafe"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/transport"
)

// maxUnanswered bounds the requests of a session that have not been answered. Beyond it the session is not read from. The
// memory that they take is bounded by the session's budget.
const maxUnanswered = 1024

// outbox is a session's one ordered outgoing stream. What waits is taken all at once and the pushes go first, so that a
// client has been sent every change up to an acknowledgement's revision before the acknowledgement.
type outbox struct {
	wake   chan struct{}
	memory *account // what waits is taken from it

	// mu guards the following.
	mu     sync.Mutex
	room   sync.Cond // waits for answered requests
	closed bool
	// finishing: closed once everything was sent.
	finishing bool
	replies   []reply
	streams   []*stream
	rotated   map[uint64]*transport.ServiceFileRotated // by service: only the last matters
	tree      *treeWatch                               // nil: not asked for
	watches   map[uint64]*watch
	// unacknowledged has the numbers of the reports that wait for their acknowledgement: what they hold need not be sent back.
	unacknowledged map[uint64]bool
	dirty          []*watch // those with something to send, in the order in which they got it

	unanswered int
}

// reply is the answer to a request. It waits for the snapshots of what it tells of.
type reply struct {
	id       uint64
	message  transport.Message
	make     func() transport.Message // called when it is about to be sent, in place of message
	services []*service
	tree     bool
	cost     int    // what it and its request have of the session's memory
	after    func() // called when it was sent
}

// replyCost is about what a reply takes beside its results.
const replyCost = 256

// cheapen gives back what was taken for the request of a reply and is not needed for the reply.
func (o *outbox) cheapen(r *reply) {
	cost := replyCost
	if m, ok := r.message.(*transport.VariableChangesAcknowledged); ok {
		cost += len(m.Results) * int(unsafe.Sizeof(model.Result{}))
	}
	if cost < r.cost {
		o.memory.Give(r.cost - cost)
		r.cost = cost
	}
}

// stream is an answer of several messages. Those that start a watch have id 0 if the server sends them by itself.
type stream struct {
	id   uint64
	cost int
	next func() (m transport.Message, more bool)
	part bool // the answer goes on with another stream
	// watch or tree goes live after the last page.
	watch *watch
	tree  *treeWatch
}

// treeWatch is a session's view of the tenants and services.
type treeWatch struct {
	live    bool
	changes []model.TreeChange
	held    int // what they have of the session's memory
	rev     int64
}

func newOutbox(memory *account) *outbox {
	o := &outbox{
		wake: make(chan struct{}, 1), memory: memory, watches: map[uint64]*watch{}, rotated: map[uint64]*transport.ServiceFileRotated{},
		unacknowledged: map[uint64]bool{},
	}
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
	o.replies, o.streams, o.dirty = nil, nil, nil
	o.tree, o.rotated = nil, nil
	o.mu.Unlock()
	o.room.Broadcast()
	o.signal()
}

// admit counts a request and waits while too many are unanswered. false: the outbox is closed.
func (o *outbox) admit() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for !o.closed && o.unanswered >= maxUnanswered {
		o.room.Wait()
	}
	o.unanswered++
	return !o.closed
}

// answered takes n requests off the count, and gives back what they had.
func (o *outbox) answered(n, cost int) {
	o.memory.Give(cost)
	if n == 0 {
		return
	}
	o.mu.Lock()
	o.unanswered -= n
	o.mu.Unlock()
	o.room.Signal()
}

// expect notes that a report is on its way.
func (o *outbox) expect(seq uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.unacknowledged[seq] = true
}

// reply queues an answer without waking the writer.
func (o *outbox) reply(r reply) {
	o.cheapen(&r)
	o.mu.Lock()
	defer o.mu.Unlock()
	if m, ok := r.message.(*transport.VariableChangesAcknowledged); ok {
		delete(o.unacknowledged, m.Seq)
	}
	if !o.closed {
		o.replies = append(o.replies, r)
	}
}

// moved queues where a memory file is now, without waking the writer.
func (o *outbox) moved(m *transport.ServiceFileRotated) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.rotated[m.Service] = m
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
	clean, held := len(w.pending) == 0 && !w.lost, w.held
	for _, ev := range list {
		w.add(ev)
	}
	if more := w.held - held; more > 0 && !o.memory.try(more) {
		w.held = held
		w.lose()
	}
	if held > w.held {
		o.memory.Give(held - w.held)
	}
	if clean {
		o.dirty = append(o.dirty, w)
	}
}

// changes queues changes of the tree, without waking the writer. false: the watcher takes nothing.
func (o *outbox) changes(rev int64, list []model.TreeChange) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.tree == nil {
		return true
	}
	cost := 0
	for i := range list {
		cost += int(unsafe.Sizeof(list[i])) + len(list[i].Tenant.Name) + len(list[i].Service.Name)
	}
	if len(o.tree.changes)+len(list) > maxStructural || !o.memory.try(cost) {
		return false
	}
	o.tree.changes = append(o.tree.changes, list...)
	o.tree.held += cost
	o.tree.rev = rev
	return true
}

// load is what the writer sends next.
type load struct {
	pushes  []transport.Message
	held    int // what the pushes have of the session's memory
	flushes []flush
	lost    []*watch
	replies []reply
	stream  *stream
}

// flush is what one watch has to send, as one step.
type flush struct {
	watch *watch
	list  []pending
	held  int
}

func (l *load) empty() bool {
	return len(l.pushes) == 0 && len(l.flushes) == 0 && len(l.lost) == 0 && len(l.replies) == 0 && l.stream == nil
}

// forget ends a watch.
func (o *outbox) forget(w *watch) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.watches[w.service.id] == w {
		o.forgetLocked(w.service.id)
	}
}

// forgetLocked ends the watch of a service and returns it, nil if there is none.
func (o *outbox) forgetLocked(service uint64) *watch {
	w := o.watches[service]
	if w != nil {
		delete(o.watches, service)
		o.memory.Give(w.held)
		w.drop()
		o.hollowLocked(w)
	}
	return w
}

// hollowLocked drops the snapshot of a watch that has ended, if nothing of it was sent: nobody can make use of it. The answer
// says that there is nothing new. The first stream is the writer's.
func (o *outbox) hollowLocked(w *watch) {
	for i, s := range o.streams {
		if i > 0 && s.watch == w {
			s.next = func() (transport.Message, bool) {
				return &transport.Snapshot{Service: w.service.id, Resumed: true, Rev: w.rev}, false
			}
		}
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
		l.held, o.tree.held, o.tree.changes = o.tree.held, 0, nil
	}
	for _, m := range o.rotated {
		l.pushes = append(l.pushes, m)
	}
	clear(o.rotated)

	wait := o.dirty[:0]
	for _, w := range o.dirty {
		switch {
		case o.watches[w.service.id] != w: // ended
		case !w.live:
			wait = append(wait, w)
		case w.lost:
			l.lost = append(l.lost, w)
		default:
			list, held := w.take()
			l.flushes = append(l.flushes, flush{w, list, held})
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
