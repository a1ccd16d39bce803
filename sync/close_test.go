package sync_test

import (
	"bytes"
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
	"github.com/commy-project/commyfs/transport"
)

// eachConnection calls fn when a connection is made, before it is used.
type eachConnection func()

func (fn eachConnection) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("msg=connected")) {
		fn()
	}
	return len(p), nil
}

func TestAConnectionMadeDuringCloseIsNotUsed(t *testing.T) {
	var (
		c     atomic.Pointer[varsync.Client]
		n     atomic.Int32
		ended = make(chan struct{})
	)
	made := eachConnection(func() {
		if n.Add(1) == 2 {
			go func() { c.Load().Close(); close(ended) }()
			time.Sleep(100 * time.Millisecond) // it is closed, and waits for the goroutine that we are on
		}
	})
	f := &fake{t: t}
	f.handle = func(send func(uint64, transport.Message), id uint64, _ transport.Message) {
		send(id, &transport.Error{Code: model.CodeInternal})
	}
	var first varsync.Conn
	c.Store(f.client(func(o *varsync.Options) {
		o.Logger = slog.New(slog.NewTextHandler(made, nil))
		o.Timeout = time.Minute
		dial := o.Dial
		o.Dial = func(ctx context.Context) (varsync.Conn, error) {
			conn, err := dial(ctx)
			if first == nil {
				first = conn
			}
			return conn, err
		}
	}))
	first.(*transport.Client).Fail(model.ErrDisconnected)
	<-ended
	start := time.Now()
	if _, err := c.Load().Report(t.Context(), model.Change{Op: model.OpStore, Tenant: "t", Service: "s", Name: "v"}); err == nil {
		t.Error("a closed client has reported a change")
	}
	if took := time.Since(start); took > 10*time.Second { // less than it waits for an answer
		t.Errorf("a closed client took %v to say so", took)
	}
}
