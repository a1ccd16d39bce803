package core

import (
	"container/heap"
	"sync"
	"time"

	"github.com/commy-project/commyfs/model"
)

// queue is what waits for the committer: reports, each session's in its order, and functions that run between batches.
// Sessions bound what they put into it. Whose reports have taken the committer the least time comes first, so that nobody
// waits for long behind one who sends very many or very dear ones.
type queue struct {
	wake chan struct{}

	// mu guards the following, and the lines of all sessions.
	mu     sync.Mutex
	do     []func()
	found  func() // see find
	turn   bool   // it is found's, and not that of reports
	lines  lines
	now    time.Duration // what the line that was served last had spent
	closed bool
	busy   bool // what was taken is being carried out
	packed int  // how many reports there are that are packed for
}

// item is a report or, in its place, a function.
type item struct {
	Ticket
	session *Session
	report  *model.Report
	size    int // see sizeOf
	packing
	// crowd and place say of which report with Each this is a part.
	crowd *crowd
	place int

	do func()
}

// line is what one session waits for.
type line struct {
	items  []item
	spent  time.Duration // of the committer's time; who comes back begins with what the others have
	last   time.Duration // what the last report has taken
	at     int           // place in the heap, -1: none
	fenced bool
}

// What a report is taken to cost before it has been carried out.
const (
	turnCost = 10 * time.Microsecond
	byteCost = time.Nanosecond
)

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

// push queues an item of a session, and leaves it to the caller to wake the committer. A session that was fenced off, and a
// closed queue, take nothing.
func (q *queue) push(it item) bool {
	q.mu.Lock()
	l := &it.session.line
	if q.closed || l.fenced {
		q.mu.Unlock()
		return false
	}
	l.items = append(l.items, it)
	q.packed += packedIn(it)
	q.enterLocked(l)
	q.mu.Unlock()
	return true
}

// packedIn is how many of some items are packed for.
func packedIn(items ...item) (n int) {
	for i := range items {
		if len(items[i].packing) > 0 {
			n++
		}
	}
	return n
}

// worthPacking reports whether there is any use in packing for a line's reports, and room for it: the line may take nothing any more, or
// the committer be far behind.
func (q *queue) worthPacking(l *line) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return !q.closed && !l.fenced && q.packed < maxPacked
}

// call queues a function that no session's order is behind: it runs before the next batch.
func (q *queue) call(fn func()) bool {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return false
	}
	q.do = append(q.do, fn)
	q.mu.Unlock()
	q.signal()
	return true
}

// find queues the function that commits what was found in the files of bare services, unless it is queued. It takes turns with
// reports: neither waits for long behind very many of the other.
func (q *queue) find(fn func()) {
	q.mu.Lock()
	if !q.closed { // else the next server finds it
		q.found = fn
	}
	q.mu.Unlock()
	q.signal()
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// enterLocked puts a line that has items into the heap, if it is not there.
func (q *queue) enterLocked(l *line) {
	if l.at < 0 && len(l.items) > 0 {
		l.spent = max(l.spent, q.now)
		heap.Push(&q.lines, l)
	}
}

// fence drops what a session has queued and refuses what it still sends.
func (q *queue) fence(l *line) {
	q.mu.Lock()
	defer q.mu.Unlock()
	l.fenced = true
	q.packed -= packedIn(l.items...)
	l.items = nil
	if l.at >= 0 {
		heap.Remove(&q.lines, l.at)
	}
}

// waits reports whether something that a client has sent, which is no longer connected, is still to be carried out. The
// committer calls it, with Server.mu held.
func (q *queue) waits(cl *client) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if cl.line != nil && len(cl.line.items) == 0 {
		cl.line = nil // and the session with it
	}
	return cl.line != nil
}

// take returns the next function, or reports as far as they fit into a batch. done is to be called when they are carried out:
// until then nobody gets anything. closed: there is nothing, and never will be.
func (q *queue) take() (items []item, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.busy {
		return nil, false
	}
	items = q.takeLocked()
	q.busy = len(items) > 0
	return items, q.closed
}

// takeOwn is take for a session that would carry out itself what it waits for. It gets nothing if that is much, or if others
// wait: that is the committer's, which is woken.
func (q *queue) takeOwn(l *line) []item {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.busy || l.at < 0 {
		return nil
	}
	it := &l.items[0]
	if len(q.do) > 0 || q.found != nil || len(q.lines) > 1 || len(l.items) > 1 || it.do != nil || it.reports() > maxOwn || it.size > maxOwnBytes {
		q.signal()
		return nil
	}
	items := q.takeLocked()
	q.busy = len(items) > 0
	return items
}

// What a session carries out itself. More than that is left to the committer: meanwhile the session can read on.
const (
	maxOwn      = 4 // reports
	maxOwnBytes = 64 << 10
)

// done says that what was taken is carried out.
func (q *queue) done() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.busy = false
	if len(q.do)+len(q.lines) > 0 || q.found != nil || q.closed {
		q.signal()
	}
}

func (q *queue) takeLocked() (items []item) {
	if len(q.do) > 0 {
		items = append(items, item{do: q.do[0]})
		q.do = q.do[1:]
		return items
	}
	if q.found != nil && (q.turn || len(q.lines) == 0) {
		items = append(items, item{do: q.found})
		q.found, q.turn = nil, false
		return items
	}
	q.turn = true
	var took time.Duration
	for size, n := 0, 0; len(q.lines) > 0 && n < maxBatch; {
		l := q.lines[0]
		it := l.items[0]
		// A session whose reports take long is likely to go on so: nobody is to wait for it in the same batch.
		took += l.last
		if len(items) > 0 && (it.do != nil || size+it.size > maxBatchBytes || took > maxEvaluate) {
			break
		}
		size += it.size
		n += it.reports()
		items = append(items, it)
		q.packed -= packedIn(it)
		l.items[0] = item{}
		l.items = l.items[1:]
		q.now = l.spent
		l.spent += turnCost + time.Duration(it.size)*byteCost
		if len(l.items) > 0 {
			heap.Fix(&q.lines, 0)
		} else {
			l.items = nil
			heap.Pop(&q.lines)
		}
		if it.do != nil {
			break
		}
	}
	return items
}

// spend says how long a session's report has taken the committer, and how long all that it has come with so far.
func (q *queue) spend(s *Session, d, all time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s.line.spent += d
	s.line.last = all
	if s.line.at >= 0 {
		heap.Fix(&q.lines, s.line.at)
	}
}

// back puts reports before all others of their sessions: the batch that they were taken for was full.
func (q *queue) back(items []item) {
	if len(items) == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	lists := map[*line][]item{}
	for _, it := range items {
		if l := &it.session.line; !l.fenced {
			lists[l] = append(lists[l], it)
		}
	}
	for l, list := range lists {
		l.items = append(list, l.items...)
		q.packed += packedIn(list...)
		q.enterLocked(l)
	}
}

// close refuses everything from now on; what is queued is still taken.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.signal()
}

// lines is a heap of the lines that have items.
type lines []*line

func (h lines) Len() int           { return len(h) }
func (h lines) Less(i, j int) bool { return h[i].spent < h[j].spent }

func (h lines) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

// Push is for package heap.
func (h *lines) Push(x any) {
	l := x.(*line)
	l.at = len(*h)
	*h = append(*h, l)
}

// Pop is for package heap.
func (h *lines) Pop() any {
	last := len(*h) - 1
	l := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	l.at = -1
	return l
}
