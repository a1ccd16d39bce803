package server

import (
	"sync"

	"github.com/commy-project/commyfs/transport"
)

// queue is what waits for the committer: reports, and functions that run between batches. Sessions bound what they put
// into it.
type queue struct {
	wake chan struct{}

	// mu guards the following.
	mu     sync.Mutex
	items  []item
	closed bool
}

// item is a report or a function.
type item struct {
	session *session
	id      uint64 // request
	report  *transport.ReportVariableChanges
	size    int

	do func()
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

// push queues an item. A session that was fenced off, and a closed queue, take nothing.
func (q *queue) push(it item) bool {
	q.mu.Lock()
	if q.closed || it.session != nil && it.session.fenced {
		q.mu.Unlock()
		return false
	}
	q.items = append(q.items, it)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return true
}

// fence drops what a session has queued and refuses what it still sends.
func (q *queue) fence(s *session) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s.fenced = true
	keep := q.items[:0]
	for _, it := range q.items {
		if it.session != s {
			keep = append(keep, it)
		}
	}
	clear(q.items[len(keep):])
	q.items = keep
}

// take returns the next function, or the reports before it as far as they fit into a batch.
func (q *queue) take() (items []item, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, size := 0, 0
	for n < len(q.items) && n < maxBatch {
		it := &q.items[n]
		if n > 0 && (it.do != nil || size+it.size > maxBatchBytes) {
			break
		}
		size += it.size
		n++
		if it.do != nil {
			break
		}
	}
	items = append(items, q.items[:n]...)
	rest := copy(q.items, q.items[n:])
	clear(q.items[rest:])
	q.items = q.items[:rest]
	return items, q.closed
}

// back puts reports before all others: the batch that they were taken for was full. Those of fenced sessions are dropped.
func (q *queue) back(items []item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	list := make([]item, 0, len(items)+len(q.items))
	for _, it := range items {
		if !it.session.fenced {
			list = append(list, it)
		}
	}
	q.items = append(list, q.items...)
}

// close refuses everything from now on; what is queued is still taken.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}
