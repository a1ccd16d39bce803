package kernel

import (
	"slices"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	varsync "github.com/commy-project/commyfs/sync"
)

// homeTree is a fakeTree that knows which service its nodes are in.
type homeTree struct {
	fakeTree
	in map[uint64]*varsync.Service
}

func (t homeTree) Service(id uint64) *varsync.Service { return t.in[id] }

// gone is a notice of a directory that has gone to another service.
func gone(from, to *varsync.Service, id uint64) varsync.Notice {
	return varsync.Notice{Kind: varsync.Renamed, Dir: true, ID: id, Parent: 4, OldParent: 3, Path: []string{"t", "to", "d"}, OldPath: []string{"t", "from", "d"},
		Service: 4, OldService: 3, Rev: 9, OldRev: 9}
}

// wantHeld fails unless so many nodes count for the service, in time.
func wantHeld(t *testing.T, c *Cache, s *varsync.Service, want int) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		c.mu.Lock()
		got, busy := 0, c.recounts
		if h := c.held[s]; h != nil {
			got = h.nodes
		}
		c.mu.Unlock()
		if got == want && !busy {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d nodes count for the service, want %d", got, want)
		}
		time.Sleep(time.Millisecond)
	}
}

// What has left a service counts for the other one, also nodes of which the kernel has no name, and what is looked up meanwhile. That
// is held before anything else happens.
func TestRecount(t *testing.T) {
	const dir, below = 10, 100
	from, to := &varsync.Service{}, &varsync.Service{}
	tree := homeTree{fakeTree{}, map[uint64]*varsync.Service{3: from, 4: to}}
	c := newCache(tree)
	c.Learn(0, 3, from)
	nodes := []uint64{dir}
	for id := uint64(below); id < below+2*movingStep; id++ {
		nodes = append(nodes, id)
	}
	for i, id := range nodes {
		tree.in[id] = from
		c.Learn(0, id, from)
		if i%2 == 0 { // of the others the names were dropped
			c.Told(0, dir, "name", id)
		}
	}
	stays := uint64(1 << 20)
	c.Learn(0, stays, from)
	tree.in[stays] = from
	wantHeld(t, c, from, len(nodes)+2)
	wantHeld(t, c, to, 0)
	for range 3 {
		for _, id := range nodes {
			tree.in[id] = to
		}
		c.mu.Lock() // nothing is counted yet
		c.leavesLocked(left{from, to})
		if h := c.held[to]; h == nil || h.nodes == 0 {
			t.Error("the other service is not held")
		}
		c.mu.Unlock()
		wantHeld(t, c, to, len(nodes))
		wantHeld(t, c, from, 2)
		tree.in[dir] = from
		for _, id := range nodes {
			tree.in[id] = from
		}
		c.Changed([]varsync.Notice{{Kind: varsync.Renamed, Dir: true, ID: dir, Parent: 3, OldParent: 4, Path: []string{"t", "from", "d"},
			OldPath: []string{"t", "to", "d"}, Service: 3, OldService: 4, Rev: 9}})
		wantHeld(t, c, from, len(nodes)+2)
		wantHeld(t, c, to, 0)
	}
	// One that was found before the move and is told behind it.
	tree.in[dir] = to
	c.Recount(dir)
	wantHeld(t, c, to, 1)
	for _, id := range append(nodes, stays, 3) {
		c.Forget(id, 1)
	}
	if len(c.held) != 0 || len(c.moving) != 0 {
		t.Errorf("left over: %d services are held", len(c.held))
	}
}

// Nothing counts for a service of which the kernel has nothing that could have left it.
func TestNothingLeft(t *testing.T) {
	from, to := &varsync.Service{}, &varsync.Service{}
	c := newCache(homeTree{fakeTree{}, map[uint64]*varsync.Service{3: from, 4: to, 10: to}})
	c.Changed([]varsync.Notice{gone(from, to, 10)})
	if len(c.held) != 0 || c.recounts {
		t.Errorf("%d services are held", len(c.held))
	}
}

// A notice of two services waits for both, however the queue joins it with others.
func TestQueueOfMoves(t *testing.T) {
	const dir = 10
	from, to := &varsync.Service{}, &varsync.Service{}
	c := newCache(homeTree{fakeTree{}, map[uint64]*varsync.Service{3: from, 4: to, dir: to}})
	c.Learn(0, 3, from)
	c.Learn(0, dir, to)
	c.Changed([]varsync.Notice{
		gone(from, to, dir),
		{Kind: varsync.Renamed, Dir: true, ID: dir, Parent: 4, OldParent: 4, Path: []string{"t", "to", "e"}, OldPath: []string{"t", "to", "d"},
			Service: 4, OldService: 4, Rev: 12, OldRev: 12},
	})
	for _, want := range []int{2, 1} {
		if len(c.queue.list) != want {
			t.Fatalf("%d events, want %d", len(c.queue.list), want)
		}
		for service, first := range map[uint64]int64{3: c.queue.list[0].OldRev, 4: c.queue.list[0].Rev} {
			if rev, known := c.oldestLocked(service); rev != first || !known {
				t.Errorf("of service %d: oldest %d, %v; want %d", service, rev, known, first)
			}
		}
		c.queue.compact()
	}
	e := c.queue.next()
	if e.OldService != 3 || e.Service != 4 || !slices.Equal(e.OldPath, []string{"t", "from", "d"}) || !slices.Equal(e.Path, []string{"t", "to", "e"}) {
		t.Errorf("joined %+v", e.Notice)
	}
}

// What is gone from one place and is in another is not removed in the kernel: something else is, under its name.
func TestRemovedByAnother(t *testing.T) {
	in := &varsync.Service{}
	for _, tt := range []struct {
		name      string
		elsewhere bool
	}{{"removed", false}, {"elsewhere", true}} {
		t.Run(tt.name, func(t *testing.T) {
			tree := homeTree{fakeTree{}, map[uint64]*varsync.Service{}}
			if tt.elsewhere {
				tree.in[10] = in
			}
			c := newCache(tree)
			c.Learn(0, 3, nil)
			c.Learn(0, 10, nil)
			p := c.removal(&event{Notice: varsync.Notice{Kind: varsync.Deleted, Dir: true, ID: 10, Parent: 3, Path: []string{"t", "s", "d"}}}, name{3, "d"}, 0)
			c.current.Store(p)
			var out fuse.EntryOut
			if status, done := c.PokeLookup(3, "d", &out); !done || !status.Ok() {
				t.Fatalf("%v, %v", status, done)
			}
			if is := out.NodeId == 10; is == tt.elsewhere || out.NodeId == 0 {
				t.Errorf("node %d is removed", out.NodeId)
			}
			if status := c.PokeGone(3, "d"); !status.Ok() {
				t.Error(status)
			}
			if out.NodeId != 10 {
				c.Forget(out.NodeId, 1)
			}
			c.Forget(10, 3)
			if len(c.names) != 0 || len(c.nodes) != 2 {
				t.Errorf("left: %v, %d nodes", c.names, len(c.nodes))
			}
		})
	}
}
