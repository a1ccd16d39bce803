package sync_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// mirror is what a kernel has that is told of everything by notices: names and nodes, which stay what they are when they move.
type mirror struct {
	mu     sync.Mutex
	at     map[string]uint64 // by path
	errs   []string
	told   []string // what was told at once
	counts map[varsync.NoticeKind]int
	across int
	gone   map[uint64]bool
	again  map[uint64]string // what was told to be gone, and is there again
	// unseen is what the paths begin with of what is not followed; opaque is what has come from there, with nobody knows what.
	unseen string
	opaque map[uint64]bool
}

func newMirror() *mirror {
	return &mirror{counts: map[varsync.NoticeKind]int{}, at: map[string]uint64{}, gone: map[uint64]bool{}, again: map[uint64]string{},
		opaque: map[uint64]bool{}}
}

func (m *mirror) errorf(format string, args ...any) {
	m.errs = append(m.errs, fmt.Sprintf(format, args...))
}

// isUnseen reports whether a path leads into what is not followed.
func (m *mirror) isUnseen(path string) bool {
	return m.unseen != "" && strings.HasPrefix(path, m.unseen)
}

// isOpaque reports whether a path leads into what has come from what is not followed.
func (m *mirror) isOpaque(at map[string]uint64, path string) bool {
	if len(m.opaque) == 0 {
		return false
	}
	for i := strings.LastIndexByte(path, '/'); i > 0; i = strings.LastIndexByte(path[:i], '/') {
		if m.opaque[at[path[:i]]] {
			return true
		}
	}
	return false
}

// take takes what stands under a path, with all below it, out.
func (m *mirror) take(path string) map[string]uint64 {
	out := map[string]uint64{}
	for at, id := range m.at {
		if at == path || strings.HasPrefix(at, path+"/") {
			out[at[len(path):]] = id
			delete(m.at, at)
		}
	}
	return out
}

func (m *mirror) put(path string, nodes map[string]uint64, before string) {
	for rel, id := range nodes {
		if was := m.at[path+rel]; was != 0 && !m.isUnseen(path) && !m.isOpaque(m.at, path) {
			m.errorf("%s: %s is %d, and becomes %d", before, path+rel, was, id)
		}
		m.at[path+rel] = id
	}
}

// hide notes what has come to a path that leads into what is not followed: whatever happens to it there is not told.
func (m *mirror) hide(path string, nodes map[string]uint64) {
	if m.isUnseen(path) {
		for _, id := range nodes {
			m.opaque[id] = true
		}
	}
}

// above has a path that something gets be in a directory.
func (m *mirror) above(path, before string) {
	dir := path[:max(0, strings.LastIndexByte(path, '/'))]
	if dir != "" && m.at[dir] == 0 && !m.isUnseen(path) && !m.isOpaque(m.at, path) {
		m.errorf("%s: no directory", before)
	}
}

func (m *mirror) changed(list []varsync.Notice) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var before string
	defer func() { m.told = append(m.told, before) }()
	for i := 0; i < len(list); i++ {
		n := &list[i]
		m.counts[n.Kind]++
		path, old := strings.Join(n.Path, "/"), strings.Join(n.OldPath, "/")
		before += fmt.Sprintf(" [%s %d %s %s]", map[varsync.NoticeKind]string{1: "modified", 2: "created", 3: "deleted", 4: "renamed", 5: "meta"}[n.Kind], n.ID, old, path)
		at := path
		if n.Kind == varsync.Renamed {
			at = old
		}
		if n.Kind != varsync.Created && m.at[at] != n.ID {
			if !m.isUnseen(at) && !m.isOpaque(m.at, at) {
				m.errorf("%s: there is %d, not %d", before, m.at[at], n.ID)
				continue
			}
			m.take(at)
			m.at[at], m.opaque[n.ID] = n.ID, n.Dir
		}
		switch n.Kind {
		case varsync.Created:
			m.above(path, before)
			m.put(path, map[string]uint64{"": n.ID}, before)
			if m.gone[n.ID] {
				m.again[n.ID] = before + ": it was gone"
			}
		case varsync.Deleted:
			m.gone[n.ID] = true
			opaque := m.isUnseen(path) || m.isOpaque(m.at, path) || m.opaque[n.ID]
			if gone := m.take(path); len(gone) != 1 && n.Service != 0 && !opaque {
				m.errorf("%s: %v was in it", before, gone)
			}
		case varsync.Renamed:
			if n.Service != n.OldService {
				m.across++
			}
			if strings.HasPrefix(path, old+"/") {
				m.errorf("%s: into itself", before)
			}
			nodes := m.take(old)
			if i+1 < len(list) && list[i+1].Kind == varsync.Renamed && slices.Equal(list[i+1].OldPath, n.Path) && slices.Equal(list[i+1].Path, n.OldPath) {
				i++
				if strings.HasPrefix(old, path+"/") {
					m.errorf("%s: out of what it is exchanged with", before)
				}
				other := m.take(path)
				if other[""] != list[i].ID && !m.isUnseen(path) && !m.isOpaque(m.at, path) {
					m.errorf("%s: exchanged with %d, not %d", before, other[""], list[i].ID)
				}
				if other[""] != list[i].ID {
					other = map[string]uint64{"": list[i].ID}
					m.opaque[list[i].ID] = true
				}
				m.put(old, other, before)
				m.hide(old, other)
			}
			m.above(path, before)
			m.put(path, nodes, before)
			m.hide(path, nodes)
		}
	}
}

// treeOf is what a client has, by path.
func treeOf(t *testing.T, c *varsync.Client, services []string) map[string]uint64 {
	t.Helper()
	out := map[string]uint64{}
	tenant := c.Tenant("t")
	out["t"] = tenant.ID()
	for _, name := range services {
		s := tenant.Service(name)
		if _, err := s.Root(t.Context()); err != nil {
			t.Fatal(err)
		}
		out["t/"+name] = s.ID()
		items, _ := s.Contents(func(string) (bool, bool) { return true, true })
		for _, it := range items {
			out["t/"+name+"/"+it.Name] = it.ID
		}
	}
	return out
}

// Whatever moves from one service to another, the notices lead to what there is, and what is moved is never told to be gone.
func TestMovesAgainstMirror(t *testing.T) {
	eachAccessor(t, func(t *testing.T, h *host, noMap bool) {
		rnd := rand.New(rand.NewPCG(testenv.Seed(t), 6))
		services := []string{"a", "b", "c"}
		actor := h.client(t, noMap)
		for _, s := range services {
			for i := range 6 {
				store(t, actor, "t", s, fmt.Sprintf("d%d/e/v", i), s)
				store(t, actor, "t", s, fmt.Sprintf("d%d/v", i), s)
			}
		}
		m := newMirror()
		m.mu.Lock()
		c := h.client(t, noMap, func(o *varsync.Options) { o.OnChange = m.changed })
		m.at = treeOf(t, c, services)
		m.mu.Unlock()
		for _, s := range services {
			c.Tenant("t").Service(s).Hold()
		}
		codes := map[model.Code]int{}
		step := func() {
			all := treeOf(t, actor, services)
			paths := slices.Sorted(maps.Keys(all))
			paths = slices.DeleteFunc(paths, func(p string) bool { return strings.Count(p, "/") < 2 })
			from, with := paths[rnd.IntN(len(paths))], paths[rnd.IntN(len(paths))]
			cut := func(p string) (service, name string) {
				parts := strings.SplitN(p, "/", 3)
				return parts[1], parts[2]
			}
			ch := model.Change{Op: model.OpRename, Tenant: "t", ToTenant: "t"}
			ch.Service, ch.Name = cut(from)
			ch.ToService, ch.ToName = cut(with)
			switch rnd.IntN(8) {
			case 0:
				ch.Op = model.OpExchange
			case 1: // over what is there, or into it
				ch.ToName = ch.ToName + fmt.Sprintf("/n%d", rnd.IntN(3))
			case 2:
				ch = model.Change{Op: model.OpStore, Tenant: "t", Service: ch.Service, Name: ch.Name + "x", Data: []byte("x"), Create: true, Parents: true}
			case 3:
				ch = model.Change{Op: model.OpDelete, Tenant: "t", Service: ch.Service, Name: ch.Name}
			default:
				ch.ToName = fmt.Sprintf("d%d", rnd.IntN(8))
			}
			_, err := actor.Report(t.Context(), ch)
			codes[model.CodeOf(err)]++
		}
		for round := range 8 {
			m.mu.Lock()
			clear(m.gone)
			m.mu.Unlock()
			for range 40 {
				step()
			}
			want := treeOf(t, actor, services)
			same := func() bool {
				m.mu.Lock()
				defer m.mu.Unlock()
				return len(m.errs) > 0 || maps.Equal(m.at, want)
			}
			eventually(t, same)
			m.mu.Lock()
			for _, what := range m.again {
				m.errorf("%s", what)
			}
			errs := m.errs
			m.mu.Unlock()
			if len(errs) > 0 {
				t.Fatalf("round %d: %s", round, strings.Join(errs[:min(len(errs), 5)], "\n"))
			}
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		t.Logf("answers %v, notices %v, %d across", codes, m.counts, m.across)
		if m.across < 20 || codes[model.CodeOK] < 100 {
			t.Error("too little has moved")
		}
	})
}

// What has moved while there was no connection is told to have moved, whichever of the services is brought up to date first.
func TestMovesWithoutConnection(t *testing.T) {
	eachAccessor(t, func(t *testing.T, h *host, noMap bool) {
		services := []string{"a", "b", "c"}
		actor := h.client(t, noMap)
		for _, s := range services {
			for i := range 6 {
				store(t, actor, "t", s, fmt.Sprintf("d%d/e/v", i), s)
			}
			store(t, actor, "t", s, "v", s)
		}
		m := newMirror()
		var away atomic.Bool
		m.mu.Lock()
		c := h.client(t, noMap, func(o *varsync.Options) {
			o.OnChange = m.changed
			o.Dial = func(ctx context.Context) (varsync.Conn, error) {
				if away.Load() {
					return nil, model.ErrDisconnected
				}
				return h.dial(ctx)
			}
		})
		m.at = treeOf(t, c, services)
		m.mu.Unlock()
		for _, s := range services {
			c.Tenant("t").Service(s).Hold()
		}
		away.Store(true)
		h.stop(t)
		h.start(t)
		for i, s := range services {
			to := services[(i+1)%3]
			for k := range 4 {
				move(t, actor, s, fmt.Sprintf("d%d", k), to, fmt.Sprintf("n%d", k))
			}
			move(t, actor, s, "v", to, "w")
		}
		want := treeOf(t, actor, services)
		away.Store(false)
		eventually(t, func() bool {
			m.mu.Lock()
			defer m.mu.Unlock()
			return len(m.errs) > 0 || maps.Equal(m.at, want)
		})
		m.mu.Lock()
		defer m.mu.Unlock()
		if len(m.errs) > 0 || len(m.gone) > 0 || m.counts[varsync.Created] > 0 {
			t.Errorf("%d are gone, notices %v, %s", len(m.gone), m.counts, strings.Join(m.errs, "\n"))
		}
	})
}

func move(t *testing.T, c *varsync.Client, service, name, toService, toName string) {
	t.Helper()
	_, err := c.Report(t.Context(), model.Change{Op: model.OpRename, Tenant: "t", Service: service, Name: name, ToTenant: "t", ToService: toService, ToName: toName})
	if err != nil {
		t.Fatalf("%s/%s to %s/%s: %v", service, name, toService, toName, err)
	}
}
