package sync_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
	"github.com/commy-project/commyfs/transport"
)

// A server that says nothing of a lease has no locks, and is not asked.
func TestS15_OldServer(t *testing.T) {
	f := &fake{t: t, handle: func(send func(uint64, transport.Message), id uint64, m transport.Message) {
		if _, ok := m.(*transport.Goodbye); !ok {
			t.Errorf("asked %T", m)
		}
		send(id, &transport.Done{})
	}}
	c, err := varsync.New(t.Context(), varsync.Options{Dial: f.dial, NoMap: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Lock(t.Context(), model.Lock{ID: fakeVariable, Owner: 1}, true); model.CodeOf(err) != model.CodeUnsupported {
		t.Error(err)
	}
	if err := c.Unlock(t.Context(), model.Lock{ID: fakeVariable, Owner: 1}); err != nil {
		t.Error(err)
	}
}

// A server that does not answer is not waited for longer than the bound, and a lock that comes later is given back.
func TestS15_MuteServer(t *testing.T) {
	asked := make(chan func(), 1)
	unlocked := make(chan struct{})
	f := &fake{t: t, lease: time.Minute, handle: func(send func(uint64, transport.Message), id uint64, m transport.Message) {
		switch m := m.(type) {
		case *transport.Lock:
			asked <- func() { send(id, &transport.Locked{Token: m.Token, Lease: 7}) }
		case *transport.Unlock:
			send(id, &transport.Done{})
			close(unlocked)
		case *transport.Ping:
			send(id, &transport.Done{})
		}
	}}
	c, err := varsync.New(t.Context(), varsync.Options{Dial: f.dial, NoMap: true, Timeout: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	l := model.Lock{ID: fakeVariable, Owner: 1, Exclusive: true}
	if err := c.Lock(t.Context(), l, false); model.CodeOf(err) != model.CodeDisconnected {
		t.Error(err)
	}
	(<-asked)()
	select {
	case <-unlocked:
	case <-time.After(5 * time.Second):
		t.Fatal("not given back")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Lock(ctx, l, true); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
