package core

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/model"
)

// mirror is what who watches several services makes of what it is told, the simplest way.
type mirror struct {
	p        *peer
	hold     sync.Mutex // the peer takes nothing more while it is locked
	services map[uint64]map[string]mirrored
	names    map[uint64]string
	at       map[uint64]uint64 // in which service an id is
	resent   map[uint64]map[string]mirrored
	moved    int // halves of what went from one service to another
}

type mirrored struct {
	id      uint64
	dir     bool
	version uint64
}

func newMirror(t *testing.T, s *testCore, services ...string) *mirror {
	t.Helper()
	m := &mirror{services: map[uint64]map[string]mirrored{}, names: map[uint64]string{}, at: map[uint64]uint64{}, resent: map[uint64]map[string]mirrored{}}
	m.p = connect(t, s, func(p *peer) {
		p.flushing = func() {
			m.hold.Lock()
			defer m.hold.Unlock()
		}
	})
	for _, name := range services {
		id := m.p.service("t", name)
		m.names[id] = name
		m.services[id] = m.listed(m.p.mustWatch(&model.Watch{Service: id}))
		for _, n := range m.services[id] {
			m.at[n.id] = id
		}
	}
	return m
}

func (m *mirror) listed(s *model.Snapshot) map[string]mirrored {
	tree := map[string]mirrored{}
	for _, d := range s.Dirs {
		tree[d.Name] = mirrored{id: d.ID, dir: true}
	}
	for _, v := range s.Vars {
		tree[v.Name] = mirrored{id: v.ID, version: v.Version}
	}
	return tree
}

// follow takes what the mirror was told up to a revision.
func (m *mirror) follow(t *testing.T, what any) {
	t.Helper()
	switch c := what.(type) {
	case *model.Changes:
		for i := range c.Changes {
			m.apply(t, c.Service, &c.Changes[i])
		}
	case *model.Snapshot:
		if c.Resumed {
			for i := range c.Changes {
				m.apply(t, c.Service, &c.Changes[i])
			}
			return
		}
		tree := m.resent[c.Service]
		if tree == nil {
			tree = map[string]mirrored{}
			m.resent[c.Service] = tree
		}
		for name, n := range m.listed(c) {
			tree[name] = n
		}
		if c.More {
			return
		}
		delete(m.resent, c.Service)
		for _, n := range m.services[c.Service] {
			if m.at[n.id] == c.Service {
				delete(m.at, n.id)
			}
		}
		m.services[c.Service] = tree
		for _, n := range tree {
			m.at[n.id] = c.Service
		}
	}
}

func (m *mirror) apply(t *testing.T, service uint64, e *model.Event) {
	t.Helper()
	tree := m.services[service]
	there, has := tree[e.Name]
	say := func() string { return fmt.Sprintf("%s: %+v over %+v", m.names[service], *e, there) }
	if e.Moved != 0 {
		m.moved++
	}
	switch e.Kind {
	case model.EventSet, model.EventMkdir:
		if has && there.id != e.ID || !has && m.at[e.ID] != 0 {
			t.Fatalf("it is in %s: %s", m.names[m.at[e.ID]], say())
		}
		if e.Kind == model.EventSet && has && e.Version < there.version {
			t.Fatalf("its version goes back: %s", say())
		}
		if i := strings.LastIndexByte(e.Name, '/'); i > 0 && !tree[e.Name[:i]].dir {
			t.Fatalf("there is no directory for it: %s", say())
		}
		tree[e.Name], m.at[e.ID] = mirrored{e.ID, e.Kind == model.EventMkdir, e.Version}, service
	case model.EventDelete, model.EventRmdir:
		if !has || there.id != e.ID {
			t.Fatalf("it is not there: %s", say())
		}
		for name, n := range tree {
			if name == e.Name || below(name, e.Name) {
				if name != e.Name && e.Moved == 0 {
					t.Fatalf("%s is in it: %s", name, say())
				}
				delete(tree, name)
				delete(m.at, n.id)
			}
		}
	case model.EventRename, model.EventRenameDir:
		if e.Other != 0 && has && there.id == e.ID {
			return // done with the first of the two
		}
		from := map[string]mirrored{}
		take := func(path, to string) {
			for name, n := range tree {
				if name == path || below(name, path) {
					if delete(tree, name); !n.dir {
						n.version = e.Risen(n.version)
					}
					from[to+name[len(path):]] = n
				}
			}
		}
		if tree[e.OldName].id != e.ID || has && there.id != e.Other {
			t.Fatalf("it is not there: %s", say())
		}
		take(e.OldName, e.Name)
		first := from
		if from = map[string]mirrored{}; has {
			take(e.Name, e.OldName)
		}
		for _, list := range []map[string]mirrored{first, from} {
			for name, n := range list {
				tree[name] = n
			}
		}
	}
}

// check compares the mirror with what the server has.
func (m *mirror) check(t *testing.T, p *peer) {
	t.Helper()
	want := map[uint64]map[string]mirrored{}
	for id, name := range m.names {
		want[id] = map[string]mirrored{}
		for _, e := range p.list(&model.List{Tenant: "t", Service: name, Recursive: true}) {
			if e.Name != "" {
				want[id][e.Name] = mirrored{e.ID, e.Dir, e.Version}
			}
		}
	}
	differs := func() error {
		for id, tree := range want {
			for name, n := range tree {
				if got := m.services[id][name]; got != n {
					return fmt.Errorf("%s/%s is mirrored as %+v, is %+v", m.names[id], name, got, n)
				}
			}
			if len(tree) != len(m.services[id]) {
				return fmt.Errorf("%d are mirrored of %s, there are %d", len(m.services[id]), m.names[id], len(tree))
			}
		}
		return nil
	}
	testenv.Eventually(t, bound, func() error {
		for _, what := range m.p.taken() {
			m.follow(t, what)
		}
		return differs()
	})
}
