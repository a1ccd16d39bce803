package sync_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
	"github.com/commy-project/commyfs/transport"
)

// What the next server has acknowledged is known behind a barrier, although the client has only heard that the last one
// is gone, or not even that.
func TestBarrierAcrossServers(t *testing.T) {
	h := newHost(t)
	c := h.client(t, false)
	store(t, c, "t", "s", "v", "1")
	s := variable(t, c, "t", "s", "v").Service()
	for i := range 5 {
		stopped := time.Now()
		h.stop(t)
		h.start(t)
		other := h.client(t, true)
		name := string(rune('a' + i))
		store(t, other, "t", "s", name, "x")
		for !c.Barrier(t.Context()) { // a lookup asks when it finds nothing, or is behind
			if took := time.Since(stopped); took < time.Second { // after that it is not waited for, as on a busy machine
				t.Fatalf("round %d: no answer after %v", i, took)
			}
			time.Sleep(time.Millisecond)
		}
		if _, err := s.Variable(t.Context(), name); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
	}
}

// A server that was heard of long ago and says nothing is not waited for by everybody anew.
func TestSilentServer(t *testing.T) {
	const timeout = 4 * time.Second
	h := newHost(t)
	var silent atomic.Bool
	c := h.client(t, false, func(o *varsync.Options) {
		o.Timeout = timeout
		o.Dial = func(ctx context.Context) (varsync.Conn, error) {
			if silent.Load() {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			conn, err := transport.Dial(ctx, transport.DialOptions{URL: "unix://" + h.run + "/server.sock",
				Options: transport.Options{Heartbeat: time.Hour, Silence: timeout}}) // a server that says nothing by itself
			if err != nil {
				return nil, err
			}
			return transport.NewClient(conn, transport.ClientOptions{}), nil
		}
	})
	store(t, c, "t", "s", "v", "1")
	silent.Store(true)
	began := time.Now()
	eventually(t, func() bool { up, _, _ := c.Connection(); return !up })
	for range 2 {
		_, err := c.Report(t.Context(), model.Change{Op: model.OpStore, Tenant: "t", Service: "s", Name: "v", Data: []byte("2")})
		if !errors.Is(err, model.ErrDisconnected) {
			t.Fatal(err)
		}
		if _, err := c.Probe(t.Context(), &model.Probe{Tenant: "t", Service: "s", Name: "v"}); !errors.Is(err, model.ErrDisconnected) {
			t.Fatal(err)
		}
	}
	// The silence from before the loss counts: without that it would take as long again.
	if took := time.Since(began); took > timeout+timeout*3/4 {
		t.Errorf("took %v", took)
	}
}

// Who was interrupted while he waited has not found the server silent.
func TestInterruptedBarrier(t *testing.T) {
	h := newHost(t)
	c := h.client(t, false)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if c.Barrier(ctx) {
		t.Fatal("answered")
	}
	if !c.Barrier(t.Context()) {
		t.Error("the next one is not waited for")
	}
}
