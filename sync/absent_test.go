package sync_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/commy-project/commyfs/engine"
	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
	"github.com/commy-project/commyfs/transport"
)

// log is what a client says.
type log struct {
	mu sync.Mutex // guards the following
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

func (l *log) option(o *varsync.Options) { o.Logger = slog.New(slog.NewTextHandler(l, nil)) }

// commit changes the store of a host without a server.
func (h *host) commit(t *testing.T, op engine.Op) {
	t.Helper()
	e, err := engine.Open(t.Context(), engine.Options{Dir: filepath.Join(h.state, "store")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Commit(t.Context(), []engine.Op{op}); err != nil {
		t.Error(err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// A service that the server cannot load is its users' trouble: they get an error, the others go on across a reconnect, and
// all is well again when it can be loaded.
func TestOneServiceDoesNotLoad(t *testing.T) {
	eachAccessor(t, func(t *testing.T, h *host, noMap bool) {
		var said log
		c := h.client(t, noMap, said.option)
		store(t, c, "t", "bad", "v", "1")
		store(t, c, "t", "good", "v", "1")
		bad, good := variable(t, c, "t", "bad", "v"), variable(t, c, "t", "good", "v")
		h.stop(t)
		// A variable in a directory that there is not.
		h.commit(t, engine.PutVariable(bad.Service().ID(), engine.Variable{ID: 1 << 40, Name: "missing/x", Version: 1}))
		h.start(t)
		eventually(t, func() bool { _, err := good.Store(t.Context(), []byte("2")); return err == nil })
		wantValue(t, good, "2")
		var failed *varsync.ServiceError
		if _, _, err := bad.Load(nil); !errors.As(err, &failed) || failed.Service != "bad" {
			t.Errorf("a value of the service: %v", err)
		}
		if _, err := bad.Service().Root(t.Context()); !errors.As(err, &failed) {
			t.Errorf("its root: %v", err)
		}
		if _, err := bad.Store(t.Context(), []byte("2")); !errors.Is(err, model.ErrInternal) {
			t.Errorf("a change of it: %v", err)
		}
		// So for who comes now.
		other := h.client(t, noMap)
		wantValue(t, variable(t, other, "t", "good", "v"), "2")
		if _, err := other.Tenant("t").Service("bad").Root(t.Context()); !errors.As(err, &failed) {
			t.Errorf("its root for another client: %v", err)
		}
		if n := said.count("level=ERROR"); n != 1 {
			t.Errorf("it was said %d times:\n%s", n, said.b.String())
		}
		h.stop(t)
		h.commit(t, engine.DeleteVariable(bad.Service().ID(), "missing/x"))
		h.start(t)
		wantValue(t, bad, "1")
		if _, err := bad.Store(t.Context(), []byte("3")); err != nil {
			t.Error(err)
		}
		wantValue(t, bad, "3")
	})
}

// What could not be loaded is tried again by itself, seldom, and asked for in vain meanwhile at no cost.
func TestServiceIsLoadedAgain(t *testing.T) {
	testenv.NoLeaks(t)
	f := &fake{t: t, value: "1"}
	var tries atomic.Int64
	var loads atomic.Bool
	f.watch = func(send func(uint64, transport.Message), id uint64) bool {
		tries.Add(1)
		if loads.Load() {
			return false
		}
		send(id, (*transport.Error)(model.ErrInternal))
		return true
	}
	c := f.client()
	s := c.Tenant("t").Service("s")
	for range 1000 {
		if _, err := s.Root(t.Context()); !errors.Is(err, model.ErrInternal) {
			t.Fatal(err)
		}
	}
	eventually(t, func() bool { return tries.Load() >= 3 }) // nobody asks now
	if n := tries.Load(); n > 20 {
		t.Errorf("the server was asked %d times", n)
	}
	loads.Store(true)
	eventually(t, func() bool { return s.Failed() == nil })
	wantValue(t, variable(t, c, "t", "s", "v"), "1")
	if n := f.connections(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// Changes that do not fit the copy of a service have that service loaded anew; if it goes on so, ever more seldom.
func TestMisfitIsOneServicesTrouble(t *testing.T) {
	testenv.NoLeaks(t)
	f := &fake{t: t, value: "1"}
	var watches atomic.Int64
	var spoil atomic.Bool
	f.watch = func(send func(uint64, transport.Message), id uint64) bool {
		watches.Add(1)
		if !spoil.Load() {
			return false
		}
		send(id, &transport.Snapshot{Service: fakeService, Rev: 1, Vars: []model.Variable{
			{ID: fakeVariable, Name: "v", Version: 1, Size: 1, Data: []byte("1")}}})
		send(0, &transport.VariableChanged{Service: fakeService, Rev: 2, Changes: []model.Event{
			{Kind: model.EventSet, ID: fakeVariable, Version: 9, Base: 8, Size: 1}}})
		return true
	}
	f.handle = func(send func(uint64, transport.Message), id uint64, m transport.Message) {
		if r, ok := m.(*transport.ReportVariableChanges); ok {
			send(0, &transport.VariableChanged{Service: fakeService, Rev: 2, Changes: []model.Event{
				{Kind: model.EventSet, ID: fakeVariable, Version: 9, Base: 8, Size: 1}}})
			send(id, accept(r))
		}
	}
	c := f.client()
	v := variable(t, c, "t", "s", "v")
	if _, err := c.Report(t.Context(), change()); err != nil { // does not fit
		t.Fatal(err)
	}
	if got, _ := load(t, v); got != "1" { // once it is loaded anew, not before
		t.Errorf("value %q", got)
	}
	if n := watches.Load(); n != 2 {
		t.Errorf("%d watches, want another one", n)
	}
	spoil.Store(true)
	if _, err := c.Report(t.Context(), change()); err != nil {
		t.Fatal(err)
	}
	began, before := time.Now(), watches.Load()
	eventually(t, func() bool { return watches.Load() >= before+4 })
	if took := time.Since(began); took < 500*time.Millisecond {
		t.Errorf("4 tries in %v", took)
	}
	spoil.Store(false)
	wantValue(t, v, "1")
	if n := f.connections(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// Who waits for a service waits as long as the server says that it is being loaded.
func TestLoadingIsNoTimeout(t *testing.T) {
	t.Parallel()
	const timeout, pages = 2 * time.Second, 10
	f := &fake{t: t, value: "x"}
	f.watch = func(send func(uint64, transport.Message), id uint64) bool {
		go func() {
			for range pages {
				time.Sleep(timeout / (pages - 2))
				send(0, &transport.Snapshot{Service: fakeService, More: true})
			}
			send(id, &transport.Snapshot{Service: fakeService, Rev: 1, Vars: []model.Variable{{ID: 1000, Name: "v", Version: 1}}})
		}()
		return true
	}
	c := f.client(func(o *varsync.Options) { o.Timeout = timeout })
	root, err := c.Tenant("t").Service("s").Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := len(root.Children()); n != 1 {
		t.Errorf("%d variables, want 1", n)
	}
}

// Who waits for a service waits as long as its pages come, however many there are.
func TestProgressIsNoTimeout(t *testing.T) {
	t.Parallel()
	const timeout, pages = 4 * time.Second, 10
	f := &fake{t: t, value: "x"}
	f.watch = func(send func(uint64, transport.Message), id uint64) bool {
		go func() {
			for i := range pages {
				time.Sleep(timeout / (pages - 2))
				send(id, &transport.Snapshot{Service: fakeService, Rev: 1, More: i < pages-1,
					Vars: []model.Variable{{ID: uint64(1000 + i), Name: fmt.Sprint("v", i), Version: 1}}})
			}
		}()
		return true
	}
	c := f.client(func(o *varsync.Options) { o.Timeout = timeout })
	root, err := c.Tenant("t").Service("s").Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := len(root.Children()); n != pages {
		t.Errorf("%d variables, want %d", n, pages)
	}
}
