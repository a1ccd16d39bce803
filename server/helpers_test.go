package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/server/core"
	"github.com/commy-project/commyfs/transport"
)

// bound is how long a test waits for what must come.
const bound = 20 * time.Second

type dirs struct{ state, run string }

func newDirs(t *testing.T) dirs {
	t.Helper()
	run, err := os.MkdirTemp("/tmp", "commyfs-run-") // a short path, for the socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(run) })
	return dirs{filepath.Join(t.TempDir(), "state"), run}
}

// start runs a server on the directories and closes it when the test ends.
func (d dirs) start(t *testing.T, with ...func(*Options)) *Server {
	t.Helper()
	o := Options{
		StateDir: d.state, RuntimeDir: d.run, Version: "test", interval: 20 * time.Millisecond,
		tune:   func(o *core.Options) { o.Store.MinFree = 1 },
		Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo})),
	}
	for _, f := range with {
		f(&o)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func startServer(t *testing.T, with ...func(*Options)) *Server {
	t.Helper()
	return newDirs(t).start(t, with...)
}

// peer is a client of a test: it keeps what it was pushed.
type peer struct {
	t       *testing.T
	id      []byte
	cl      *transport.Client
	welcome *transport.Welcome
	seq     uint64

	mu     sync.Mutex
	pushes []transport.Message
	news   chan struct{}
	onPush func(transport.Message)
}

func connect(t *testing.T, s *Server, with ...func(*peer)) *peer {
	t.Helper()
	p := &peer{t: t, news: make(chan struct{}, 1)}
	for _, f := range with {
		f(p)
	}
	if err := p.dial(transport.DialOptions{URL: "unix://" + s.socket()}); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *peer) dial(o transport.DialOptions) error {
	if p.id == nil {
		p.id = make([]byte, core.ClientIDLen)
		_, _ = rand.Read(p.id)
	}
	ctx, cancel := context.WithTimeout(p.t.Context(), bound)
	defer cancel()
	conn, err := transport.Dial(ctx, o)
	if err != nil {
		return err
	}
	p.cl = transport.NewClient(conn, transport.ClientOptions{OnPush: p.pushed})
	p.t.Cleanup(func() { _ = p.cl.Close() })
	p.welcome, err = transport.Request[*transport.Welcome](ctx, p.cl, &transport.Hello{ID: p.id, Program: "test", Host: "here"})
	return err
}

func as(id []byte) func(*peer) { return func(p *peer) { p.id = id } }

func (p *peer) pushed(m transport.Message) {
	if p.onPush != nil {
		p.onPush(m)
	}
	p.mu.Lock()
	p.pushes = append(p.pushes, m)
	p.mu.Unlock()
	select {
	case p.news <- struct{}{}:
	default:
	}
}

// taken returns and forgets what was pushed.
func (p *peer) taken() []transport.Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.pushes
	p.pushes = nil
	return list
}

// await waits until the pushes so far satisfy ok.
func (p *peer) await(what string, ok func([]transport.Message) bool) {
	p.t.Helper()
	timeout := time.After(bound)
	for {
		p.mu.Lock()
		done := ok(p.pushes)
		p.mu.Unlock()
		if done {
			return
		}
		select {
		case <-p.news:
		case <-timeout:
			p.t.Fatalf("no %s within %v", what, bound)
		}
	}
}

func call[R transport.Message](p *peer, m transport.Message) (R, error) {
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	return transport.Request[R](ctx, p.cl, m)
}

func must[R transport.Message](p *peer, m transport.Message) R {
	p.t.Helper()
	r, err := call[R](p, m)
	if err != nil {
		p.t.Fatalf("%T: %v", m, err)
	}
	return r
}

// send reports changes and returns the acknowledgement.
func (p *peer) send(changes ...model.Change) *transport.VariableChangesAcknowledged {
	p.t.Helper()
	p.seq++
	return must[*transport.VariableChangesAcknowledged](p, &transport.ReportVariableChanges{Seq: p.seq, Acked: p.seq, Changes: changes})
}

// do reports changes that must be accepted.
func (p *peer) do(changes ...model.Change) []model.Result {
	p.t.Helper()
	a := p.send(changes...)
	if a.Code != model.CodeOK {
		p.t.Fatalf("change %d %+v refused: %d %s", a.Index, changes[a.Index], a.Code, a.Message)
	}
	if len(a.Results) != len(changes) {
		p.t.Fatalf("%d results for %d changes", len(a.Results), len(changes))
	}
	return a.Results
}

// refused reports changes that must be refused with the code.
func (p *peer) refused(code model.Code, changes ...model.Change) {
	p.t.Helper()
	if a := p.send(changes...); a.Code != code {
		p.t.Errorf("%+v: code %d (%s), want %d", changes, a.Code, a.Message, code)
	}
}

func at(op model.Op, tenant, service, name string) model.Change {
	return model.Change{Op: op, Tenant: tenant, Service: service, Name: name}
}

func renameTo(c model.Change, name string) model.Change {
	c.ToName = name
	return c
}

func store(name, value string) model.Change {
	return model.Change{Op: model.OpStore, Tenant: "t", Service: "s", Name: name, Data: []byte(value), Create: true, Parents: true}
}

func (p *peer) read(name string) (*model.Variable, error) {
	d, err := call[*transport.VariableData](p, &transport.ReadVariable{Tenant: "t", Service: "s", Name: name})
	if err != nil {
		return nil, err
	}
	return &d.Variable, nil
}

func (p *peer) wantValue(name, value string) *model.Variable {
	p.t.Helper()
	v, err := p.read(name)
	if err != nil {
		p.t.Fatalf("%s: %v", name, err)
	}
	if string(v.Data) != value {
		p.t.Fatalf("%s holds %.40q, want %.40q", name, v.Data, value)
	}
	return v
}

func (p *peer) wantCode(err error, code model.Code) {
	p.t.Helper()
	if got := model.CodeOf(err); got != code {
		p.t.Errorf("error %v has code %d, want %d", err, got, code)
	}
}

// service is the id of a service.
func (p *peer) service(tenant, name string) uint64 {
	p.t.Helper()
	for _, e := range p.list(&transport.List{Tenant: tenant}) {
		if e.Service == name {
			return e.ID
		}
	}
	p.t.Fatalf("no service %s/%s", tenant, name)
	return 0
}

func (p *peer) list(m *transport.List) []model.Entry {
	p.t.Helper()
	list, err := p.tryList(m)
	if err != nil {
		p.t.Fatalf("list %+v: %v", m, err)
	}
	return list
}

func (p *peer) tryList(m *transport.List) ([]model.Entry, error) {
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	var list []model.Entry
	err := p.cl.CallStream(ctx, m, func(m transport.Message) (bool, error) {
		e, ok := m.(*transport.Entries)
		if !ok {
			return false, fmt.Errorf("list answered by %T", m)
		}
		list = append(list, e.Entries...)
		return e.More, nil
	})
	return list, err
}

// watch asks for a service and returns the pages put together.
func (p *peer) watch(m *transport.Watch) (*transport.Snapshot, error) {
	return p.watchWith(m, func(*transport.Snapshot) {})
}

// watchWith is watch with a function that is called before any push that comes after the snapshot.
func (p *peer) watchWith(m *transport.Watch, whole func(*transport.Snapshot)) (*transport.Snapshot, error) {
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	snap := &transport.Snapshot{}
	err := p.cl.CallStream(ctx, m, func(m transport.Message) (bool, error) {
		s, ok := m.(*transport.Snapshot)
		if !ok {
			return false, fmt.Errorf("watch answered by %T", m)
		}
		merge(snap, s)
		if !s.More {
			whole(snap)
		}
		return s.More, nil
	})
	return snap, err
}

func merge(whole, page *transport.Snapshot) {
	whole.Service, whole.Root, whole.Resumed, whole.Rev = page.Service, page.Root, page.Resumed, page.Rev
	whole.Dirs = append(whole.Dirs, page.Dirs...)
	whole.Vars = append(whole.Vars, page.Vars...)
	whole.Changes = append(whole.Changes, page.Changes...)
}

func (p *peer) mustWatch(m *transport.Watch) *transport.Snapshot {
	p.t.Helper()
	s, err := p.watch(m)
	if err != nil {
		p.t.Fatalf("watch: %v", err)
	}
	return s
}

// events are those of the pushes of a service so far.
func events(pushes []transport.Message, service uint64) []model.Event {
	var list []model.Event
	for _, m := range pushes {
		if c, ok := m.(*transport.VariableChanged); ok && c.Service == service {
			list = append(list, c.Changes...)
		}
	}
	return list
}

var errTest = errors.New("test")
