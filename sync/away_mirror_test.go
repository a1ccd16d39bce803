package sync_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// gate is a way to the server that can be shut, and on which connections can be lost at any step.
type gate struct {
	h     *host
	shut  atomic.Bool
	left  atomic.Int32 // the connection is lost at one of its next requests for a service; below 0: it is not
	mu    sync.Mutex
	conns []varsync.Conn
}

var errGate = errors.New("the connection is cut")

func (g *gate) dial(ctx context.Context) (varsync.Conn, error) {
	if g.shut.Load() {
		return nil, model.ErrDisconnected
	}
	conn, err := g.h.dial(ctx)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	g.conns = append(g.conns, conn)
	g.mu.Unlock()
	return gateConn{conn, g}, nil
}

type gateConn struct {
	varsync.Conn
	g *gate
}

func (c gateConn) Watch(ctx context.Context, w *model.Watch, page func(*model.Snapshot) error) error {
	if c.g.left.Load() >= 0 && c.g.left.Add(-1) < 0 {
		_ = c.Conn.Close()
		return errGate
	}
	return c.Conn.Watch(ctx, w, page)
}

// cut ends all connections.
func (g *gate) cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range g.conns {
		_ = c.Close()
	}
	g.conns = nil
}

// awayModel changes services at random while a client that follows some of them is connected, or is not.
type awayModel struct {
	t        *testing.T
	rnd      *rand.Rand
	h        *host
	g        *gate
	actor    *varsync.Client
	services []string
	steps    int
	codes    map[model.Code]int
	unseen   map[uint64]bool // what has been in the service that is not followed
	log      []string
}

// change changes something at random.
func (a *awayModel) change() {
	a.steps++
	all := treeOf(a.t, a.actor, a.services)
	a.see(all)
	paths := slices.Sorted(maps.Keys(all))
	paths = slices.DeleteFunc(paths, func(p string) bool { return strings.Count(p, "/") < 2 })
	rnd := a.rnd
	pick := func() (service, name string) {
		parts := strings.SplitN(paths[rnd.IntN(len(paths))], "/", 3)
		return parts[1], parts[2]
	}
	ch := model.Change{Op: model.OpRename, Tenant: "t", ToTenant: "t"}
	ch.Service, ch.Name = pick()
	ch.ToService, ch.ToName = pick()
	base := func(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }
	list := []model.Change{ch}
	switch rnd.IntN(12) {
	case 0, 1:
		list[0].Op = model.OpExchange
	case 2, 3: // into what is there
		list[0].ToName += fmt.Sprintf("/d%d", rnd.IntN(4))
	case 4:
		list[0] = model.Change{Op: model.OpStore, Tenant: "t", Service: ch.Service, Name: ch.Name + fmt.Sprintf("/d%d", rnd.IntN(4)), Data: []byte("x"), Create: true}
	case 5:
		list[0] = model.Change{Op: model.OpDelete, Tenant: "t", Service: ch.Service, Name: ch.Name}
	case 6:
		list[0] = model.Change{Op: model.OpMkdir, Tenant: "t", Service: ch.Service, Name: ch.Name + fmt.Sprintf("/d%d", rnd.IntN(4))}
	case 7:
		list[0] = model.Change{Op: model.OpRmdir, Tenant: "t", Service: ch.Service, Name: ch.Name}
	case 8, 9: // away, and its name is taken at once, maybe by what it is put into
		list[0].ToName = fmt.Sprintf("m%d", a.steps)
		list = append(list, model.Change{Op: model.OpMkdir, Tenant: "t", Service: ch.Service, Name: ch.Name})
		if rnd.IntN(2) == 0 {
			list = append(list, model.Change{Op: model.OpRename, Tenant: "t", Service: ch.ToService, Name: list[0].ToName,
				ToTenant: "t", ToService: ch.Service, ToName: ch.Name + "/d0"})
		}
	case 10: // what is in it takes its place
		up := ch.Name[:max(0, strings.LastIndexByte(ch.Name, '/'))]
		if up == "" {
			break
		}
		list = []model.Change{
			{Op: model.OpRename, Tenant: "t", Service: ch.Service, Name: ch.Name, ToTenant: "t", ToService: ch.Service, ToName: fmt.Sprintf("m%d", a.steps)},
			{Op: model.OpRename, Tenant: "t", Service: ch.Service, Name: up, ToTenant: "t", ToService: ch.Service, ToName: fmt.Sprintf("m%d/%s", a.steps, base(ch.Name))},
			{Op: model.OpRename, Tenant: "t", Service: ch.Service, Name: fmt.Sprintf("m%d", a.steps), ToTenant: "t", ToService: ch.Service, ToName: up},
		}
	default:
		list[0].ToName = fmt.Sprintf("d%d", rnd.IntN(6))
	}
	for _, ch := range list {
		_, err := a.actor.Report(a.t.Context(), ch)
		code := model.CodeOf(err)
		a.codes[code]++
		a.log = append(a.log, fmt.Sprintf("%d %s/%s -> %s/%s: %v", ch.Op, ch.Service, ch.Name, ch.ToService, ch.ToName, err))
		if err != nil {
			break
		}
		if ch.ToService == "u" {
			a.see(treeOf(a.t, a.actor, a.services))
		}
	}
}

// see notes what is in the service that is not followed.
func (a *awayModel) see(all map[string]uint64) {
	for path, id := range all {
		if strings.HasPrefix(path, "t/u/") {
			a.unseen[id] = true
		}
	}
}

// disturb has the connection lost, or the server replaced, or both come back.
func (a *awayModel) disturb() {
	switch a.rnd.IntN(6) {
	case 0:
		a.log = append(a.log, "cut")
		a.g.cut()
	case 1:
		a.log = append(a.log, "away")
		a.g.shut.Store(true)
		a.g.cut()
	case 2:
		a.log = append(a.log, "restart")
		a.h.stop(a.t)
		a.h.start(a.t)
	case 3:
		a.log = append(a.log, "lost as it comes back")
		a.g.left.Store(a.rnd.Int32N(4))
		a.g.shut.Store(false)
	default:
		a.log = append(a.log, "back")
		a.g.shut.Store(false)
	}
}

// Whatever happens to directories while a client has no connection, or another server: its notices are what a file system could have
// told, lead to what there is, and never tell that something is gone that is still there.
func TestAwayAgainstMirror(t *testing.T) {
	eachAccessor(t, func(t *testing.T, h *host, noMap bool) {
		a := &awayModel{t: t, h: h, g: &gate{h: h}, services: []string{"a", "b", "c", "u"}, codes: map[model.Code]int{}, unseen: map[uint64]bool{}}
		a.rnd = rand.New(rand.NewPCG(testenv.Seed(t), 7))
		a.actor = h.client(t, noMap, slow)
		for _, s := range a.services {
			for i := range 3 {
				store(t, a.actor, "t", s, fmt.Sprintf("d%d/e/v", i), s)
				store(t, a.actor, "t", s, fmt.Sprintf("d%d/v", i), s)
			}
		}
		followed := a.services[:3]
		a.g.left.Store(-1)
		m := newMirror()
		m.unseen = "t/u/"
		m.mu.Lock()
		c := h.client(t, noMap, slow, func(o *varsync.Options) { o.OnChange, o.Dial, o.Idle = m.changed, a.g.dial, -1 })
		m.at = treeOf(t, c, followed)
		m.at["t/u"] = c.Tenant("t").Service("u").ID()
		m.mu.Unlock()
		if err := a.run(m, c, followed); err != nil {
			m.mu.Lock()
			defer m.mu.Unlock()
			t.Fatalf("%v\n%s\n\n%s\n\n%s", err, strings.Join(a.log[max(0, len(a.log)-60):], "\n"),
				strings.Join(m.told[max(0, len(m.told)-30):], "\n"), strings.Join(m.errs[:min(len(m.errs), 4)], "\n"))
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		t.Logf("%d steps, answers %v, notices %v, %d across", a.steps, a.codes, m.counts, m.across)
	})
}

func (a *awayModel) run(m *mirror, c *varsync.Client, followed []string) error {
	for round := range 8 {
		m.mu.Lock()
		for id := range m.gone {
			delete(m.gone, id)
		}
		m.mu.Unlock()
		for range 1 + a.rnd.IntN(8) {
			a.disturb()
			for range a.rnd.IntN(6) {
				a.change()
			}
		}
		a.g.left.Store(-1)
		a.g.shut.Store(false)
		a.log = append(a.log, "compared")
		all := treeOf(a.t, a.actor, a.services)
		a.see(all)
		var diff string
		for end := time.Now().Add(30 * time.Second); ; {
			if diff = m.differs(all); diff == "" {
				break
			}
			if time.Now().After(end) || m.failed() {
				break
			}
			time.Sleep(time.Millisecond)
		}
		m.mu.Lock()
		for id, what := range m.again {
			if !a.unseen[id] {
				m.errorf("%s", what)
			}
		}
		clear(m.again)
		failed := len(m.errs) > 0
		m.mu.Unlock()
		if failed || diff != "" {
			return fmt.Errorf("round %d: differs by %s", round, diff)
		}
	}
	return nil
}

func (m *mirror) failed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.errs) > 0
}

// differs says in what the mirror differs from a tree, as far as both are known.
func (m *mirror) differs(want map[string]uint64) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	seen := func(path string, id uint64) bool {
		return !strings.HasPrefix(path, m.unseen) && !m.isOpaque(want, path)
	}
	for path, id := range want {
		if seen(path, id) && m.at[path] != id {
			return fmt.Sprintf("%s, which is %d and not %d", path, id, m.at[path])
		}
	}
	for path, id := range m.at {
		if seen(path, id) && want[path] != id {
			return fmt.Sprintf("%s, which is %d and not %d", path, want[path], id)
		}
	}
	return ""
}
