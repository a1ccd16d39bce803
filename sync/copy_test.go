package sync_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// losses counts how often a client's connection was lost.
func losses(n *atomic.Int32) func(*varsync.Options) {
	return func(o *varsync.Options) {
		o.OnConnection = func(up bool) {
			if !up {
				n.Add(1)
			}
		}
	}
}

// Stores that are reported without a variable at hand come back without their bytes too, and do not cost the connection.
func TestReportedStoresAreEchoed(t *testing.T) {
	h := newHost(t)
	var lost atomic.Int32
	c := h.client(t, true, losses(&lost))
	store(t, c, "t", "s", "seed", "")
	variable(t, c, "t", "s", "seed")
	for _, value := range []string{"x", "", strings.Repeat("v", 1000)} {
		store(t, c, "t", "s", "v", value)
		if got, _ := load(t, variable(t, c, "t", "s", "v")); got != value {
			t.Errorf("%.20q, want %.20q", got, value)
		}
	}
	v := variable(t, c, "t", "s", "v")
	changes := []model.Change{
		{Op: model.OpStore, Tenant: "t", Service: "s", Name: "a", Data: []byte("aa"), Create: true},
		{Op: model.OpStore, Tenant: "t", Service: "s", Name: "b", Data: []byte("bb"), Create: true},
		{Op: model.OpStore, ID: v.ID(), Data: []byte("vv")},
	}
	if _, err := c.Report(t.Context(), changes...); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b", "v"} {
		if got, _ := load(t, variable(t, c, "t", "s", name)); got != strings.Repeat(name, 2) {
			t.Errorf("%s: %q", name, got)
		}
	}
	if n := lost.Load(); n != 0 {
		t.Errorf("the connection was lost %d times", n)
	}
}

// The stream of one service can be ahead of that of another: a variable that moves between them is in one place at the
// end, whichever comes first.
func TestMovesBetweenServices(t *testing.T) {
	eachAccessor(t, func(t *testing.T, h *host, noMap bool) {
		var lost atomic.Int32
		writer, c := h.client(t, false), h.client(t, noMap, losses(&lost))
		for _, s := range []string{"a", "b"} {
			store(t, writer, "t", s, "other", "")
			variable(t, c, "t", s, "other")
		}
		store(t, writer, "t", "a", "v", "1")
		for range 20 {
			for _, way := range [][2]string{{"a", "b"}, {"b", "a"}} {
				// The target's first event is before the source's.
				_, err := writer.Report(t.Context(),
					model.Change{Op: model.OpAppend, Tenant: "t", Service: way[1], Name: "other", Data: []byte("x")},
					model.Change{Op: model.OpRename, Tenant: "t", Service: way[0], Name: "v", ToName: "w"},
					model.Change{Op: model.OpRename, Tenant: "t", Service: way[0], Name: "w", ToService: way[1], ToName: "v"})
				if err != nil {
					t.Fatal(err)
				}
				there := variable(t, c, "t", way[1], "v")
				eventually(t, func() bool {
					root, err := c.Tenant("t").Service(way[0]).Root(t.Context())
					return err == nil && root.Lookup("v") == nil && root.Lookup("w") == nil
				})
				if there.Gone() || there.Now() != there || c.Node(there.ID()) != varsync.Node(there) {
					t.Fatalf("after the move from %s to %s: %+v", way[0], way[1], there)
				}
			}
		}
		if n := lost.Load(); n != 0 {
			t.Errorf("the connection was lost %d times", n)
		}
	})
}

// A variable that moved is found from what it was.
func TestNow(t *testing.T) {
	h := newHost(t)
	c := h.client(t, false)
	store(t, c, "t", "a", "v", "1")
	store(t, c, "t", "b", "other", "")
	v := variable(t, c, "t", "a", "v")
	variable(t, c, "t", "b", "other")
	if _, err := c.Report(t.Context(), model.Change{Op: model.OpRename, ID: v.ID(), ToService: "b", ToName: "v"}); err != nil {
		t.Fatal(err)
	}
	if now := v.Now(); !v.Gone() || now == v || now.Service().Name() != "b" {
		t.Errorf("gone %v, now in %s", v.Gone(), now.Service().Name())
	}
}

func TestTooLargeIsRefusedAtOnce(t *testing.T) {
	h := newHost(t)
	var lost atomic.Int32
	c := h.client(t, false, losses(&lost), slow)
	store(t, c, "t", "s", "v", "")
	v := variable(t, c, "t", "s", "v")
	began := time.Now()
	for _, size := range []int{16<<20 + 1, 20 << 20} { // over the server's limit, over a message's
		if _, err := v.Store(t.Context(), make([]byte, size)); !errors.Is(err, model.ErrTooLarge) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	if d := time.Since(began); d > 10*time.Second || lost.Load() != 0 {
		t.Errorf("took %v, %d connections", d, lost.Load())
	}
}

// Another store has other variables under the same numbers and begins with low versions: nothing of the old one is
// shown, and nothing is written to what only has the same number.
func TestStoreIsReplaced(t *testing.T) {
	eachAccessor(t, func(t *testing.T, h *host, noMap bool) {
		c := h.client(t, noMap)
		for range 5 {
			store(t, c, "t", "s", "v", time.Now().String())
		}
		store(t, c, "t", "s", "gone", "x")
		old := variable(t, c, "t", "s", "v")
		h.stop(t)
		if err := os.RemoveAll(h.state); err != nil {
			t.Fatal(err)
		}
		h.state = filepath.Join(filepath.Dir(h.state), "state2")
		h.start(t)
		other := h.client(t, true)
		store(t, other, "t", "s", "first", "1") // takes the numbers in another order
		store(t, other, "t", "s", "v", "new")
		eventually(t, old.Gone)
		wantValue(t, variable(t, c, "t", "s", "v"), "new")
		if _, meta := load(t, variable(t, c, "t", "s", "v")); meta.Size != 3 {
			t.Errorf("meta %+v", meta)
		}
		wantSame(t, c, other)
		if _, err := old.Store(t.Context(), []byte("astray")); err == nil {
			t.Error("the old variable was written")
		}
		if now := old.Now(); now != old {
			t.Errorf("it became %s", now.Name())
		}
		if got := dump(t, other); strings.Contains(got, "astray") {
			t.Errorf("written: %s", got)
		}
	})
}

// A caller's patience ends before the service is loaded: the loading goes on for the next one.
func TestLoadingOutlivesTheCaller(t *testing.T) {
	h := newHost(t)
	c := h.client(t, true)
	store(t, c, "t", "s", "v", "x")
	s := c.Tenant("t").Service("s")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Root(ctx); err == nil {
		t.Fatal("no error")
	}
	eventually(t, func() bool {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := s.Root(ctx)
		return err == nil
	})
}

func TestAfterClose(t *testing.T) {
	h := newHost(t)
	c := h.client(t, false)
	store(t, c, "t", "s", "v", "x")
	v := variable(t, c, "t", "s", "v")
	store(t, c, "t", "s2", "v", "x")
	for range 2 {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := v.Store(t.Context(), []byte("y")); !errors.Is(err, model.ErrDisconnected) {
		t.Errorf("store: %v", err)
	}
	if _, err := c.Report(t.Context(), model.Change{Op: model.OpDelete, ID: v.ID()}); !errors.Is(err, model.ErrDisconnected) {
		t.Errorf("report: %v", err)
	}
	if _, err := c.Tenant("t").Service("s2").Root(t.Context()); !errors.Is(err, model.ErrDisconnected) {
		t.Errorf("load: %v", err)
	}
}

// What was not sent before its time was over is not sent at all.
func TestNothingIsSentTooLate(t *testing.T) {
	h := newHost(t)
	c := h.client(t, false)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Report(ctx, model.Change{Op: model.OpMkdir, Tenant: "late"}); err == nil {
		t.Error("no error")
	}
	store(t, c, "t", "s", "v", "") // the stream is ordered
	if c.Tenant("late") != nil {
		t.Error("it was sent")
	}
}

func TestManyAppendsTravelTogether(t *testing.T) {
	h := newHost(t)
	c := h.client(t, false)
	store(t, c, "t", "s", "v", "")
	v := variable(t, c, "t", "s", "v")
	var want bytes.Buffer
	for i := range 1000 {
		part := bytes.Repeat([]byte{byte(i)}, 1+i%5000)
		want.Write(part)
		v.Enqueue(varsync.Edit{Kind: varsync.EditAppend, Data: part})
	}
	c.Flush()
	got, meta := load(t, v)
	if got != want.String() || meta.Version > 500 {
		t.Errorf("%d bytes, want %d; version %d", len(got), want.Len(), meta.Version)
	}
}

// A hidden tenant takes its services with it.
func TestTenantThatBecomesHidden(t *testing.T) {
	h := newHost(t)
	writer, c := h.client(t, false), h.client(t, true, func(o *varsync.Options) { o.Tenants = []string{"t"} })
	store(t, writer, "t", "s", "v", "x")
	v := variable(t, c, "t", "s", "v")
	if _, err := writer.Report(t.Context(), model.Change{Op: model.OpRename, Tenant: "t", ToTenant: "u"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, v.Gone)
	for _, id := range []uint64{v.ID(), v.Service().ID()} {
		if n := c.Node(id); n != nil {
			t.Errorf("number %d is %T still", id, n)
		}
	}
}
