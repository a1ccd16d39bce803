package core

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/commy-project/commyfs/engine"
	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/server/access"
)

// bound is how long a test waits for what must come.
const bound = 20 * time.Second

type dirs struct{ state, run string }

func newDirs(t *testing.T) dirs {
	t.Helper()
	return dirs{filepath.Join(t.TempDir(), "state"), t.TempDir()}
}

// setup is what a test can change.
type setup struct {
	Options
	interval time.Duration // of Tidy
}

// testCore is a core that is tidied now and then, and closed when the test ends.
type testCore struct {
	*Core
	stop  chan struct{}
	tidy  sync.WaitGroup
	Close func() error
}

func (d dirs) start(t *testing.T, with ...func(*setup)) *testCore {
	t.Helper()
	if err := os.MkdirAll(d.state, 0o700); err != nil {
		t.Fatal(err)
	}
	o := setup{Options{
		Store: engine.Options{Dir: filepath.Join(d.state, "store"), MinFree: 1}, Dir: d.run, Auth: access.New(model.User(0)),
		Memory: 96 << 20,
		Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo})),
		Broken: func(err error) { t.Errorf("broken: %v", err) },
	}, 20 * time.Millisecond}
	for _, f := range with {
		f(&o)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := Open(ctx, o.Options)
	if err != nil {
		t.Fatal(err)
	}
	s := &testCore{Core: c, stop: make(chan struct{})}
	s.tidy.Go(func() {
		tick := time.NewTicker(o.interval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				s.Tidy()
			case <-s.stop:
				return
			}
		}
	})
	s.Close = sync.OnceValue(func() error {
		close(s.stop)
		s.tidy.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), bound)
		defer cancel()
		return c.Close(ctx)
	})
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func startCore(t *testing.T, with ...func(*setup)) *testCore {
	t.Helper()
	return newDirs(t).start(t, with...)
}

// peer is a subscriber of a test: it keeps what it is told.
type peer struct {
	*Session
	t   *testing.T
	id  []byte
	who model.Principal
	seq uint64

	wake chan struct{}
	gone chan struct{}
	left chan struct{} // closed when it is detached
	over sync.Once
	err  error // why it is gone

	mu      sync.Mutex
	last    uint64 // request
	answers map[uint64]chan any
	pages   map[uint64]*model.Snapshot
	told    []any
	news    chan struct{}

	flushing func() // in Flush; nil: nothing
}

// moved is where a memory file is told to be.
type storedInto uint64 // a bare service

type moved struct {
	service uint64
	model.MemoryFile
}

var errTest = errors.New("test")

func attach(t *testing.T, s *testCore, with ...func(*peer)) (*peer, error) {
	t.Helper()
	p := &peer{
		t: t, who: model.User(0), wake: make(chan struct{}, 1), gone: make(chan struct{}), left: make(chan struct{}),
		answers: map[uint64]chan any{}, pages: map[uint64]*model.Snapshot{}, news: make(chan struct{}, 1),
	}
	for _, f := range with {
		f(p)
	}
	if p.id == nil {
		p.id = make([]byte, ClientIDLen)
		_, _ = rand.Read(p.id)
	}
	var err error
	p.Session, err = s.Attach(Identity{
		Principal: p.who, Client: p.id, Writer: "test@here", Local: true, Info: model.SessionInfo{Program: "test", Host: "here"},
	}, p)
	if err != nil {
		return nil, err
	}
	go p.deliver()
	t.Cleanup(p.close)
	return p, nil
}

func connect(t *testing.T, s *testCore, with ...func(*peer)) *peer {
	t.Helper()
	p, err := attach(t, s, with...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// as and by say which client a peer is, and whose.
func as(id []byte) func(*peer)           { return func(p *peer) { p.id = id } }
func by(who model.Principal) func(*peer) { return func(p *peer) { p.who = who } }

// by is who holds a key.
func (s *testCore) by(key string) func(*peer) {
	who, _, _ := s.auth.KeyHolder(key)
	return by(who)
}

func (p *peer) deliver() {
	defer close(p.left)
	defer p.Detach()
	for {
		told, err := p.Deliver(p)
		if err != nil {
			p.Fail(err)
			return
		}
		if told {
			continue
		}
		select {
		case <-p.wake:
		case <-p.gone:
			return
		}
	}
}

func (p *peer) Ready() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *peer) Stalled() int64          { return 0 }
func (p *peer) Heard() time.Time        { return time.Now() }
func (p *peer) Left() bool              { return p.err == errTest }
func (p *peer) Gone(time.Duration) bool { return false }

func (p *peer) Locked(request uint64, a *model.LockAnswer) {
	if request == 0 {
		p.tell(a)
	} else {
		p.answer(request, a)
	}
}

func (p *peer) LeaseEnded(lease uint64) { p.tell(leaseEnded(lease)) }

type leaseEnded uint64

func (p *peer) Done() <-chan struct{} { return p.gone }

func (p *peer) Fail(err error) {
	p.over.Do(func() {
		p.err = err
		close(p.gone)
	})
}

func (p *peer) End(reason *model.Error) {
	p.Fail(reason)
	<-p.left
}

// close has the peer leave without a goodbye.
func (p *peer) close() {
	p.Fail(errTest)
	<-p.left
}

func (p *peer) tell(m any) {
	p.mu.Lock()
	p.told = append(p.told, m)
	p.mu.Unlock()
	select {
	case p.news <- struct{}{}:
	default:
	}
}

func (p *peer) TreeChanges(m *model.TreeChanges)              { p.tell(m) }
func (p *peer) MemoryFile(service uint64, f model.MemoryFile) { p.tell(moved{service, f}) }
func (p *peer) MemoryStored(service uint64)                   { p.tell(storedInto(service)) }
func (p *peer) Changes(m *model.Changes)                      { p.tell(m) }
func (p *peer) Shared(m *Shared)                              { p.tell(m.Changes()) }

func (p *peer) Flush() error {
	if p.flushing != nil {
		p.flushing()
	}
	return nil
}

func (p *peer) Outcome(request uint64, o *model.Outcome) { p.answer(request, o) }

func (p *peer) Tree(request uint64, page *model.TreePage) {
	if page.More {
		p.t.Errorf("a tree of so many pages")
	}
	p.answer(request, page)
}

func (p *peer) Snapshot(request uint64, page *model.Snapshot) {
	if request == 0 {
		p.tell(page)
		return
	}
	p.mu.Lock()
	if p.pages[request] == nil {
		p.pages[request] = &model.Snapshot{}
	}
	whole := p.pages[request]
	p.mu.Unlock()
	merge(whole, page)
	if !page.More {
		p.answer(request, whole)
	}
}

func merge(whole, page *model.Snapshot) {
	whole.Service, whole.Root, whole.Resumed, whole.Rev = page.Service, page.Root, page.Resumed, page.Rev
	whole.Dirs = append(whole.Dirs, page.Dirs...)
	whole.Vars = append(whole.Vars, page.Vars...)
	whole.Changes = append(whole.Changes, page.Changes...)
}

func (p *peer) answer(request uint64, m any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers[request] <- m
	delete(p.answers, request)
}

// ask makes a request that is answered later.
func (p *peer) ask(do func(Ticket) error) (<-chan any, error) {
	p.mu.Lock()
	p.last++
	t := Ticket{ID: p.last}
	c := make(chan any, 1)
	p.answers[t.ID] = c
	p.mu.Unlock()
	return c, do(t)
}

func (p *peer) await1(c <-chan any) (any, error) {
	select {
	case m := <-c:
		return m, nil
	case <-p.gone:
		return nil, p.err
	case <-time.After(bound):
		return nil, errors.New("no answer")
	}
}

// taken returns and forgets what was told.
func (p *peer) taken() []any {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.told
	p.told = nil
	return list
}

// await waits until what was told so far satisfies ok.
func (p *peer) await(what string, ok func([]any) bool) {
	p.t.Helper()
	timeout := time.After(bound)
	for {
		p.mu.Lock()
		done := ok(p.told)
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

// begin reports without waiting for the outcome.
func (p *peer) begin(r *model.Report) <-chan any {
	p.t.Helper()
	c, err := p.ask(func(t Ticket) error { return p.Report(t, r) })
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

func (p *peer) outcome(c <-chan any) *model.Outcome {
	p.t.Helper()
	m, err := p.await1(c)
	if err != nil {
		p.t.Fatal(err)
	}
	return m.(*model.Outcome)
}

func (p *peer) report(r *model.Report) *model.Outcome {
	p.t.Helper()
	return p.outcome(p.begin(r))
}

// send reports changes and returns the outcome.
func (p *peer) send(changes ...model.Change) *model.Outcome {
	p.t.Helper()
	p.seq++
	return p.report(&model.Report{Seq: p.seq, Acked: p.seq, Changes: changes})
}

// do reports changes that must be accepted.
func (p *peer) do(changes ...model.Change) []model.Result {
	p.t.Helper()
	o := p.send(changes...)
	if o.Code != model.CodeOK {
		p.t.Fatalf("change %d %+v refused: %d %s", o.Index, changes[o.Index], o.Code, o.Message)
	}
	if len(o.Results) != len(changes) {
		p.t.Fatalf("%d results for %d changes", len(o.Results), len(changes))
	}
	return o.Results
}

// refused reports changes that must be refused with the code.
func (p *peer) refused(code model.Code, changes ...model.Change) {
	p.t.Helper()
	if o := p.send(changes...); o.Code != code {
		p.t.Errorf("%+v: code %d (%s), want %d", changes, o.Code, o.Message, code)
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

func appendTo(name, value string) model.Change {
	c := store(name, value)
	c.Op = model.OpAppend
	return c
}

// get reads a variable, wherever it is.
func (p *peer) get(tenant, service, name string) (model.Variable, error) {
	id, err := p.Find(tenant, service)
	if err == nil {
		err = p.Load(id)
	}
	if err != nil {
		return model.Variable{}, err
	}
	return p.Read(id, name, true)
}

func (p *peer) wantValue(name, value string) model.Variable {
	p.t.Helper()
	v, err := p.get("t", "s", name)
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
	id, err := p.Find(tenant, name)
	if err != nil {
		p.t.Fatalf("%s/%s: %v", tenant, name, err)
	}
	return id
}

func (p *peer) list(m *model.List) []model.Entry {
	p.t.Helper()
	list, err := p.tryList(m)
	if err != nil {
		p.t.Fatalf("list %+v: %v", m, err)
	}
	return list
}

func (p *peer) tryList(m *model.List) (list []model.Entry, err error) {
	l, err := p.List(m)
	for more := true; more && err == nil; {
		var page *model.Page
		if page, err = l.Page(PageBytes, 1000); err == nil {
			list, more = append(list, page.Entries...), page.More
		}
	}
	return list, err
}

// watch watches a service and returns the pages put together.
func (p *peer) watch(m *model.Watch) (*model.Snapshot, error) {
	if err := p.Load(m.Service); err != nil {
		return nil, err
	}
	c, err := p.ask(func(t Ticket) error { return p.Watch(t, m) })
	if err != nil {
		return nil, err
	}
	s, err := p.await1(c)
	if err != nil {
		return nil, err
	}
	return s.(*model.Snapshot), nil
}

func (p *peer) mustWatch(m *model.Watch) *model.Snapshot {
	p.t.Helper()
	s, err := p.watch(m)
	if err != nil {
		p.t.Fatalf("watch: %v", err)
	}
	return s
}

func (p *peer) tree() *model.TreePage {
	p.t.Helper()
	c, _ := p.ask(func(t Ticket) error { p.WatchTree(t); return nil })
	m, err := p.await1(c)
	if err != nil {
		p.t.Fatal(err)
	}
	return m.(*model.TreePage)
}

func (p *peer) tryFile(service uint64) (model.MemoryFile, error) {
	f, err := p.Ask(service)
	if f == nil && err == nil {
		f, err = p.Session.MemoryFile(service)
	}
	if err != nil {
		return model.MemoryFile{}, err
	}
	return *f, nil
}

func (p *peer) file(service uint64) model.MemoryFile {
	p.t.Helper()
	f, err := p.tryFile(service)
	if err != nil {
		p.t.Fatal(err)
	}
	return f
}

func (p *peer) goodbye() {
	p.t.Helper()
	done := make(chan struct{})
	if err := p.Goodbye(func() { close(done) }); err != nil {
		p.t.Fatal(err)
	}
	<-done
}

func (p *peer) createKey(name string, rights model.Rights, tenants ...string) string {
	p.t.Helper()
	key, err := p.CreateKey(&model.NewKey{Name: name, Rights: rights, Tenants: tenants})
	if err != nil {
		p.t.Fatal(err)
	}
	return key
}
