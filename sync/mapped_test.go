package sync_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/memfile"
	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
	"github.com/commy-project/commyfs/transport"
)

// line is a client's way to a server; the test can cut it.
type line struct {
	h    *host
	cut  chan struct{} // closed: no new connection
	conn varsync.Conn
}

func (l *line) dial(ctx context.Context) (varsync.Conn, error) {
	select {
	case <-l.cut:
		<-ctx.Done()
		return nil, ctx.Err()
	default:
	}
	conn, err := l.h.dial(ctx)
	l.conn = conn
	return conn, err
}

// quick fails the test if every one of a few calls of fn takes as long as a wait for the server does: one can be the
// machine's.
func quick(t *testing.T, what string, fn func()) {
	t.Helper()
	var took time.Duration
	for range 3 {
		began := time.Now()
		fn()
		if took = time.Since(began); took < 250*time.Millisecond {
			return
		}
	}
	t.Errorf("%s takes %v", what, took)
}

// What memory can tell is not waited for: the values and names of a mapped service are those that were last acknowledged,
// with a server or without, and also if another server has come that this client does not reach.
func TestKnownValuesNeverWait(t *testing.T) {
	testenv.NoLeaks(t)
	h := newHost(t)
	l := &line{h: h, cut: make(chan struct{})}
	c := h.client(t, false, func(o *varsync.Options) { o.Dial = l.dial })
	for _, name := range []string{"a", "b", "dir/c"} {
		store(t, c, "t", "s", name, name)
	}
	a, b, dc := variable(t, c, "t", "s", "a"), variable(t, c, "t", "s", "b"), variable(t, c, "t", "s", "dir/c")
	s := a.Service()
	if s.Names() != varsync.NamesCurrent || !a.StillNamed() || !dc.StillNamed() {
		t.Errorf("names %d, %t, %t", s.Names(), a.StillNamed(), dc.StillNamed())
	}

	// The server is gone, as far as this client can see.
	close(l.cut)
	l.conn.(*transport.Client).Fail(errors.New("cut"))
	eventually(t, func() bool { up, _, _ := c.Connection(); return !up })
	quick(t, "a value without a server", func() {
		if got, _ := load(t, a); got != "a" {
			t.Errorf("value %q", got)
		}
	})
	if s.Names() != varsync.NamesCurrent { // so that an unknown name is known not to be
		t.Errorf("names %d without a server", s.Names())
	}

	// The next one, which knows the variables by other numbers of its own.
	h.stop(t)
	h.start(t)
	other := h.client(t, false)
	variable(t, other, "t", "s", "a") // has it make a file
	store(t, other, "t", "s", "a", "new")
	store(t, other, "t", "s", "z", "z")
	for _, ch := range []model.Change{
		{Op: model.OpRename, Tenant: "t", Service: "s", Name: "b", ToTenant: "t", ToService: "s", ToName: "moved"},
		{Op: model.OpDelete, Tenant: "t", Service: "s", Name: "dir/c"},
	} {
		if _, err := other.Report(t.Context(), ch); err != nil {
			t.Fatal(err)
		}
	}
	quick(t, "a value of another server", func() {
		if got, _ := load(t, a); got != "new" {
			t.Errorf("value %q, want what was acknowledged to the other client", got)
		}
	})
	quick(t, "a renamed variable", func() {
		if got, _ := load(t, b); got != "b" {
			t.Errorf("value %q", got)
		}
	})
	quick(t, "names", func() {
		if s.Names() != varsync.NamesBehind || !a.StillNamed() || b.StillNamed() || dc.StillNamed() {
			t.Errorf("names %d, %t, %t, %t", s.Names(), a.StillNamed(), b.StillNamed(), dc.StillNamed())
		}
	})
	if _, _, err := dc.Load(nil); !errors.Is(err, model.ErrNotFound) {
		t.Errorf("a deleted variable: %v", err)
	}
}

// The file of a server that was killed looks alive, until the next server may change something that is in it: also if
// nobody asks that for a file.
func TestFileOfADeadServer(t *testing.T) {
	h := newHost(t)
	c := h.client(t, false)
	store(t, c, "t", "s", "v", "1")
	s := variable(t, c, "t", "s", "v").Service()
	path := filepath.Join(h.run, fmt.Sprintf("service_%d.mem", s.ID()))
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	h.stop(t)
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := memfile.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	h.start(t)
	if st, err := r.State(); err != nil || st != memfile.Live {
		t.Errorf("state %v, %v before there was a change", st, err)
	}
	store(t, h.client(t, true), "t", "s", "v", "2")
	if st, err := r.State(); err != nil || st != memfile.Superseded {
		t.Errorf("state %v, %v behind the acknowledgement of a change", st, err)
	}
}
