package commyfs

import (
	"sync"

	varsync "github.com/commy-project/commyfs/sync"
)

// The queue of a watch may grow so far before modifications of one variable are merged: the last value is what counts.
const (
	manyChanges = 10_000
	manyBytes   = 64 << 20
)

// pending is something that a watch has not reported yet: a notice, a service that was loaded, or the end.
type pending struct {
	varsync.Notice
	variable *varsync.Variable // whose value is read when it is reported
	entry    Entry             // as it was at the notice, with the value if it is kept in this process's memory
	token    Token

	loaded  *varsync.Service
	loadErr error
	failed  error
}

// takeDown keeps a notice for later. The replica has applied it, and nothing after it. last says that no more is of its
// revision.
func (c *Client) takeDown(n *varsync.Notice, last bool) pending {
	p := pending{Notice: *n, entry: Entry{Info: Info{ID: n.ID, Dir: n.Dir, Time: timeOf(n.MTime)}}}
	if n.Service != 0 {
		p.token = Token{c.sync.Welcome().Store, n.Rev}
		if !last {
			p.token.rev-- // who begins there has all of the revision again
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
		if v.Service().Local() {
			p.variable = v // memory that others change: there is no keeping it
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

// queue is unbounded, but for values that later ones replace. It is added to by whoever receives, and must not block them.
type queue struct {
	wake chan struct{} // has a token when the queue is not empty

	mu       sync.Mutex // guards the following
	list     []pending
	bytes    int
	modified map[uint64]int // where in the list the last event of a variable is, if it is one that can be merged into
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
