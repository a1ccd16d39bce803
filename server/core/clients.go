package core

import (
	"slices"
	"sync"
	"time"

	"github.com/commy-project/commyfs/engine"
)

const (
	maxReserved = 4096 // ids set aside for one client
	ClientIDLen = 16
	// forgetAfter is how long a client that is not connected is remembered, and an answer that nobody asks for.
	forgetAfter = 10 * time.Minute
	// maxGone bounds the clients that are remembered although they are not connected, and maxGoneReserved the ids that they
	// have set aside.
	maxGone         = 4096
	maxGoneReserved = 64 << 10
)

// client is what outlives a session: the answers to its reports that it has not said to have received. They are stored
// with the changes themselves, so that a report sent again, also to the next server, is answered and not carried out
// again.
type client struct {
	id string // see model.Principal.Client

	// session, left and line are guarded by Server.mu.
	session *Session
	left    time.Time
	line    *line // what the session, or the last one, has sent that is not carried out yet; nil: nothing

	// mu guards reserved.
	mu       sync.Mutex
	reserved map[uint64]struct{}

	// born is when the server got to know the client, the zero time if it did from the store.
	born time.Time

	// damaged: an answer to it cannot be read, so what it sends again may have been carried out.
	damaged bool

	// old has the answers of a record of schema 1, which are in no slot.
	old map[uint64]answer

	// The committer's own: see results.go. Answers up to lost may have been forgotten, free slots hold nothing that is of
	// use, those from high on never held anything.
	acked   uint64
	lost    uint64
	results map[uint64]answer
	bytes   int
	free    []uint64
	high    uint64
	mark    uint64 // slot of the mark, if there is one
	marked  bool
}

func newClient(id string) *client {
	// Slots never are those of a client of the same name that was forgotten: its answers may yet have to be deleted.
	high := uint64(time.Now().UnixNano())
	return &client{id: id, left: time.Now(), reserved: map[uint64]struct{}{}, results: map[uint64]answer{}, mark: high, high: high + 1}
}

// reserve sets an id aside. A client that never uses what it asked for loses some of them.
func (c *client) reserve(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.reserved) >= maxReserved {
		for old := range c.reserved {
			delete(c.reserved, old)
			break
		}
	}
	c.reserved[id] = struct{}{}
}

func (c *client) holds(id uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.reserved[id]
	return ok
}

func (c *client) used(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.reserved, id)
}

// reservations is how many ids the client has set aside; with drop it has none from then on.
func (c *client) reservations(drop bool) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if drop {
		clear(c.reserved)
	}
	return len(c.reserved)
}

// forgetClients drops what is remembered of clients that have not been connected for long, or of whom there is nothing to
// remember. The committer calls it now and then.
func (s *Core) forgetClients() {
	var gone, old []*client
	s.mu.Lock()
	for _, cl := range s.clients {
		if cl.session == nil && !s.queue.waits(cl) {
			gone = append(gone, cl)
		}
	}
	slices.SortFunc(gone, func(a, b *client) int { return b.left.Compare(a.left) })
	kept, reserved := 0, 0
	for _, cl := range gone {
		ids := cl.reservations(reserved > maxGoneReserved)
		reserved += ids
		switch {
		case time.Since(cl.left) > forgetAfter, len(cl.results)+ids == 0 && cl.lost < max(cl.acked, 1) && !cl.damaged:
		case kept == maxGone:
			if cl.left.After(s.forgot) {
				s.forgot, s.early = cl.left, true
			}
		default:
			kept++
			continue
		}
		old = append(old, cl)
		delete(s.clients, cl.id)
	}
	s.mu.Unlock()
	for _, cl := range old {
		s.forget(cl)
	}
	s.forgetResults()
}

// forget drops the answers to a client. The committer calls it.
func (s *Core) forget(cl *client) {
	for seq, a := range cl.results {
		cl.take(seq, a)
		s.answers -= a.bytes
		if a.in.left > 0 {
			a.in.left = 0
			s.stale = append(s.stale, engine.DeleteResult(cl.id, a.in.slot))
		}
	}
	for _, slot := range cl.free {
		s.stale = append(s.stale, engine.DeleteResult(cl.id, slot))
	}
	cl.free = nil
	if delete(s.marks, cl); cl.marked {
		s.stale = append(s.stale, engine.DeleteResult(cl.id, cl.mark))
	}
}
