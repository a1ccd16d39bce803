package core

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unique"

	"github.com/commy-project/commyfs/engine"
	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/model"
)

// stored is what the store holds at a revision, by what its keys are made of.
type stored struct {
	rev      int64
	tenants  map[string]engine.Tenant
	services map[serviceKey]engine.Service // by their tenants' prefixes
	dirs     map[storedName]engine.Dir
	vars     map[storedName]engine.Variable
	floors   map[uint64]uint64
	moved    map[uint64]uint64
	islands  map[islandKey]*island
}

func readStore(t *testing.T, e *engine.Engine) *stored {
	t.Helper()
	st := &stored{
		tenants: map[string]engine.Tenant{}, services: map[serviceKey]engine.Service{}, dirs: map[storedName]engine.Dir{},
		vars: map[storedName]engine.Variable{}, floors: map[uint64]uint64{}, islands: map[islandKey]*island{},
	}
	tenants, services, rev, err := e.LoadTree(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	st.rev = rev
	for _, tn := range tenants {
		st.tenants[tn.Name] = tn
	}
	var homes []uint64
	for _, s := range services {
		st.services[serviceKey{s.Tenant, s.Name}] = s
		homes = append(homes, s.ID)
	}
	for i := 0; i < len(homes); i++ { // also those of services that are gone, of which something is left in others
		id := homes[i]
		floor, _, err := e.LoadService(t.Context(), id, allPages(func(p engine.Page) error {
			for _, d := range p.Dirs {
				st.dirs[storedName{id, d.Name}] = d
				if d.Home != 0 && !slices.Contains(homes, d.Home) {
					homes = append(homes, d.Home)
				}
			}
			for _, v := range p.Variables {
				st.vars[storedName{id, v.Name}] = v
			}
			return nil
		}))
		if err != nil {
			t.Fatal(err)
		}
		if floor != 0 {
			st.floors[id] = floor
		}
	}
	if st.moved, err = e.LoadMoved(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	islands, err := e.LoadIslands(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range islands {
		st.islands[islandKey{i.Home, i.Prefix}] = &island{i.ID, i.Service, i.Was}
	}
	return st
}

// changed calls put for what is new or another in now, and del for what is gone.
func changed[K comparable, V any](was, now map[K]V, same func(a, b V) bool, put func(K, V), del func(K)) {
	for k, v := range now {
		if old, ok := was[k]; !ok || !same(old, v) {
			put(k, v)
		}
	}
	for k := range was {
		if _, ok := now[k]; !ok {
			del(k)
		}
	}
}

func same[V comparable](a, b V) bool { return a == b }

// history is what who decodes the store's history must remember: what is behind the ids. A directory that goes to another service
// is another object there.
type history struct {
	tenants  map[uint64]*tenant
	services map[uint64]*service
	dirs     map[[2]uint64]*directory // by the service's id, and their own
}

// places are where the store has what, by services and by where that is in them.
func (h *history) places(t *testing.T, st *stored) (dirs map[entryKey]engine.Dir, vars map[entryKey]engine.Variable) {
	t.Helper()
	dirs, vars = map[entryKey]engine.Dir{}, map[entryKey]engine.Variable{}
	type area struct {
		home   uint64
		prefix string
	}
	areaOf := func(at storedName) (area, string) {
		i := strings.LastIndexByte(at.name, '/') + 1
		return area{at.home, at.name[:i]}, at.name[i:]
	}
	inside := map[area][]storedName{}
	for at := range st.dirs {
		in, _ := areaOf(at)
		inside[in] = append(inside[in], at)
	}
	by := map[area]*directory{}
	var below func(in *directory)
	below = func(in *directory) {
		here := area{in.home, in.prefix}
		if by[here] != nil {
			t.Fatalf("%v is of two directories", here)
		}
		by[here] = in
		for _, at := range inside[here] {
			e := st.dirs[at]
			k := [2]uint64{in.service.id, e.ID}
			home, prefix := cmp.Or(e.Home, at.home), cmp.Or(e.Prefix, e.Name+"/")
			d := h.dirs[k]
			if d == nil {
				d = &directory{id: e.ID, service: in.service, home: home, prefix: prefix}
				h.dirs[k] = d
			}
			if d.home != home || d.prefix != prefix {
				t.Fatalf("directory %d has the prefix %q of %d, and had %q of %d", e.ID, prefix, home, d.prefix, d.home)
			}
			if home != at.home && st.islands[islandKey{home, prefix}] == nil {
				t.Fatalf("directory %d is not known to be elsewhere", e.ID)
			}
			if i := st.islands[islandKey{home, prefix}]; i != nil && (i.id != e.ID || i.service != in.service.id) {
				t.Fatalf("directory %d is in %d, and is said to be %+v", e.ID, in.service.id, *i)
			}
			_, name := areaOf(at)
			dirs[entryKey{in, name}] = e
			below(d)
		}
	}
	for _, e := range st.services {
		if svc := h.services[e.ID]; svc != nil {
			below(svc.content.Load().root)
		}
	}
	if len(dirs) != len(st.dirs) {
		t.Fatalf("%d of %d directories are somewhere", len(dirs), len(st.dirs))
	}
	for at, e := range st.vars {
		in, name := areaOf(at)
		if by[in] == nil {
			t.Fatalf("%v is in no directory", at)
		}
		vars[entryKey{by[in], name}] = e
	}
	return dirs, vars
}

// since decodes what has been written to the store after another moment. It knows nothing of what is in any view.
func (st *stored) since(t *testing.T, was *stored, h *history) *delta {
	t.Helper()
	d := newDelta()
	d.rev = st.rev
	changed(was.tenants, st.tenants, same, func(name string, e engine.Tenant) {
		m := meta{e.MTime, model.Mode(e.Mode)}
		if h.tenants[e.ID] == nil {
			h.tenants[e.ID] = newTenant(e.ID, name, cmp.Or(e.Prefix, name), m)
		}
		d.tenants[name] = tenantState{h.tenants[e.ID], m}
	}, func(name string) { d.tenants[name] = tenantState{} })
	place := func(st *stored, k serviceKey) placeKey {
		for _, e := range st.tenants {
			if cmp.Or(e.Prefix, e.Name) == k.tenant {
				return placeKey{h.tenants[e.ID], k.name}
			}
		}
		t.Fatalf("service %q has no tenant", k)
		return placeKey{}
	}
	changed(was.services, st.services, same, func(k serviceKey, e engine.Service) {
		m := meta{e.MTime, model.Mode(e.Mode)}
		if h.services[e.ID] == nil {
			svc := newService(e.ID, k.name, nil, m)
			svc.content.Store(newContent(svc))
			h.services[e.ID] = svc
		}
		if _, ok := was.services[k]; ok {
			d.services[place(was, k)] = serviceState{} // of another tenant, perhaps
		}
		d.services[place(st, k)] = serviceState{h.services[e.ID], m}
	}, func(k serviceKey) { d.services[place(was, k)] = serviceState{} })
	wasDirs, wasVars := h.places(t, was)
	dirs, vars := h.places(t, st)
	changed(wasDirs, dirs, same, func(at entryKey, e engine.Dir) {
		n := &dirInfo{id: e.ID, dir: h.dirs[[2]uint64{at.in.service.id, e.ID}], in: at.in, name: at.name, least: e.Least, meta: meta{e.MTime, model.Mode(e.Mode)}}
		in := d.in(at.in.service.id)
		in.dirs = append(in.dirs, dirState{entryKey: at, dir: n})
	}, func(at entryKey) {
		in := d.in(at.in.service.id)
		in.dirs = append(in.dirs, dirState{entryKey: at, left: true})
	})
	changed(wasVars, vars, func(a, b engine.Variable) bool {
		return a.ID == b.ID && a.Version == b.Version && a.MTime == b.MTime && a.Mode == b.Mode && a.Writer == b.Writer && bytes.Equal(a.Data, b.Data)
	}, func(at entryKey, e engine.Variable) {
		in := d.in(at.in.service.id)
		in.vars = append(in.vars, variableState{entryKey: at, variable: &variable{
			id: e.ID, version: e.Version, mtime: e.MTime, mode: model.Mode(e.Mode), dir: at.in, name: at.name, writer: unique.Make(e.Writer),
			value: newValue(e.Data), kind: e.Type,
		}})
	}, func(at entryKey) {
		in := d.in(at.in.service.id)
		in.vars = append(in.vars, variableState{entryKey: at})
	})
	changed(was.islands, st.islands, func(a, b *island) bool { return reflect.DeepEqual(a, b) },
		func(k islandKey, i *island) { d.islands[k] = i }, func(k islandKey) { d.islands[k] = nil })
	changed(was.floors, st.floors, same, func(id, floor uint64) { d.floors[id] = floor }, func(id uint64) { d.floors[id] = 0 })
	changed(was.moved, st.moved, same, func(id, sid uint64) { d.moved[id] = sid }, func(id uint64) { d.moved[id] = 0 })
	return d
}

// text is all that a view holds, apart from slots, in words.
func (v *view) text() string {
	v.mu.RLock()
	defer v.mu.RUnlock()
	lines := []string{fmt.Sprintf("moved %v, went %v", v.moved, v.went)}
	for k, i := range v.islands {
		lines = append(lines, fmt.Sprintf("island %v: %+v", k, *i))
	}
	found := 0
	for name, t := range v.tenants {
		if t.name != name {
			lines = append(lines, fmt.Sprintf("tenant %s is called %s", name, t.name))
		}
		lines = append(lines, fmt.Sprintf("%s: %d %d %o", name, t.id, t.mtime, t.mode))
		for name, s := range t.services {
			if v.services[s.id] != s || s.name != name || s.tenant != t {
				lines = append(lines, fmt.Sprintf("service %s is called %s", name, s.name))
			}
			at := t.name + "/" + name
			c := s.content.Load()
			lines = append(lines, fmt.Sprintf("%s: %d %d %o floor %d holds %d", at, s.id, s.mtime, s.mode, c.floor, c.root.count))
			if !slices.Contains(v.loaded, s) || v.loaded[s.at] != s {
				lines = append(lines, at+" is not among the loaded")
			}
			seen := 0
			for w := c.nodes.freeze().walk(0, "", 0, true); ; seen++ {
				it, path, ok := w.next()
				if !ok {
					break
				}
				if k := it.key(); c.nodes.get(k) != it {
					lines = append(lines, path+" is not found")
				}
				path = at + "/" + path
				if d := it.d; d != nil {
					lines = append(lines, fmt.Sprintf("%s/: %d %d %o least %d holds %d", path, d.id, d.mtime, d.mode, d.least, d.dir.count))
					if d.dir.now != d || at+"/"+d.in.path(d.name) != path || d.dir.home == s.id && !d.isOwnPrefix() != (c.prefixes[d.dir.prefix] == d.dir) {
						lines = append(lines, path+" is another directory")
					}
					continue
				}
				n := it.v
				lines = append(lines, fmt.Sprintf("%s: %d %q v%d %d %o by %s %q", path, n.id, n.name, n.version, n.mtime, n.mode, n.writtenBy(), n.data()))
				if v.byID.get(n.id) == n {
					found++
				} else {
					lines = append(lines, path+" is not found by its id")
				}
			}
			for w := c.nodes.freeze().from(nodeKey{}); ; seen-- {
				if _, ok := w.next(); !ok {
					break
				}
			}
			if seen != 0 {
				lines = append(lines, fmt.Sprintf("%s: %d are in no directory", at, -seen))
			}
		}
	}
	slices.Sort(lines)
	return strings.Join(append(lines, fmt.Sprintf("%d services, %d loaded, %d variables more", len(v.services), len(v.loaded), v.byID.count-found)), "\n")
}

// TestDeltas: a view that is given what transactions have written to the store, decoded, is the committer's. So is that of
// the next server.
func TestDeltas(t *testing.T) {
	rnd := rand.New(rand.NewPCG(testenv.Seed(t), 0))
	d := newDirs(t)
	stay := func(o *setup) { o.interval = time.Hour } // nothing is let go
	s := d.start(t, stay)
	writers := []*peer{connect(t, s), connect(t, s), connect(t, s)}
	follower, was := newView(), readStore(t, s.engine)
	h := history{map[uint64]*tenant{}, map[uint64]*service{}, map[[2]uint64]*directory{}}
	away := renameTo(at(model.OpRename, "t", "s", "v"), "v")
	away.ToService, away.Parents = "r", true
	writers[0].do(store("v", "moved"))
	writers[0].do(away)
	codes := map[model.Code]int{}
	moved, floors, islands := 0, 0, 0
	for range 150 {
		// Several reports at a time become one transaction.
		release := s.holdCommits(t)
		var calls []<-chan any
		for _, p := range writers[:1+rnd.IntN(len(writers))] {
			for range 1 + rnd.IntN(3) {
				p.seq++
				r := &model.Report{Seq: p.seq, Acked: p.seq - min(p.seq, 10), Changes: randomTreeChanges(rnd)}
				calls = append(calls, p.begin(r))
			}
		}
		s.awaitQueued(t, len(calls))
		release()
		for _, c := range calls {
			codes[writers[0].outcome(c).Code]++
		}
		now := readStore(t, s.engine)
		follower.mu.Lock()
		d := now.since(t, was, &h)
		moved, floors, islands = moved+len(d.moved), floors+len(d.floors), islands+len(d.islands)
		follower.apply(d)
		follower.mu.Unlock()
		was = now
		if got, want := follower.text(), s.view.text(); got != want {
			t.Fatalf("the follower has\n%s\nthe committer\n%s", got, want)
		}
	}
	t.Logf("answers by code %v, %d moved, %d floors, %d islands", codes, moved, floors, islands)
	if codes[model.CodeOK] < 80 || codes[model.CodeInternal] > 0 || moved == 0 || floors == 0 || islands == 0 {
		t.Error("too little has happened")
	}

	want := follower.text()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = d.start(t, stay)
	for _, svc := range s.view.services {
		if err := s.load(t.Context(), svc); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.view.text(); got != want {
		t.Errorf("after a restart\n%s\nwant\n%s", got, want)
	}
}

// TestTenantTakesAName: a service stays what it is when, in one transaction, tenants get the names of others.
func TestTenantTakesAName(t *testing.T) {
	take := func(c model.Change, tenant, service string) model.Change {
		c.ToTenant, c.ToService, c.Parents = tenant, service, true
		return c
	}
	out, back := take(at(model.OpRename, "t", "s", ""), "u", "s"), take(at(model.OpRename, "u", "s", ""), "t", "s")
	for name, changes := range map[string][]model.Change{
		"removed":  {out, at(model.OpRmdir, "t", "", ""), take(at(model.OpRename, "u", "", ""), "t", "")},
		"renamed":  {out, take(at(model.OpRename, "t", "", ""), "w", ""), take(at(model.OpRename, "u", "", ""), "t", "")},
		"replaced": {out, take(at(model.OpRename, "u", "", ""), "t", "")},
		"new":      {out, at(model.OpRmdir, "t", "", ""), at(model.OpMkdir, "t", "", ""), back},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDirs(t)
			stay := func(o *setup) { o.interval = time.Hour }
			s := d.start(t, stay)
			p := connect(t, s)
			follower, was := newView(), readStore(t, s.engine)
			h := history{map[uint64]*tenant{}, map[uint64]*service{}, map[[2]uint64]*directory{}}
			id := p.do(store("v", "1"))[0].ID
			follow := func() {
				now := readStore(t, s.engine)
				follower.mu.Lock()
				follower.apply(now.since(t, was, &h))
				follower.mu.Unlock()
				was = now
			}
			follow()
			p.do(changes...)
			follow()
			p.wantValue("v", "1")
			p.do(store("w", "2"))
			p.do(take(at(model.OpRename, "t", "", ""), "x", ""))
			p.do(model.Change{Op: model.OpStore, ID: id, Data: []byte("3")})
			follow()
			got := s.view.text()
			if have := follower.text(); have != got {
				t.Errorf("the follower has\n%s\nthe committer\n%s", have, got)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = d.start(t, stay)
			for _, svc := range s.view.services {
				if err := s.load(t.Context(), svc); err != nil {
					t.Fatal(err)
				}
			}
			if want := s.view.text(); got != want {
				t.Errorf("before a restart\n%s\nafter it\n%s", got, want)
			}
		})
	}
}

// randomTreeChanges are changes in, of and between a few tenants and services.
func randomTreeChanges(rnd *rand.Rand) []model.Change {
	pick := func(list ...string) string { return list[rnd.IntN(len(list))] }
	if rnd.IntN(4) == 0 { // a directory that goes from service to service
		c := model.Change{Tenant: pick("t", "u"), Service: pick("s", "r"), Name: pick("m", "m", "n"), Parents: true}
		c.ToTenant, c.ToService, c.ToName = pick("t", "u"), pick("s", "r"), pick("m", "n", "m/n", "n/o")
		switch rnd.IntN(5) {
		case 0:
			c.Op, c.Name = model.OpMkdir, pick(c.Name, c.Name+"/o")
		case 1, 2:
			c.Op, c.Name, c.Create, c.Data = model.OpStore, c.Name+pick("/v", "/w", "/o/v"), true, fmt.Append(nil, rnd.IntN(100))
		case 3:
			c.Op = model.OpRename
		case 4:
			c.Op = model.OpExchange
		}
		return []model.Change{c}
	}
	list := testenv.RandomChanges(rnd)
	for i := range list {
		c := &list[i]
		c.Tenant, c.Service, c.Parents = pick("t", "t", "u", "w"), pick("s", "s", "r"), rnd.IntN(5) > 0
		if rnd.IntN(4) > 0 {
			c.Create = true
		}
		if c.Name != "" && rnd.IntN(8) == 0 {
			c.Op, c.ToName = model.OpRename, c.Name // to another service, or nowhere
			if rnd.IntN(3) == 0 {
				c.Op = model.OpExchange
			}
		}
		if (c.Op == model.OpRename || c.Op == model.OpExchange) && rnd.IntN(3) > 0 {
			c.ToTenant, c.ToService = pick("t", "u", "w", ""), pick("s", "r", "q", "")
		}
		if rnd.IntN(8) > 0 {
			continue
		}
		switch c.Op {
		case model.OpMkdir, model.OpRmdir, model.OpSetMeta:
			c.Name, c.Service = "", pick(c.Service, "")
		case model.OpRename, model.OpExchange:
			c.Name, c.ToName, c.Service = "", "", pick(c.Service, "")
			if c.ToTenant, c.ToService = pick("t", "u", "w", "x"), ""; c.Service != "" {
				c.ToService = pick("s", "r", "q")
			}
		}
	}
	if rnd.IntN(10) == 0 {
		tenant := pick("t", "u", "w", "x")
		op := []model.Op{model.OpRename, model.OpExchange}[rnd.IntN(2)]
		list = append(list, model.Change{Op: op, Tenant: tenant, ToTenant: pick("t", "u", "w", "x")})
	}
	return list
}
