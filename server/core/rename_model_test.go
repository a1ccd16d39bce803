package core

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/model"
)

// modelTree is what a service should hold, the simplest way: everything by its whole path.
type modelTree struct {
	nodes map[string]modelNode
	// services are those that it is of: then a path begins with the name of one.
	services []string
	// seen is the highest version that there was under a path, and values what there was at each.
	seen   map[string]uint64
	values map[versionOf]string
}

type versionOf struct {
	path    string
	version uint64
}

type modelNode struct {
	id    uint64 // 0: not known yet
	dir   bool
	value string
}

func newModel(services ...string) *modelTree {
	m := &modelTree{map[string]modelNode{}, services, map[string]uint64{}, map[versionOf]string{}}
	for _, s := range services {
		m.nodes[s] = modelNode{dir: true}
	}
	return m
}

// split parts a path into a service and the path there.
func (m *modelTree) split(path string) (service, name string) {
	if m.services == nil {
		return "s", path
	}
	service, name, _ = strings.Cut(path, "/")
	return service, name
}

// sent is a change of the model's paths as the server is asked for it.
func (m *modelTree) sent(c model.Change) model.Change {
	c.Service, c.Name = m.split(c.Name)
	if c.ToName != "" {
		c.ToService, c.ToName = m.split(c.ToName)
	}
	return c
}

// hasDir tells whether path is the top or a directory.
func (m *modelTree) hasDir(path string) bool { return path == "" || m.nodes[path].dir }

func (m *modelTree) empty(dir string) bool {
	for path := range m.nodes {
		if below(path, dir) {
			return false
		}
	}
	return true
}

// take removes what is at a path, with all below, and returns it by the rest of its path.
func (m *modelTree) take(path string) map[string]modelNode {
	taken := map[string]modelNode{}
	for p, n := range m.nodes {
		if p == path || below(p, path) {
			taken[p[len(path):]] = n
			delete(m.nodes, p)
		}
	}
	return taken
}

func (m *modelTree) give(path string, taken map[string]modelNode) {
	for rest, n := range taken {
		m.nodes[path+rest] = n
	}
}

// do carries out a change, or says that it has to be refused.
func (m *modelTree) do(c *model.Change) bool {
	was, there := m.nodes[c.Name]
	to, toThere := m.nodes[c.ToName]
	switch c.Op {
	case model.OpStore:
		if was.dir || !m.hasDir(parentOf(c.Name)) {
			return false
		}
		m.nodes[c.Name] = modelNode{was.id, false, string(c.Data)}
	case model.OpMkdir:
		if there || !m.hasDir(parentOf(c.Name)) {
			return false
		}
		m.nodes[c.Name] = modelNode{dir: true}
	case model.OpDelete:
		if !there || was.dir {
			return false
		}
		delete(m.nodes, c.Name)
	case model.OpRmdir:
		if !there || !was.dir || !m.empty(c.Name) {
			return false
		}
		delete(m.nodes, c.Name)
	case model.OpRename:
		switch {
		case !there:
			return false
		case c.Name == c.ToName:
			return true
		case was.dir && below(c.ToName, c.Name), !m.hasDir(parentOf(c.ToName)), toThere && to.dir != was.dir:
			return false
		case toThere && !was.dir:
			m.take(c.Name)
			m.nodes[c.ToName] = modelNode{to.id, false, was.value} // the value moves
			return true
		case toThere && !m.empty(c.ToName):
			return false
		}
		delete(m.nodes, c.ToName)
		m.give(c.ToName, m.take(c.Name))
	case model.OpExchange:
		switch {
		case !there || !toThere:
			return false
		case c.Name == c.ToName:
			return true
		case below(c.Name, c.ToName) || below(c.ToName, c.Name):
			return false
		}
		a, b := m.take(c.Name), m.take(c.ToName)
		m.give(c.ToName, a)
		m.give(c.Name, b)
	}
	return true
}

// check compares the tree with what the server lists and holds, and learns the ids.
func (m *modelTree) check(t *testing.T, p *peer) {
	t.Helper()
	found := map[string]bool{}
	if m.services == nil {
		m.checkService(t, p, "s", "", found)
	}
	for _, service := range m.services {
		found[service] = true
		m.checkService(t, p, service, service+"/", found)
	}
	if len(found) != len(m.nodes) {
		t.Fatalf("%d are listed, want %d", len(found), len(m.nodes))
	}
	for path := range m.nodes {
		m.checkOne(t, p, path)
	}
}

func (m *modelTree) checkService(t *testing.T, p *peer, service, prefix string, found map[string]bool) {
	t.Helper()
	last := ""
	for _, e := range p.list(&model.List{Tenant: "t", Service: service, Recursive: true}) {
		if e.Name == "" {
			continue
		}
		e.Name = prefix + e.Name
		n, there := m.nodes[e.Name]
		if !there || found[e.Name] || n.dir != e.Dir || n.id != 0 && n.id != e.ID {
			t.Fatalf("listed %+v, want %+v", e, n)
		}
		if last >= e.Name {
			t.Fatalf("%q is listed after %q", e.Name, last)
		}
		found[e.Name], last = true, e.Name
		n.id = e.ID
		m.nodes[e.Name] = n
	}
}

func (m *modelTree) checkOne(t *testing.T, p *peer, path string) {
	t.Helper()
	n, there := m.nodes[path]
	service, name := m.split(path)
	if name == "" {
		return
	}
	got, err := p.get("t", service, name)
	switch {
	case !there:
		if c := model.CodeOf(err); c != model.CodeNotFound && c != model.CodeNotDirectory {
			t.Fatalf("%s: %+v, %v, want nothing", path, got, err)
		}
	case n.dir:
		p.wantCode(err, model.CodeIsDirectory)
	case err != nil || string(got.Data) != n.value || n.id != 0 && got.ID != n.id:
		t.Fatalf("%s: %+v %q, %v, want %+v", path, got, got.Data, err, n)
	default:
		m.seen[path] = max(m.seen[path], got.Version)
		k := versionOf{path, got.Version}
		if old, ok := m.values[k]; ok && old != n.value {
			t.Fatalf("%s has version %d, as %.20q had, with %.20q", path, got.Version, old, n.value)
		}
		m.values[k] = n.value
	}
}

// randomChange is a change of a small tree, more often than not one that can be carried out.
func (m *modelTree) randomChange(rnd *rand.Rand, step int) model.Change {
	paths := slices.DeleteFunc(slices.Sorted(maps.Keys(m.nodes)), func(p string) bool { return slices.Contains(m.services, p) })
	top := func() string {
		if m.services == nil {
			return ""
		}
		return m.services[rnd.IntN(len(m.services))] + "/"
	}
	some := func() string {
		if len(paths) > 0 && rnd.IntN(5) > 0 {
			return paths[rnd.IntN(len(paths))]
		}
		return top() + []string{"a", "b", "c"}[rnd.IntN(3)]
	}
	fresh := func() string {
		name := []string{"a", "b", "c", "a-", "", "v", "w"}[rnd.IntN(7)]
		if dir := some(); rnd.IntN(4) > 0 && strings.Count(dir, "/") < 5 {
			return dir + "/" + name
		}
		return top() + "t" + name
	}
	c := at([]model.Op{
		model.OpStore, model.OpStore, model.OpStore, model.OpMkdir, model.OpMkdir, model.OpDelete, model.OpRmdir,
		model.OpRename, model.OpRename, model.OpRename, model.OpExchange,
	}[rnd.IntN(11)], "t", "s", some())
	switch c.Op {
	case model.OpStore:
		c.Create, c.Data = true, fmt.Append(nil, step)
		if rnd.IntN(5) == 0 {
			c.Data = append(c.Data, strings.Repeat("x", 70<<10)...) // in pieces
		}
		if rnd.IntN(2) == 0 {
			c.Name = fresh()
		}
	case model.OpMkdir:
		c.Name = fresh()
	case model.OpRename:
		if c.ToName = fresh(); rnd.IntN(3) == 0 {
			c.ToName = some()
		}
	case model.OpExchange:
		c.ToName = some()
	}
	return c
}

// TestRenamesAgainstModel: whatever directories are renamed to, made again under their old names, or exchanged, in whatever
// transactions and with restarts between them, everything is there once, under its name and id.
func TestRenamesAgainstModel(t *testing.T) {
	testRenames(t, newModel())
}

// TestMovesAgainstModel: the same where directories and variables go from one service to another, back and forth.
func TestMovesAgainstModel(t *testing.T) {
	testRenames(t, newModel("r", "s", "u"))
}

func testRenames(t *testing.T, m *modelTree) {
	rnd := rand.New(rand.NewPCG(testenv.Seed(t), 7))
	d := newDirs(t)
	s := d.start(t)
	p := connect(t, s)
	p.do(at(model.OpMkdir, "t", "", ""), at(model.OpMkdir, "t", "s", ""))
	for _, service := range m.services {
		if service != "s" {
			p.do(at(model.OpMkdir, "t", service, ""))
		}
	}
	services := m.services
	if services == nil {
		services = []string{"s"}
	}
	mirror := newMirror(t, s, services...)
	inMemory(p, services)
	built := 0
	behind := false // the mirror takes nothing
	hold := func(on bool) {
		switch {
		case on && !behind:
			mirror.hold.Lock()
		case !on && behind:
			mirror.hold.Unlock()
		}
		behind = on
	}
	defer hold(false)
	steps, accepted, undone, renamed, moved, prefixes, restarts := 12_000, 0, 0, 0, 0, 0, 0
	if testing.Short() {
		steps = 1500
	}
	for step := 0; step < steps; {
		most := []int{0, 3, mostRenamed}[rnd.IntN(3)] // with what is above it memory files are built anew
		if err := s.between(func() { s.most = most }); err != nil {
			t.Fatal(err)
		}
		release := s.holdCommits(t) // several reports become one transaction
		type sent struct {
			outcome <-chan any
			changes []model.Change
			want    bool
			fresh   []bool
		}
		var calls []sent
		for range 1 + rnd.IntN(6) {
			call := sent{want: true}
			p.seq++
			r := &model.Report{Seq: p.seq, Acked: p.seq - min(p.seq, 10)}
			before, most := maps.Clone(m.nodes), 1 // all of a report is carried out, or nothing
			if rnd.IntN(4) == 0 {
				most = 2 + rnd.IntN(4)
			}
			for len(call.changes) < most && call.want {
				step++
				c := m.randomChange(rnd, step)
				_, there := m.nodes[c.Name]
				if call.want = m.do(&c); !call.want && len(call.changes) > 0 && rnd.IntN(2) == 0 {
					call.want = true // most reports would be refused
					continue
				}
				call.changes, call.fresh = append(call.changes, c), append(call.fresh, c.Op == model.OpStore && !there)
				r.Changes = append(r.Changes, m.sent(c))
			}
			if !call.want {
				m.nodes = before
				if len(call.changes) > 1 {
					undone++
				}
			}
			call.outcome = p.begin(r)
			calls = append(calls, call)
		}
		s.awaitQueued(t, len(calls))
		release()
		for _, call := range calls {
			o := p.outcome(call.outcome)
			if last := call.changes[len(call.changes)-1]; (o.Code == model.CodeOK) != call.want || !call.want && o.Index != len(call.changes)-1 {
				t.Fatalf("step %d: change %d, %v %q -> %q: code %d (%s) of %d, want it carried out: %v", step, len(call.changes)-1, last.Op, last.Name, last.ToName,
					o.Code, o.Message, o.Index, call.want)
			}
			if !call.want {
				continue
			}
			for i, c := range call.changes {
				accepted++
				if call.fresh[i] && o.Results[i].Version <= m.seen[c.Name] {
					t.Fatalf("step %d: a new %q has version %d, there was %d", step, c.Name, o.Results[i].Version, m.seen[c.Name])
				}
				if c.Op == model.OpRename {
					renamed++
					if from, _ := m.split(c.Name); from != m.sent(c).ToService {
						moved++
					}
				}
				if c.Op == model.OpStore {
					m.seen[c.Name] = max(m.seen[c.Name], o.Results[i].Version)
				}
			}
		}
		if rnd.IntN(3) == 0 {
			hold(!behind)
		}
		if rnd.IntN(40) == 0 {
			m.check(t, p)
			built += s.awaitBuilt(t)
			m.checkStored(t, s, p, services)
			hold(false)
			mirror.check(t, p)
		}
		for _, service := range services {
			prefixes = max(prefixes, len(s.view.lookup("t", service).content.Load().prefixes))
		}
		if rnd.IntN(150) > 0 {
			continue
		}
		hold(false)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		restarts++
		s = d.start(t)
		p = connect(t, s)
		for path := range m.nodes { // before it is loaded
			if rnd.IntN(2) == 0 {
				m.checkOne(t, p, path)
			}
			m.checkOne(t, p, path+"-")
			if m.services == nil {
				m.checkOne(t, p, "b/"+path)
			}
		}
		m.check(t, p)
		if rnd.IntN(3) > 0 {
			inMemory(p, services)
		}
		seen := mirror.moved
		mirror = newMirror(t, s, services...)
		mirror.moved = seen
	}
	hold(false)
	mirror.check(t, p)
	m.check(t, p)
	t.Logf("waited for %d memory files; %d of %d changes carried out, %d reports undone, %d renames, %d of them to another service, %d restarts, up to %d directories under other names in the store",
		built, accepted, steps, undone, renamed, moved, restarts, prefixes)
	if accepted < steps/5 || undone < steps/200 || m.services != nil && (moved < steps/60 || mirror.moved == 0) || renamed < steps/30 || restarts < steps/2000 || prefixes < 3 {
		t.Error("too little has happened")
	}
}
