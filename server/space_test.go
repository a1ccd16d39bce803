package server

import (
	"sync/atomic"
	"testing"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/server/core"
	"github.com/commy-project/commyfs/transport"
)

// TestNoSpace: on a full disk what would write is refused and the old values stay; deleting works until even that has no
// room; afterwards everything works again.
func TestNoSpace(t *testing.T) {
	var free atomic.Int64
	free.Store(1 << 40)
	const minFree = 64 << 20
	s := startServer(t, func(o *Options) {
		o.tune = func(c *core.Options) {
			c.Store.MinFree = minFree
			c.Store.Free = func() (int64, int64, error) { return free.Load(), 1 << 40, nil }
		}
	})
	p := connect(t, s)
	p.do(store("a", "1"), store("b", "1"), store("c", "1"), at(model.OpMkdir, "t", "s", "d"), store("same", "1"), store("f", "1"))
	probe := func() error {
		_, err := call[*transport.Probed](p, &transport.Probe{Tenant: "t", Service: "s", Name: "a", Want: model.RightWrite})
		return err
	}
	if err := probe(); err != nil {
		t.Errorf("probe with space: %v", err)
	}

	free.Store(minFree / 2)
	p.wantCode(probe(), model.CodeNoSpace)
	p.refused(model.CodeNoSpace, store("a", "2"))
	p.refused(model.CodeNoSpace, store("new", ""))
	p.refused(model.CodeNoSpace, at(model.OpMkdir, "t", "s", "e"))
	p.refused(model.CodeNoSpace, at(model.OpMkdir, "x", "", ""))
	p.refused(model.CodeNoSpace, at(model.OpDelete, "t", "s", "a"), store("b", "2"))
	p.do(store("same", "1"))
	p.do(at(model.OpDelete, "t", "s", "a"), at(model.OpRmdir, "t", "s", "d"))
	// In one batch: the deletion goes through, its neighbours do not.
	var codes [3]model.Code
	var calls [3]*transport.Pending
	for i, c := range []model.Change{store("b", "2"), at(model.OpDelete, "t", "s", "c"), store("c", "3")} {
		p.seq++
		calls[i] = p.cl.Go(t.Context(), &transport.ReportVariableChanges{Seq: p.seq, Changes: []model.Change{c}})
	}
	for i, c := range calls {
		m, err := c.Wait(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		codes[i] = m.(*transport.VariableChangesAcknowledged).Code
	}
	if codes != [3]model.Code{model.CodeNoSpace, model.CodeOK, model.CodeNoSpace} {
		t.Errorf("codes %v", codes)
	}
	// The same in one message.
	p.seq += 3
	m, err := call[*transport.VariableChangesAcknowledged](p, &transport.ReportVariableChanges{Seq: p.seq - 2, Each: true,
		Changes: []model.Change{store("b", "2"), at(model.OpDelete, "t", "s", "f"), store("f", "3")}})
	if err != nil || len(m.Refused) != 2 || m.Refused[0].Index != 0 || m.Refused[1].Index != 2 || m.Refused[1].Code != model.CodeNoSpace {
		t.Errorf("%+v, %v", m, err)
	}
	p.wantValue("b", "1")
	_, err = p.read("c")
	p.wantCode(err, model.CodeNotFound)
	_, err = p.read("f")
	p.wantCode(err, model.CodeNotFound)

	free.Store(1 << 10)
	p.refused(model.CodeNoSpace, at(model.OpDelete, "t", "s", "b"))
	p.wantValue("b", "1")
	free.Store(1 << 40)
	p.do(store("b", "2"))
	p.wantValue("b", "2")
	if p.welcome.Limits.Free != 1<<40 || p.welcome.Limits.Value != 1<<20 || p.welcome.Limits.Component != 255 {
		t.Errorf("limits %+v", p.welcome.Limits)
	}
}
