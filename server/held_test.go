package server

import (
	"sync"
	"testing"
	"time"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/server/core"
	"github.com/commy-project/commyfs/transport"
)

func other(service, value string) model.Change {
	c := store("v", value)
	c.Service = service
	return c
}

// TestServiceThatIsLoaded: while a service is loaded for a report, the same client's other requests are carried out, but for
// those that concern the service: they stay in order. Whoever waits is told of progress.
func TestServiceThatIsLoaded(t *testing.T) {
	d := newDirs(t)
	s := d.start(t)
	p := connect(t, s)
	p.do(other("slow", ""), other("quick", ""))
	id, slow := p.do(other("slow", ""))[0].ID, p.service("t", "slow")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	gate := make(chan struct{})
	open := sync.OnceFunc(func() { close(gate) })
	s = d.start(t, func(o *Options) {
		o.tune = func(o *core.Options) {
			o.Store.MinFree = 1
			o.Loading = func(service uint64, step func()) {
				for service == slow {
					select {
					case <-gate:
						return
					case <-time.After(time.Millisecond):
						step()
					}
				}
			}
		}
	})
	t.Cleanup(open)
	p = connect(t, s)
	var pending []*transport.Pending
	report := func(changes ...model.Change) {
		p.seq++
		pending = append(pending, p.cl.Go(t.Context(), &transport.ReportVariableChanges{Seq: p.seq, Acked: 1, Changes: changes}))
	}
	appending := func(text string) model.Change {
		c := appendTo("v", text)
		c.Service = "slow"
		return c
	}
	report(appending("a"))
	report(other("quick", "x"), appending("b"))
	report(model.Change{Op: model.OpAppend, ID: id, In: slow, Data: []byte("c")})
	report(model.Change{Op: model.OpRename, Tenant: "t", Service: "quick", ToService: "late"})
	pending = append(pending, p.cl.Go(t.Context(), &transport.Probe{ID: id, In: slow, Want: model.RightWrite}))

	must[*transport.Done](p, &transport.Ping{})
	report(other("third", "1"))
	quick := pending[len(pending)-1]
	if _, err := quick.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	pending = pending[:len(pending)-1]
	p.await("progress", func(pushes []transport.Message) bool {
		for _, m := range pushes {
			if s, ok := m.(*transport.Snapshot); ok && s.Service == slow && s.More {
				return true
			}
		}
		return false
	})
	for i, c := range pending {
		select {
		case <-c.Done():
			t.Errorf("request %d was answered before the service was loaded", i)
		default:
		}
	}
	open()
	for _, c := range pending {
		m, err := c.Wait(t.Context())
		if a, ok := m.(*transport.VariableChangesAcknowledged); err != nil || ok && a.Code != model.CodeOK {
			t.Errorf("%+v, %v", m, err)
		}
	}
	v, err := call[*transport.VariableData](p, &transport.ReadVariable{Tenant: "t", Service: "slow", Name: "v"})
	if err != nil || string(v.Variable.Data) != "abc" {
		t.Errorf("the service holds %+v, %v", v, err)
	}
	v, err = call[*transport.VariableData](p, &transport.ReadVariable{Tenant: "t", Service: "late", Name: "v"})
	if err != nil || string(v.Variable.Data) != "x" {
		t.Errorf("the renamed service holds %+v, %v", v, err)
	}
}

// TestGoodbyeWaits: what was asked for before a goodbye is carried out before it.
func TestGoodbyeWaits(t *testing.T) {
	d := newDirs(t)
	s := d.start(t)
	p := connect(t, s)
	p.do(other("slow", ""), other("quick", ""))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	gate := make(chan struct{})
	open := sync.OnceFunc(func() { close(gate) })
	s = d.start(t, func(o *Options) {
		o.tune = func(o *core.Options) {
			o.Store.MinFree = 1
			o.Loading = func(uint64, func()) { <-gate }
		}
	})
	t.Cleanup(open)
	p = connect(t, s)
	report := p.cl.Go(t.Context(), &transport.ReportVariableChanges{Seq: 1, Acked: 1, Changes: []model.Change{other("slow", "kept")}})
	bye := p.cl.Go(t.Context(), &transport.Goodbye{})
	must[*transport.Done](p, &transport.Ping{})
	select {
	case <-bye.Done():
		t.Error("goodbye was said before the report was carried out")
	default:
	}
	open()
	for _, c := range []*transport.Pending{report, bye} {
		if _, err := c.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	}
	q := connect(t, s)
	v, err := call[*transport.VariableData](q, &transport.ReadVariable{Tenant: "t", Service: "slow", Name: "v"})
	if err != nil || string(v.Variable.Data) != "kept" {
		t.Errorf("the service holds %+v, %v", v, err)
	}
}
