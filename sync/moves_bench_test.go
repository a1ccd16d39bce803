package sync

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/commy-project/commyfs/model"
)

// Services and what is in them.
const (
	tenantT  = 1
	serviceS = 2
	serviceU = 3 // like S and V in the tenant
	serviceV = 4
	dirD     = 10
	dirE     = 11
	varX     = 20 // d/x
	varY     = 21 // d/e/y
	varTop   = 22
)

// bench is a client that is told what a test says.
type bench struct {
	t     *testing.T
	c     *Client
	sess  *session
	lists map[uint64]*model.Snapshot // what a service has that is asked for
	mu    sync.Mutex
	told  []Notice
	// pinged has the answer to a ping; nil: it comes at once.
	pinged chan struct{}
}

// stub is a connection that lists services.
type stub struct {
	Conn
	b *bench
}

func (s stub) Err() error { return nil }

func (s stub) Ping(context.Context) error {
	if s.b.pinged != nil {
		<-s.b.pinged
	}
	return nil
}

func (s stub) Unwatch(context.Context, uint64) error { return nil }

func (s stub) Watch(_ context.Context, w *model.Watch, page func(*model.Snapshot) error) error {
	if p := s.b.lists[w.Service]; p != nil {
		return page(p)
	}
	return model.ErrDenied
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, lists: map[uint64]*model.Snapshot{}}
	b.c = newClient(Options{OnChange: func(n []Notice) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.told = append(b.told, n...)
	}})
	b.sess = &session{c: b.c, conn: stub{b: b}, welcome: &model.Welcome{}, resyncs: map[uint64]*snapshot{}, asks: ids{}}
	b.c.update(func(f *inFlight) { f.made(b.sess) })
	b.c.applyTree([]model.Tenant{{ID: tenantT, Name: "t"}}, []model.Service{{ID: serviceS, Tenant: tenantT, Name: "s"},
		{ID: serviceU, Tenant: tenantT, Name: "u"}, {ID: serviceV, Tenant: tenantT, Name: "v"}})
	t.Cleanup(func() {
		b.c.cancel()
		b.c.wg.Wait()
		b.c.endMoves()
	})
	return b
}

func (b *bench) service(id uint64) *Service { return b.c.index.get(id).(*Service) }

// list loads a service, or sends it again.
func (b *bench) list(service uint64, rev int64, dirs []model.Dir, vars []model.Variable) {
	b.t.Helper()
	p := &model.Snapshot{Service: service, Rev: rev, Dirs: dirs, Vars: vars}
	if err := b.sess.page(b.service(service), &snapshot{}, p, bufferAccessor{}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) change(service uint64, rev int64, events ...model.Event) {
	b.t.Helper()
	b.sess.Changed(&model.Changes{Service: service, Rev: rev, Changes: events})
	if !b.service(service).Watched() {
		b.t.Fatalf("the changes of %d do not fit", service)
	}
}

// content is what D has.
func content(at string, version uint64) ([]model.Dir, []model.Variable) {
	value := func(id uint64, name string) model.Variable {
		return model.Variable{ID: id, Name: name, Version: version, MTime: 7, Size: 3, Writer: "w", Data: fmt.Appendf(nil, "v%d", id)}
	}
	return []model.Dir{{ID: dirD, Name: at, MTime: 5}, {ID: dirE, Name: at + "/e", MTime: 6}},
		[]model.Variable{value(varX, at+"/x"), value(varY, at+"/e/y")}
}

// arrives are the events of D's coming.
func arrives(at string, from, version uint64) []model.Event {
	dirs, vars := content(at, version)
	var out []model.Event
	for _, d := range dirs {
		out = append(out, model.Event{Kind: model.EventMkdir, ID: d.ID, Name: d.Name, MTime: d.MTime, Moved: from, Time: 9})
	}
	for _, v := range vars {
		out = append(out, model.Event{Kind: model.EventSet, Created: true, ID: v.ID, Name: v.Name, Version: v.Version, MTime: v.MTime, Size: v.Size,
			Writer: v.Writer, Data: v.Data, Moved: from, Time: 9})
	}
	return out
}

func leaves(id uint64, at string, to uint64) model.Event {
	return model.Event{Kind: model.EventRmdir, ID: id, Name: at, Moved: to, Time: 9}
}

// loadS has D in S, and loads others, empty.
func (b *bench) loadS(others ...uint64) {
	dirs, vars := content("d", 1)
	b.list(serviceS, 1, dirs, vars)
	for _, id := range others {
		b.list(id, 1, nil, nil)
	}
}

// takeTold returns what was told since the last call, in words.
func (b *bench) takeTold() (out []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, n := range b.told {
		path := strings.Join(n.Path[1:], "/")
		if n.Told == 0 || n.Rev < n.Told || n.Kind == Renamed && n.OldRev < n.OldTold {
			b.t.Errorf("%s: told up to %d of %d", path, n.Told, n.Rev)
		}
		switch n.Kind {
		case Renamed:
			path = fmt.Sprintf("renamed %d %s %s", n.ID, strings.Join(n.OldPath[1:], "/"), path)
			if len(n.OldPath) == 0 || b.c.serviceByID(n.OldService).name != n.OldPath[1] || b.c.serviceByID(n.Service).name != n.Path[1] {
				b.t.Errorf("%s: services %d and %d", path, n.OldService, n.Service)
			}
			slices.SortFunc(n.Risen, func(a, b Rise) int { return int(a.Variable) - int(b.Variable) })
			for _, r := range n.Risen {
				path += fmt.Sprintf(" %d:%d-%d", r.Variable, r.From, r.To)
			}
		default:
			path = map[NoticeKind]string{Modified: "modified ", Created: "created ", Deleted: "deleted ", MetaChanged: "meta "}[n.Kind] + path
		}
		out = append(out, path)
	}
	b.told = nil
	return out
}

func (b *bench) want(want ...string) {
	b.t.Helper()
	if got := b.takeTold(); !slices.Equal(got, want) {
		b.t.Errorf("told %q, want %q", got, want)
	}
}

// wantIn checks that D is in a service, and nowhere else, as the index has it, and that nothing waits.
func (b *bench) wantIn(service uint64, at string) {
	b.t.Helper()
	m := &b.c.moves
	b.c.steps.Lock()
	if n := len(m.left) + len(m.come) + len(m.joined) + len(m.paused); n > 0 {
		b.t.Errorf("%d halves wait: %v %v %v %v", n, m.left, m.come, m.joined, m.paused)
	}
	b.c.steps.Unlock()
	var all int
	for _, id := range []uint64{serviceS, serviceU, serviceV} {
		s := b.service(id)
		if strings.Contains(s.tree(), "not in the index") {
			b.t.Errorf("service %d: %s", id, s.tree())
		}
		if d, _ := s.lookupLocked(at).(*Dir); d != nil && d.id == dirD {
			all++
			if id != service {
				b.t.Errorf("it is in %d too", id)
			}
		}
	}
	for _, id := range []uint64{dirD, dirE, varX, varY} {
		n := b.c.index.get(id)
		if service == 0 && n != nil || service != 0 && (n == nil || serviceID(n) != service) {
			b.t.Errorf("%d is %v", id, n)
		}
	}
	for i := range b.c.index.shards {
		if n := len(b.c.index.shards[i].behind); n > 0 {
			b.t.Errorf("%d nodes are behind others", n)
		}
	}
	if service != 0 && all != 1 {
		b.t.Errorf("it is in %d services", all)
	}
}
