package kernel

import (
	"sync/atomic"

	"github.com/commy-project/commyfs/fs/poke"
)

// Stat is what has become of the changes that the tree was told of, and what is to be done at the moment.
type Stat struct {
	Notices uint64        // of changes
	Raised  []RaisedEvent // inotify events
	Failed  uint64        // that could not be raised: the file has gone, or has another name, since
	Merged  uint64        // changes of a value that an event stands for which was waiting already
	Dropped uint64        // events that became one with later ones of their files, because too many waited
	Queued  int           // events that wait
	Nodes   int           // that the kernel has
	Stale   int           // names and nodes that it is to be told of
}

// RaisedEvent is how often an event was raised.
type RaisedEvent struct {
	Name  string
	Count uint64
}

// raisedNames are the events that count, in the order of counts.raised.
var raisedNames = [...]string{"create", "modify", "close_write", "delete", "move", "attrib"}

// counts are since the cache was made.
type counts struct {
	raised [len(raisedNames)]atomic.Uint64
	failed atomic.Uint64

	notices uint64 // Cache.mu guards it
}

func (n *counts) pokes(op poke.Op, err error) {
	if err != nil {
		n.failed.Add(1)
		return
	}
	switch op.Kind {
	case poke.Create, poke.Mkdir:
		n.raised[0].Add(1)
	case poke.Modify:
		n.raised[1].Add(1)
	case poke.CloseWrite:
		n.raised[2].Add(1)
	case poke.Unlink, poke.Rmdir:
		n.raised[3].Add(1)
	case poke.Rename:
		n.raised[4].Add(1)
	case poke.Attrib:
		n.raised[5].Add(1)
	}
}

// Stat returns the counters. It waits for nothing but a moment.
func (c *Cache) Stat() Stat {
	c.mu.Lock()
	s := Stat{Notices: c.counts.notices, Merged: c.queue.merged, Dropped: c.queue.dropped, Queued: len(c.queue.list) + len(c.queue.own) + len(c.queue.gathering.list),
		Nodes: len(c.nodes), Stale: len(c.staleNames) + len(c.staleNodes)}
	c.mu.Unlock()
	s.Failed = c.counts.failed.Load()
	for i, name := range raisedNames {
		s.Raised = append(s.Raised, RaisedEvent{name, c.counts.raised[i].Load()})
	}
	return s
}
