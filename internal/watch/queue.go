package watch

import (
	"sync"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// When the queue of a watch is larger than this, modifications of a variable are merged: the last value counts.
const (
	manyChanges = 10_000
	manyBytes   = 64 << 20
)

// pending is an element of the queue: a notice, the end of loading a service, or the error that ends the watch.
type pending struct {
	varsync.Notice
	variable *varsync.Variable // its value is read when the notice is reported
	entry    model.Entry       // as it was at the notice
	value    []byte            // the same, if it is in private memory
	token    Token
	oldToken Token // of what has moved to another service: in the one that it has left

	loaded  *varsync.Service
	loadErr error
	failed  error
}

// takeDown makes of p what the queue has of a notice. The copy has applied it, and nothing after it.
func (h *Hub) takeDown(p *pending, n *varsync.Notice, store string) {
	p.Notice = *n
	p.entry.ID, p.entry.Dir, p.entry.MTime = n.ID, n.Dir, n.MTime
	if n.Service != 0 { // a watch that resumes there can report a whole step again, which can be of many revisions
		p.token = Token{store, n.Told}
	}
	if movedAcross(n) {
		p.oldToken = Token{store, n.OldTold}
	}
	e := &p.entry
	v := n.Variable
	var k varsync.Known
	if v != nil {
		k = v.Known()
	}
	if v == nil || k.Gone { // or is another one by now: it has moved
		switch node := h.sync.Node(n.ID).(type) {
		case *varsync.Variable:
			v, k = node, node.Known()
		case interface{ Mode() model.Mode }:
			e.Mode = node.Mode()
			return
		default:
			return
		}
	}
	if n.Kind == varsync.Deleted {
		return
	}
	e.Version, e.Size, e.MTime, e.Writer, e.Mode = k.Version, k.Size, k.MTime, k.Writer, k.Mode
	if k.Mapped {
		p.variable = v // shared memory changes
	} else if data, _, err := v.LoadStored(nil); err == nil && n.Kind != varsync.MetaChanged {
		if p.value = data; data == nil {
			p.value = []byte{}
		}
	}
}

// movedAcross reports whether a notice tells of a move to another service.
func movedAcross(n *varsync.Notice) bool {
	return n.Kind == varsync.Renamed && n.OldService != n.Service
}

// queue is unbounded, except that it merges modifications. The goroutine that receives adds to it, and must not block.
type queue struct {
	wake chan struct{} // holds a token when the queue is not empty

	mu    sync.Mutex // guards the following
	list  []pending
	spare []pending // to be used again
	bytes int
	// modified has the index of the last notice of a variable, if it can be merged into; nil while nothing is merged.
	modified map[uint64]int
}

// keptNotices is how long a list of notices is kept for the next ones.
const keptNotices = 1024

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

func (q *queue) add(p pending) { q.addAll(1, func(_ int, to *pending) bool { *to = p; return true }) }

// addAll adds up to n elements, which fill makes, in place: false, if there is none of that number. fill must not wait.
func (q *queue) addAll(n int, fill func(i int, p *pending) bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range n {
		q.list = append(q.list, pending{})
		at := len(q.list) - 1
		if !fill(i, &q.list[at]) || q.mergeLocked(at) {
			q.list = q.list[:at]
		}
	}
	if len(q.list) == 0 {
		return
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// mergeLocked counts the last element, or has it take the place of an older one.
func (q *queue) mergeLocked(at int) (merged bool) {
	p := &q.list[at]
	if at > manyChanges || q.bytes > manyBytes {
		if q.modified == nil {
			q.modified = map[uint64]int{}
			for i := range q.list[:at] {
				q.noteLocked(i)
			}
		}
		if i, ok := q.modified[p.ID]; ok && p.Kind == varsync.Modified {
			q.bytes += len(p.value) - len(q.list[i].value)
			p.token = q.list[i].token // what follows in the queue is older: a watch that resumes must not skip it
			q.list[i] = *p
			return true
		}
	}
	if q.modified != nil {
		q.noteLocked(at)
	}
	q.bytes += len(p.value)
	return false
}

func (q *queue) noteLocked(at int) {
	if p := &q.list[at]; p.Kind == varsync.Modified {
		q.modified[p.ID] = at
	} else {
		delete(q.modified, p.ID)
	}
}

func (q *queue) take() []pending {
	q.mu.Lock()
	defer q.mu.Unlock()
	list := q.list
	q.list, q.spare, q.bytes, q.modified = q.spare, nil, 0, nil
	return list
}

// again gives back what take returned.
func (q *queue) again(list []pending) {
	if cap(list) > keptNotices {
		return
	}
	clear(list)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.spare == nil {
		q.spare = list[:0]
	}
}
