package core

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/commy-project/commyfs/engine"
	"github.com/commy-project/commyfs/internal/testenv"
)

// storeModel is what a store should hold of a few services, the simplest way, and writes to it what the server would.
type storeModel struct {
	rnd      *rand.Rand
	services []*storeNode
	nodes    []*storeNode // all below
	lastID   uint64
	done     map[string]int // by what was done
}

// storeNode is a service, a directory or a variable.
type storeNode struct {
	id   uint64
	in   *storeNode // nil of a service
	name string
	// Of a directory, or service.
	dir    bool
	home   uint64
	prefix string
	least  uint64
	island bool
	kids   map[string]*storeNode
	// Of a variable.
	version uint64
	data    []byte
}

func newStoreModel(rnd *rand.Rand, services int) *storeModel {
	m := &storeModel{rnd: rnd, lastID: 1000, done: map[string]int{}}
	for i := range services {
		m.services = append(m.services, &storeNode{id: uint64(i + 1), home: uint64(i + 1), dir: true, kids: map[string]*storeNode{}})
	}
	return m
}

func (n *storeNode) top() *storeNode {
	for n.in != nil {
		n = n.in
	}
	return n
}

func (n *storeNode) isBelow(d *storeNode) bool {
	for ; n != nil; n = n.in {
		if n == d {
			return true
		}
	}
	return false
}

func (n *storeNode) depth() (d int) {
	for ; n.in != nil; n = n.in {
		d++
	}
	return d
}

func (n *storeNode) path() string {
	if n.in.in == nil {
		return n.name
	}
	return n.in.path() + "/" + n.name
}

func (n *storeNode) stored() string { return n.in.prefix + n.name }

func (n *storeNode) isOwn() bool { return n.home == n.in.home && n.prefix == n.stored()+"/" }

// inIsland tells whether a directory is one, or below one.
func (n *storeNode) inIsland() bool {
	for ; n.in != nil; n = n.in {
		if n.island {
			return true
		}
	}
	return false
}

// some is a directory, or a service.
func (m *storeModel) some() *storeNode {
	for range 5 {
		if len(m.nodes) == 0 || m.rnd.IntN(4) == 0 {
			break
		}
		if n := m.nodes[m.rnd.IntN(len(m.nodes))]; n.dir && n.depth() < 8 {
			return n
		}
	}
	return m.services[m.rnd.IntN(len(m.services))]
}

// free is a name that nothing in a directory has, if there is one.
func (m *storeModel) free(in *storeNode) (string, bool) {
	for range 5 {
		name := []string{"a", "b", "c", "a-", "a0", "0", ""}[m.rnd.IntN(7)]
		if in.kids[name] == nil && (name != "" || in.in != nil) {
			return name, true
		}
	}
	return "", false
}

func (n *storeNode) record() engine.Dir {
	d := engine.Dir{ID: n.id, Name: n.stored(), Least: n.least}
	if n.home != n.in.home {
		d.Home = n.home
	}
	if !n.isOwn() {
		d.Prefix = n.prefix
	}
	return d
}

// put stores a node where it is now.
func (n *storeNode) put() []engine.Op {
	if n.dir {
		return []engine.Op{engine.PutDir(n.in.home, n.record())}
	}
	v := engine.Variable{ID: n.id, Name: n.stored(), Version: n.version, Data: n.data}
	return engine.AppendVariable(nil, n.in.home, v, engine.Stored{})
}

// drop removes what put stored.
func (n *storeNode) drop() engine.Op {
	if n.dir {
		return engine.DeleteDir(n.in.home, n.stored())
	}
	return engine.DeleteVariable(n.in.home, n.stored())
}

// taken tells whether a directory has a prefix already.
func (m *storeModel) taken(home uint64, prefix string) bool {
	return slices.ContainsFunc(m.nodes, func(n *storeNode) bool { return n.dir && n.home == home && n.prefix == prefix })
}

// step is a change, as the store gets it: nil if none was found.
func (m *storeModel) step(did *string) []engine.Op {
	switch k := m.rnd.IntN(10); {
	case k < 4:
		return m.make(did, k < 2)
	case k < 5:
		return m.remove(did)
	}
	if len(m.nodes) == 0 {
		return nil
	}
	return m.move(did, m.nodes[m.rnd.IntN(len(m.nodes))])
}

func (m *storeModel) make(did *string, dir bool) []engine.Op {
	in := m.some()
	name, ok := m.free(in)
	if !ok {
		return nil
	}
	m.lastID++
	n := &storeNode{id: m.lastID, in: in, name: name, dir: dir}
	if dir {
		n.home, n.prefix, n.kids = in.home, in.prefix+name+"/", map[string]*storeNode{}
		if in.inIsland() || m.taken(n.home, n.prefix) {
			n.prefix = engine.DirPrefix(n.id)
		}
	} else {
		n.version, n.data = 1+m.rnd.Uint64N(100), fmt.Append(nil, m.lastID)
		if m.rnd.IntN(10) == 0 {
			n.data = append(n.data, bytes.Repeat([]byte{'x'}, engine.MaxWhole)...)
		}
	}
	in.kids[name] = n
	m.nodes = append(m.nodes, n)
	*did = "made"
	return n.put()
}

func (m *storeModel) remove(did *string) []engine.Op {
	if len(m.nodes) == 0 {
		return nil
	}
	i := m.rnd.IntN(len(m.nodes))
	n := m.nodes[i]
	if len(n.kids) > 0 {
		return nil
	}
	m.nodes = slices.Delete(m.nodes, i, i+1)
	delete(n.in.kids, n.name)
	ops := []engine.Op{n.drop()}
	if n.island {
		ops = append(ops, engine.DeleteIsland(n.home, n.prefix))
	}
	if size := len(n.data); engine.Pieces(size) > 0 {
		ops = append(ops, engine.DeletePieces(n.id, size))
	}
	*did = "removed"
	return ops
}

func (m *storeModel) move(did *string, n *storeNode) []engine.Op {
	to := m.some()
	name, ok := m.free(to)
	if !ok || to.isBelow(n) {
		return nil
	}
	was := n.top()
	ops := []engine.Op{n.drop()}
	delete(n.in.kids, n.name)
	n.in, n.name = to, name
	to.kids[name] = n
	*did = "moved a variable"
	if n.dir {
		n.least = m.rnd.Uint64N(100)
		*did = "moved a directory"
		if n.top() != was || n.home != to.home {
			if n.island = true; n.top() != was {
				*did = "moved a directory to another service"
			}
			ops = append(ops, engine.PutIsland(engine.Island{Home: n.home, Prefix: n.prefix, ID: n.id, Service: n.top().id, Was: []uint64{was.id}}))
		}
	}
	return append(ops, n.put()...)
}

// check compares a service with what is loaded of it, and found in the store.
func (m *storeModel) check(t *testing.T, s *testCore, service *storeNode) {
	t.Helper()
	c, err := s.fill(t, service.id)
	if err != nil {
		t.Fatalf("service %d: %v", service.id, err)
	}
	got := c.holds(t)
	longest, prefixes := 0, map[string]uint64{}
	for _, n := range m.nodes {
		if n.dir && n.home == service.id && !n.isOwn() {
			prefixes[n.prefix] = n.id
		}
		if n.top() != service {
			continue
		}
		path := n.path()
		longest = max(longest, len(path))
		it, ok := got[path]
		if !ok {
			t.Fatalf("service %d has no %s", service.id, path)
		}
		delete(got, path)
		found, size, err := s.engine.Find(t.Context(), service.id, path, true)
		if err != nil {
			t.Fatal(err)
		}
		if n.dir {
			d := it.d
			if d == nil || d.id != n.id || d.dir.id != n.id || d.dir.home != n.home || d.dir.prefix != n.prefix || d.dir.service != c.root.service || d.dir.count != len(n.kids) || !found.Dir {
				t.Fatalf("service %d has %+v at %s, which is found as %+v, want %+v", service.id, d, path, found, n)
			}
			continue
		}
		version := n.version
		for d := n.in; d != nil; d = d.in {
			version = max(version, d.least)
		}
		v, w := it.v, found.Variable
		if v == nil || v.id != n.id || v.dir.version(v.version) != version || !bytes.Equal(v.data(), n.data) || v.pieced != (len(n.data) > engine.MaxWhole) {
			t.Fatalf("service %d has %+v at %s, want %+v", service.id, v, path, n)
		}
		if w == nil || w.ID != n.id || w.Version != version || !bytes.Equal(w.Data, n.data) || size != len(n.data) {
			t.Fatalf("service %d: %s is found as %+v, want %+v", service.id, path, w, n)
		}
	}
	if len(got) > 0 {
		t.Fatalf("service %d has too much: %v", service.id, slices.Sorted(maps.Keys(got)))
	}
	if c.root.longest != longest || c.root.count != len(service.kids) {
		t.Fatalf("service %d has %d nodes in it, with up to %d bytes, want %d and %d", service.id, c.root.count, c.root.longest, len(service.kids), longest)
	}
	have := map[string]uint64{}
	for p, d := range c.prefixes {
		have[p] = d.id
	}
	if !maps.Equal(have, prefixes) {
		t.Fatalf("service %d has the prefixes %v, want %v", service.id, have, prefixes)
	}
}

// TestFillModel: whatever was moved where, in whatever services it was made, each service has what it should.
func TestFillModel(t *testing.T) {
	rnd := rand.New(rand.NewPCG(testenv.Seed(t), 11))
	s := startCore(t)
	m := newStoreModel(rnd, 3)
	steps := 6000
	if testing.Short() {
		steps = 1500
	}
	for step := range steps {
		did := ""
		ops := m.step(&did)
		if ops == nil {
			continue
		}
		s.commitOps(t, ops...)
		m.done[did]++
		if step%20 == 0 {
			for _, service := range m.services {
				m.check(t, s, service)
			}
		}
		for len(m.nodes) > 150 { // most at the ends of what there is
			if ops := m.remove(&did); ops != nil {
				s.commitOps(t, ops...)
			}
		}
	}
	homes, islands := 0, 0
	for _, n := range m.nodes {
		if n.dir && n.home != n.in.home {
			homes++
		}
		if n.island {
			islands++
		}
	}
	t.Logf("%v; in the end %d nodes, %d islands, %d with another home than that above", m.done, len(m.nodes), islands, homes)
	if homes < 5 || m.done["moved a directory to another service"] < steps/20 {
		t.Error("too little has happened")
	}
}
