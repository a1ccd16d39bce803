package commyfs

import (
	"sync"

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
	entry    Entry             // as it was at the notice, with the value if it is in private memory
	token    Token

	loaded  *varsync.Service
	loadErr error
	failed  error
}

// takeDown prepares a notice for the queue. The copy has applied it, and nothing after it. last: no other notice of its
// step follows.
func (c *Client) takeDown(n *varsync.Notice, last bool) pending {
	p := pending{Notice: *n, entry: Entry{Info: Info{ID: n.ID, Dir: n.Dir, Time: timeOf(n.MTime)}}}
	if n.Service != 0 {
		p.token = Token{c.sync.Welcome().Store, n.Rev}
		if !last {
			p.token.rev = n.Before // a watch that resumes there reports the whole step again, which can be of many revisions
		}
	}
	e := &p.entry
	switch v := c.sync.Node(n.ID).(type) {
	case *varsync.Variable:
		if n.Kind == varsync.Deleted {
			break
		}
		m := v.Meta()
		e.Version, e.Size, e.Time, e.Writer, e.Mode = m.Version, m.Size, timeOf(m.MTime), v.Writer(), v.Mode()
		if v.Service().Mapped() {
			p.variable = v // shared memory changes
		} else if data, _, err := v.Load(nil); err == nil && n.Kind != varsync.MetaChanged {
			if e.Value = data; data == nil {
				e.Value = []byte{}
			}
		}
	case interface{ Mode() Mode }:
		e.Mode = v.Mode()
	}
	return p
}

// queue is unbounded, except that it merges modifications. The goroutine that receives adds to it, and must not block.
type queue struct {
	wake chan struct{} // holds a token when the queue is not empty

	mu       sync.Mutex // guards the following
	list     []pending
	bytes    int
	modified map[uint64]int // the index of the last notice of a variable, if it can be merged into
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1), modified: map[uint64]int{}} }

func (q *queue) add(p pending) {
	q.mu.Lock()
	defer q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
	modified := p.Kind == varsync.Modified
	if i, ok := q.modified[p.ID]; ok && modified && (len(q.list) > manyChanges || q.bytes > manyBytes) {
		q.bytes += len(p.entry.Value) - len(q.list[i].entry.Value)
		p.token = q.list[i].token // what follows in the queue is older: a watch that resumes must not skip it
		q.list[i] = p
		return
	}
	if delete(q.modified, p.ID); modified {
		q.modified[p.ID] = len(q.list)
	}
	q.list = append(q.list, p)
	q.bytes += len(p.entry.Value)
}

func (q *queue) take() []pending {
	q.mu.Lock()
	defer q.mu.Unlock()
	list := q.list
	q.list, q.bytes = nil, 0
	clear(q.modified)
	return list
}
