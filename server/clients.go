package server

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/commy-project/commyfs/engine"
	"github.com/commy-project/commyfs/transport"
)

const (
	maxResults  = 4096 // answers that are kept for one client
	maxReserved = 4096 // ids set aside for one client
	clientIDLen = 16
	// forgetAfter is how long a client that is not connected is remembered.
	forgetAfter = 10 * time.Minute
)

// client is what outlives a session: the answers to its reports that it has not said to have received. They are stored
// with the changes themselves, so that a report sent again, also to the next server, is answered and not carried out
// again.
type client struct {
	id string // see principal.client

	// session and left are guarded by Server.mu.
	session *session
	left    time.Time

	// mu guards reserved.
	mu       sync.Mutex
	reserved map[uint64]struct{}

	// The committer's own.
	floor   uint64
	results map[uint64]answer
	stored  bool // the engine has a record
}

// answer is what an accepted report got.
type answer struct {
	rev     int64
	results []transport.Result
}

func newClient(id string) *client {
	return &client{id: id, left: time.Now(), reserved: map[uint64]struct{}{}, results: map[uint64]answer{}}
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

// advance forgets answers that the client has.
func (c *client) advance(floor uint64) {
	if floor <= c.floor {
		return
	}
	c.floor = floor
	for seq := range c.results {
		if seq < floor {
			delete(c.results, seq)
		}
	}
}

// The record's format: a byte for the version of the format, then uvarints: floor, number of answers, and for each its
// seq, number of results, and the results: id, version, mtime, size, unchanged.
const clientRecordVersion = 1

// record is the client as the engine is to keep it once the new answers hold.
func (c *client) record(fresh map[uint64]answer, now int64) engine.Op {
	b := []byte{clientRecordVersion}
	b = binary.AppendUvarint(b, c.floor)
	b = binary.AppendUvarint(b, uint64(len(c.results)+len(fresh)))
	for _, m := range []map[uint64]answer{c.results, fresh} {
		for _, seq := range slices.Sorted(maps.Keys(m)) {
			b = binary.AppendUvarint(b, seq)
			b = binary.AppendUvarint(b, uint64(len(m[seq].results)))
			for _, r := range m[seq].results {
				b = binary.AppendUvarint(b, r.ID)
				b = binary.AppendUvarint(b, r.Version)
				b = binary.AppendUvarint(b, uint64(r.MTime))
				b = binary.AppendUvarint(b, uint64(r.Size))
				unchanged := byte(0)
				if r.Unchanged {
					unchanged = 1
				}
				b = append(b, unchanged)
			}
		}
	}
	return engine.PutClient(engine.Client{ID: c.id, Time: now, Data: b})
}

var errClientRecord = errors.New("client record cannot be read")

// restoreClient reads what record has written. rev is the store's: the answers' own is not kept.
func restoreClient(r engine.Client, rev int64) (c *client, err error) {
	c = newClient(r.ID)
	c.stored = true
	b := r.Data
	if len(b) == 0 || b[0] != clientRecordVersion {
		return nil, errClientRecord
	}
	b = b[1:]
	next := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			err = errClientRecord
			b = nil
			return 0
		}
		b = b[n:]
		return v
	}
	c.floor = next()
	for n := next(); n > 0 && err == nil; n-- {
		seq := next()
		a := answer{rev: rev}
		for k := next(); k > 0 && err == nil; k-- {
			r := transport.Result{ID: next(), Version: next(), MTime: int64(next()), Size: int64(next())}
			r.Unchanged = next() == 1
			a.results = append(a.results, r)
		}
		c.results[seq] = a
	}
	return c, err
}
