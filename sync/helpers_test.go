package sync_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/server"
	varsync "github.com/commy-project/commyfs/sync"
	"github.com/commy-project/commyfs/transport"
)

// host is a place where servers run one after the other on the same state.
type host struct {
	state, run string
	idle       time.Duration // of the server
	srv        *server.Server
}

func newHost(t *testing.T) *host {
	t.Helper()
	// Not t.TempDir: its names can be too long for a socket.
	dir, err := os.MkdirTemp("", "varsync")
	if err != nil {
		t.Fatal(err)
	}
	h := &host{state: filepath.Join(dir, "state"), run: filepath.Join(dir, "run")}
	t.Cleanup(func() {
		h.stop(t)
		os.RemoveAll(dir)
	})
	h.start(t)
	return h
}

func (h *host) start(t *testing.T) {
	t.Helper()
	srv, err := server.Start(t.Context(), server.Options{StateDir: h.state, RuntimeDir: h.run, Idle: h.idle})
	if err != nil {
		t.Fatal(err)
	}
	h.srv = srv
}

func (h *host) stop(t *testing.T) {
	if h.srv == nil {
		return
	}
	if err := h.srv.Close(); err != nil {
		t.Error(err)
	}
	h.srv = nil
}

func (h *host) dial(ctx context.Context) (varsync.Conn, error) {
	conn, err := transport.Dial(ctx, transport.DialOptions{URL: "unix://" + filepath.Join(h.run, "server.sock")})
	if err != nil {
		return nil, err
	}
	return transport.NewClient(conn, transport.ClientOptions{}), nil
}

// client connects; noMap reads over the connection as a client on another host does.
func (h *host) client(t *testing.T, noMap bool, change ...func(*varsync.Options)) *varsync.Client {
	t.Helper()
	o := varsync.Options{Dial: h.dial, NoMap: noMap, Client: model.Client{Program: "test"}}
	for _, f := range change {
		f(&o)
	}
	c, err := varsync.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// store makes or replaces a variable by its path.
func store(t *testing.T, c *varsync.Client, tenant, service, name, value string) model.Result {
	t.Helper()
	res, err := c.Report(t.Context(), model.Change{Op: model.OpStore, Tenant: tenant, Service: service, Name: name,
		Data: []byte(value), Create: true, Parents: true})
	if err != nil {
		t.Fatalf("store %s/%s/%s: %v", tenant, service, name, err)
	}
	return res[0]
}

func variable(t *testing.T, c *varsync.Client, tenant, service, name string) *varsync.Variable {
	t.Helper()
	var v *varsync.Variable
	eventually(t, func() bool {
		tn := c.Tenant(tenant)
		if tn == nil {
			return false
		}
		s := tn.Service(service)
		if s == nil {
			return false
		}
		var err error
		v, err = s.Variable(t.Context(), name)
		return err == nil
	})
	return v
}

func load(t *testing.T, v *varsync.Variable) (string, varsync.Meta) {
	t.Helper()
	data, meta, err := v.Load(nil)
	if err != nil {
		t.Fatalf("load %s: %v", v.Name(), err)
	}
	return string(data), meta
}

func wantValue(t *testing.T, v *varsync.Variable, want string) {
	t.Helper()
	eventually(t, func() bool {
		data, _, err := v.Load(nil)
		return err == nil && string(data) == want
	})
}

func eventually(t *testing.T, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatal("condition not met in 30 s")
		}
		time.Sleep(time.Millisecond)
	}
}
