package fs

import (
	"sync"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
)

func TestRequests(t *testing.T) {
	var f FS
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for k := range 100 {
				h := fuse.InHeader{Unique: uint64(2 * (100*i + k)), NodeId: uint64(i), Caller: fuse.Caller{Pid: uint32(k)}}
				var status fuse.Status
				outer := f.begin("write", &h)
				inner := f.begin("open", &h)
				f.end(inner, &status)
				f.end(outer, &status)
			}
		})
	}
	wg.Wait()
	for i := range f.requests.shards {
		s := &f.requests.shards[i]
		if len(s.free) != len(s.slots) {
			t.Errorf("shard %d: %d slots, %d of them free", i, len(s.slots), len(s.free))
		}
		for _, r := range s.slots {
			if r != (request{}) {
				t.Errorf("left: %+v", r)
			}
		}
	}
	h := &fuse.InHeader{Unique: 2}
	if n := testing.AllocsPerRun(100, func() {
		var status fuse.Status
		defer f.end(f.begin("read", h), &status)
	}); n != 0 {
		t.Errorf("%v allocations a request", n)
	}
}

// Who waits for a lock is not late, but does not outlive the mount.
func TestParkedRequests(t *testing.T) {
	var f FS
	h := &fuse.InHeader{Unique: 2}
	ticket := f.begin("lock", h)
	f.requests.blocks(ticket, true)
	f.requests.ticks.Add(100)
	if warned, freed, late := f.requests.overdue(lateTicks, freeTicks); late || len(warned)+len(freed) > 0 {
		t.Errorf("late: %v, %v", warned, freed)
	}
	f.requests.blocks(ticket, false)
	if _, _, late := f.requests.overdue(lateTicks, freeTicks); late {
		t.Error("late at once when it waits no more")
	}
	f.requests.blocks(ticket, true)
	if _, freed, _ := f.requests.overdue(lateTicks, 0); len(freed) != 1 {
		t.Errorf("at the end: %v", freed)
	}
	var status fuse.Status
	f.end(ticket, &status)
}

// What was opened for nobody is closed.
func TestAnsweredOpen(t *testing.T) {
	m := newMount(t, Options{})
	m.put("t/s/v", "old")
	node := m.id("t/s/v")
	for _, freed := range []bool{false, true} {
		h := m.header(node)
		out := &fuse.OpenOut{}
		status := fuse.OK
		func() {
			defer m.endOpen(m.begin("open", &h), out, &status)
			d, err := m.open(m.node(node), node, h.Pid, syscall.O_WRONLY, false)
			if err != nil {
				t.Fatal(err)
			}
			out.Fh = m.handles.add(d)
			if freed {
				m.requests.overdue(0, 0)
			}
		}()
		if left := m.handles.get(out.Fh) != nil; left == freed {
			t.Errorf("answered already: %v, descriptor left: %v", freed, left)
		}
		if status.Ok() == freed {
			t.Errorf("answered already: %v, and now: %v", freed, status)
		}
		m.handles.remove(out.Fh)
	}
}

func BenchmarkRequests(b *testing.B) {
	var f FS
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		h := &fuse.InHeader{}
		for pb.Next() {
			h.Unique += 2
			func() {
				var status fuse.Status
				defer f.end(f.begin("read", h), &status)
			}()
		}
	})
}

// A request that waits for a service is not late as long as pages of that come.
func TestLoadingIsNotLate(t *testing.T) {
	m := newMount(t, Options{})
	m.id("t/s")
	ticket := m.requests.enter("lookup", &fuse.InHeader{Unique: 2, NodeId: 1})
	m.requests.loads(ticket, m.c.Tenant("t").Service("s"))
	for i, want := range []int{0, 1} { // the one page that has come counts once
		m.requests.ticks.Add(freeTicks)
		if _, freed, _ := m.requests.overdue(lateTicks, freeTicks); len(freed) != want {
			t.Errorf("look %d: %d requests are overdue, want %d", i, len(freed), want)
		}
	}
	if m.requests.loads(ticket, nil); !m.requests.leave(ticket) {
		t.Error("not answered by the watchdog")
	}
}

// A request that waits for something to happen is late for nobody, until all are to end.
func TestBlocked(t *testing.T) {
	var rs requests
	blocked := rs.enter("control", &fuse.InHeader{Unique: 2})
	rs.blocks(blocked, true)
	rs.enter("read", &fuse.InHeader{Unique: 4})
	rs.ticks.Add(100)
	warned, freed, late := rs.overdue(lateTicks, freeTicks)
	if len(warned) != 1 || len(freed) != 1 || !late || freed[0].unique != 4 {
		t.Errorf("warned of %v, freed %v", warned, freed)
	}
	if _, freed, _ = rs.overdue(lateTicks, 0); len(freed) != 1 || freed[0].unique != 2 {
		t.Errorf("at the end freed %v", freed)
	}
	if rs.running() != 2 {
		t.Errorf("%d are running", rs.running())
	}
	rs.leave(blocked)
	for _, op := range rs.stats() {
		if want := map[string]uint64{"control": 1}[op.op]; op.count != want {
			t.Errorf("%s: %d", op.op, op.count)
		}
	}
}
