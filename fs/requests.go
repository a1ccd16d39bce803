package fs

import (
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// request is a request of the kernel that is being handled.
type request struct {
	op      string // empty: the slot is free
	unique  uint64 // the kernel's number of it
	node    uint64
	thread  uint32        // that made it
	started time.Duration // since the mount's start
	told    bool          // the watchdog has logged it
	freed   bool          // the watchdog has answered it
}

// requestShards spreads requests, which are entered and left often.
const requestShards = 16

// requests are those being handled, for the watchdog.
type requests struct {
	start  time.Time
	shards [requestShards]requestShard
}

type requestShard struct {
	mu    sync.Mutex // guards the following
	slots []request
	free  []uint32 // indexes of slots
	_     [64]byte // shards are used by different processors
}

// ticket finds a request again.
type ticket struct {
	op    string
	shard uint32
	slot  uint32
}

func (rs *requests) init() { rs.start = time.Now() }

func (rs *requests) enter(op string, h *fuse.InHeader) ticket {
	// Numbers of requests are even: the lowest bit marks interrupts.
	t := ticket{op: op, shard: uint32(h.Unique>>1) % requestShards}
	r := request{op: op, unique: h.Unique, node: h.NodeId, thread: h.Pid, started: time.Since(rs.start)}
	s := &rs.shards[t.shard]
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.free); n > 0 {
		t.slot, s.free = s.free[n-1], s.free[:n-1]
		s.slots[t.slot] = r
	} else {
		t.slot = uint32(len(s.slots))
		s.slots = append(s.slots, r)
	}
	return t
}

// leave forgets a request and reports whether the watchdog has answered it already.
func (rs *requests) leave(t ticket) (freed bool) {
	s := &rs.shards[t.shard]
	s.mu.Lock()
	defer s.mu.Unlock()
	freed = s.slots[t.slot].freed
	s.slots[t.slot] = request{}
	s.free = append(s.free, t.slot)
	return freed
}

// begin is the first thing in a handler, and end its last: `defer f.end(f.begin("op", header), &status)`. In between the
// watchdog knows of the request.
func (f *FS) begin(op string, h *fuse.InHeader) ticket { return f.requests.enter(op, h) }

// end also turns a panic into EIO: one bad request must not take the mount down. It must be what is deferred.
func (f *FS) end(t ticket, status *fuse.Status) {
	if r := recover(); r != nil {
		f.log.Error("panic in a request", "op", t.op, "panic", r, "stack", stack())
		*status = fuse.EIO
	}
	f.requests.leave(t)
}
