package sync_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// noted is a journal.
type noted struct {
	number   atomic.Uint64
	answered atomic.Int32 // 1: carried out, 2: refused
}

func (n *noted) Sent(number uint64) { n.number.Store(number) }
func (n *noted) Answered(out bool) {
	n.answered.Store(2)
	if out {
		n.answered.Store(1)
	}
}

// dying is a connection of a process that dies.
type dying struct {
	varsync.Conn
	how *atomic.Int32 // 0: it lives, 1: it dies before it sends a report, 2: before the answer
}

func (d dying) Report(ctx context.Context, r *model.Report, handle func(*model.Outcome, error)) error {
	switch d.how.Load() {
	case 1:
		return nil
	case 2:
		handle = func(*model.Outcome, error) {}
	}
	return d.Conn.Report(ctx, r, handle)
}

// TestResume: what another process has sent and not heard of is found out, and nothing of it happens twice, or later.
func TestResume(t *testing.T) {
	h := newHost(t)
	other := h.client(t, true)
	store(t, other, "t", "s", "log", "")
	seen := variable(t, other, "t", "s", "log")

	var how atomic.Int32
	var last atomic.Uint64
	var conn atomic.Pointer[dying]
	c := h.client(t, true, func(o *varsync.Options) {
		o.OnNumber = func(n uint64) { last.Store(n) }
		o.Dial = func(ctx context.Context) (varsync.Conn, error) {
			if how.Load() != 0 {
				return nil, errors.New("it is dead")
			}
			inner, err := h.dial(ctx)
			if err == nil {
				conn.Store(&dying{inner, &how})
			}
			return *conn.Load(), err
		}
	})
	v := variable(t, c, "t", "s", "log")
	put := func(text string) *noted {
		n := &noted{}
		v.Enqueue(varsync.Edit{Kind: varsync.EditAppend, Data: []byte(text), Journal: n})
		eventually(t, func() bool { return n.number.Load() != 0 })
		return n
	}
	a := put("a")
	eventually(t, func() bool { return a.answered.Load() == 1 })
	refused := &noted{}
	if _, err := c.Change(varsync.Journaled(t.Context(), refused), model.Change{Op: model.OpRmdir, Tenant: "t", Service: "no"}); err == nil {
		t.Fatal("no error")
	}
	if refused.answered.Load() != 2 || last.Load() != refused.number.Load() {
		t.Errorf("a refusal: answered %d, number %d of %d", refused.answered.Load(), refused.number.Load(), last.Load())
	}
	how.Store(2)
	b := put("b")
	wantValue(t, seen, "ab")
	how.Store(1)
	lost := &noted{}
	go func() {
		_, _ = c.Change(varsync.Journaled(context.Background(), lost), model.Change{Op: model.OpAppend, Tenant: "t", Service: "s", Name: "log", Data: []byte("c")})
	}()
	eventually(t, func() bool { return lost.number.Load() != 0 })
	if b.answered.Load()+lost.answered.Load() != 0 {
		t.Error("answered although the process is dead")
	}

	heir := h.client(t, true, func(o *varsync.Options) {
		o.Resume = &varsync.Resume{ID: c.ID(), Last: last.Load(), Ask: []uint64{b.number.Load(), lost.number.Load(), a.number.Load(), 0}}
	})
	_ = conn.Load().Conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if out, err := heir.Became(ctx, b.number.Load()); !out || err != nil {
		t.Errorf("sent, and carried out: %v, %v", out, err)
	}
	if out, err := heir.Became(ctx, lost.number.Load()); out || err != nil {
		t.Errorf("not sent: %v, %v", out, err)
	}
	if _, err := heir.Became(ctx, a.number.Load()); err == nil {
		t.Error("the answer was here, and the server was told so: it has none any more")
	}
	if _, err := heir.Became(ctx, 1000); err == nil {
		t.Error("it was not asked for")
	}
	// What was not sent can be sent now, once.
	hv := variable(t, heir, "t", "s", "log")
	if _, err := hv.Commit(ctx, varsync.Edit{Kind: varsync.EditAppend, Data: []byte("c")}); err != nil {
		t.Fatal(err)
	}
	wantValue(t, seen, "abc")
}
