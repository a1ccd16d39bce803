package fs

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/fs/estate"
	varsync "github.com/commy-project/commyfs/sync"
)

// request is a request of the kernel that is being handled.
type request struct {
	op     string // empty: the slot is free
	unique uint64 // the kernel's number of it
	node   uint64
	thread uint32 // that made it
	since  uint32 // tick in which it came
	late   bool   // the watchdog has seen that
	freed  bool   // the watchdog has answered it
	// loading is the service whose pages the request waits for, heard when the last one came.
	loading *varsync.Service
	heard   int64
	// blocked says that it waits for something to happen, and is not to be answered for its handler.
	blocked bool
	began   time.Duration // since the requests' epoch
}

// requestShards spreads requests, which come and go often.
const requestShards = 16

// requests are those being handled, for the watchdog.
type requests struct {
	// ticks is the time: a process that was stopped, or had no processor, has not missed anything.
	ticks  atomic.Uint32
	shards [requestShards]requestShard
}

type requestShard struct {
	mu    sync.Mutex // guards the following
	slots []request
	free  []uint32 // indexes of slots
	ops   [numOps]opStat
	_     [64]byte // shards are used by different processors
}

// ticket finds a request again.
type ticket struct {
	op    string
	shard uint32
	slot  uint32
	task  *estate.Task // what an heir must know; nil: nobody is told
	again again
}

func (rs *requests) enter(op string, h *fuse.InHeader) ticket {
	// Numbers of requests are even: the lowest bit marks interrupts.
	t := ticket{op: op, shard: uint32(h.Unique>>1) % requestShards}
	r := request{op: op, unique: h.Unique, node: h.NodeId, thread: h.Pid, since: rs.ticks.Load(), began: time.Since(epoch)}
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
	now, n := time.Since(epoch), opNumber(t.op)
	s := &rs.shards[t.shard]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ops[n].add(now - s.slots[t.slot].began)
	freed = s.slots[t.slot].freed
	s.slots[t.slot] = request{}
	s.free = append(s.free, t.slot)
	return freed
}

// uniques are the kernel's numbers of what is being handled.
func (rs *requests) uniques() (list []uint64) {
	for i := range rs.shards {
		s := &rs.shards[i]
		s.mu.Lock()
		for k := range s.slots {
			if s.slots[k].op != "" {
				list = append(list, s.slots[k].unique)
			}
		}
		s.mu.Unlock()
	}
	return list
}

// loads records that a request waits for a service to be loaded, nil: that it does not any more. As long as something of it
// comes the request is not late.
func (rs *requests) loads(t ticket, service *varsync.Service) {
	s := &rs.shards[t.shard]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slots[t.slot].loading = service
}

// blocks records that a request waits for something to happen, however long that takes, or does not any more.
func (rs *requests) blocks(t ticket, blocked bool) {
	s := &rs.shards[t.shard]
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &s.slots[t.slot]
	r.blocked, r.since = blocked, rs.ticks.Load()
}

// overdue returns the requests that have taken so many ticks since the last call, and those to be answered for their
// handlers; late says whether there are any of the former at all.
func (rs *requests) overdue(warn, free uint32) (warned, freed []request, late bool) {
	now := rs.ticks.Load()
	for i := range rs.shards {
		s := &rs.shards[i]
		s.mu.Lock()
		for k := range s.slots {
			r := &s.slots[k]
			age := now - r.since
			if r.op == "" || age < min(warn, free) || r.blocked && free > 0 {
				continue
			}
			if r.loading != nil && r.loading.Heard() > r.heard {
				r.since, r.heard = now, r.loading.Heard()
				continue
			}
			late = true
			if !r.late {
				r.late = true
				warned = append(warned, *r)
			}
			if age >= free && !r.freed {
				r.freed = true
				freed = append(freed, *r)
			}
		}
		s.mu.Unlock()
	}
	return warned, freed, late
}

// begin is the first thing in a handler, and end its last: `defer f.end(f.begin("op", header), &status)`. In between the
// watchdog knows of the request.
func (f *FS) begin(op string, h *fuse.InHeader) ticket {
	switch op {
	case "setattr", "getxattr", "release":
		// Between the two requests of O_TRUNC the kernel asks for security.capability, and what was closed before is released
		// in its own time.
	default:
		f.openings.take(h.Pid)
	}
	t := f.requests.enter(op, h)
	if f.c != nil && f.c.Moving() && !f.kernel.IsOwn(h) {
		f.c.Await(h.NodeId, f.opBound()) // it may be on its way to another service
	}
	if f.estate != nil && changes(op) && !f.kernel.IsOwn(h) {
		unique := h.Unique &^ resendBit
		if unique != h.Unique {
			t.again = f.inheritance.before(unique)
		}
		t.task = f.estate.Begin(unique)
	}
	return t
}

// done notes the answer of a request.
func (t ticket) done(status fuse.Status) {
	if t.task != nil {
		t.task.Done(int32(status))
	}
}

// end also turns a panic into EIO: one bad request must not take the mount down. It must be what is deferred.
func (f *FS) end(t ticket, status *fuse.Status) {
	f.panicked(t.op, recover(), status)
	f.requests.leave(t)
	t.done(*status)
}

// endOpen is end for what opens: nobody else closes a descriptor that the kernel was not told of.
func (f *FS) endOpen(t ticket, out *fuse.OpenOut, status *fuse.Status) {
	f.panicked(t.op, recover(), status)
	if f.requests.leave(t) && status.Ok() {
		f.Release(nil, &fuse.ReleaseIn{Fh: out.Fh})
		*status = fuse.EIO // should the watchdog's answer come behind ours
	}
	if t.task != nil {
		t.task.SetValue(out.Fh)
	}
	t.done(*status)
}

func (f *FS) panicked(op string, r any, status *fuse.Status) {
	if r != nil {
		f.log.Error("panic in a request", "op", op, "panic", r, "stack", stack())
		*status = fuse.EIO
	}
}
