package server

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/transport"
)

// TestEngineThatHangs: while the engine does not carry out a report, its client's other requests are answered, and those of
// others, as often as that happens on one connection. What was asked for meanwhile is carried out afterwards, in order.
func TestEngineThatHangs(t *testing.T) {
	s := startServer(t)
	first := connect(t, s)
	first.do(store("v", ""), store("w", ""))
	entered, gate := make(chan struct{}), make(chan struct{})
	var hang atomic.Bool
	s.relief.begun = func() {
		if hang.Load() {
			entered <- struct{}{}
			<-gate
		}
	}
	p := connect(t, s)
	want := ""
	for round := range 3 {
		report := func(text string) *transport.Pending {
			p.seq++
			return p.cl.Go(t.Context(), &transport.ReportVariableChanges{Seq: p.seq, Acked: p.seq - 1, Changes: []model.Change{appendTo("v", text)}})
		}
		hang.Store(true)
		a := hung(t, entered, func() *transport.Pending { want += "a"; return report("a") })
		hang.Store(false)
		must[*transport.Done](p, &transport.Ping{})
		b := report("b")
		want += "b"
		must[*transport.VariableData](p, &transport.ReadVariable{Tenant: "t", Service: "s", Name: "v"})
		other := first.cl.Go(t.Context(), &transport.ReportVariableChanges{Seq: uint64(round) + 100, Acked: uint64(round) + 100, Changes: []model.Change{store("w", fmt.Sprint(round))}})
		must[*transport.Done](first, &transport.Ping{})
		must[*transport.Probed](p, &transport.Probe{Tenant: "t", Service: "s", Name: "v", Want: model.RightWrite})
		select {
		case <-a.Done():
			t.Error("the report that hangs was answered")
		case <-b.Done():
			t.Error("a report was answered before the one before it")
		case <-other.Done():
			t.Error("a report was carried out beside the one that hangs")
		default:
		}
		gate <- struct{}{}
		for _, c := range []*transport.Pending{a, b, other} {
			m, err := c.Wait(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if a := m.(*transport.VariableChangesAcknowledged); a.Code != model.CodeOK {
				t.Errorf("refused: %s", a.Message)
			}
		}
	}
	p.wantValue("v", want)
}

// hung sends reports until one hangs: the committer carries them out as well.
func hung(t *testing.T, entered chan struct{}, report func() *transport.Pending) *transport.Pending {
	for {
		c := report()
		select {
		case <-entered:
			return c
		case <-c.Done():
		case <-time.After(bound):
			t.Fatal("a report is neither carried out nor hangs")
		}
	}
}

// TestEndDuringAStore: a connection that ends while the engine does not carry out its report leaves nothing behind.
func TestEndDuringAStore(t *testing.T) {
	s := startServer(t)
	first := connect(t, s)
	first.do(store("v", ""))
	entered, gate := make(chan struct{}), make(chan struct{})
	var hang atomic.Bool
	s.relief.begun = func() {
		if hang.CompareAndSwap(true, false) {
			entered <- struct{}{}
			<-gate
		}
	}
	p := connect(t, s)
	hang.Store(true)
	hung(t, entered, func() *transport.Pending {
		p.seq++
		return p.cl.Go(t.Context(), &transport.ReportVariableChanges{Seq: p.seq, Changes: []model.Change{store("v", "x")}})
	})
	must[*transport.Done](p, &transport.Ping{}) // it is read from by another goroutine
	_ = p.cl.Close()
	gate <- struct{}{}
	testenv.Eventually(t, bound, func() error {
		if n := len(must[*transport.Status](first, &transport.GetStatus{}).Sessions); n != 1 {
			return fmt.Errorf("%d sessions", n)
		}
		return nil
	})
	first.wantValue("v", "x")
}

// TestToldWhileTheEngineHangs: what others have to tell the client is told although the goroutine that reads carries out a
// report, and nothing comes that would be read.
func TestToldWhileTheEngineHangs(t *testing.T) {
	s := startServer(t)
	connect(t, s).do(store("v", ""))
	entered, gate := make(chan struct{}), make(chan struct{})
	s.relief.begun = func() {
		entered <- struct{}{}
		<-gate
	}
	p := connect(t, s)
	a := hung(t, entered, func() *transport.Pending {
		p.seq++
		return p.cl.Go(t.Context(), &transport.ReportVariableChanges{Seq: p.seq, Acked: p.seq - 1, Changes: []model.Change{store("v", "x")}})
	})
	c := s.relief.current.Load()
	testenv.Eventually(t, bound, func() error {
		if c.settles.Load() != 0 {
			return errors.New("it is not relieved")
		}
		return nil
	})
	defer func() {
		close(gate)
		if _, err := a.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	(&progress{request: request{session: c}, service: 77}).tell(1)
	p.await("progress", func(l []transport.Message) bool {
		return slices.ContainsFunc(l, func(m transport.Message) bool {
			page, ok := m.(*transport.Snapshot)
			return ok && page.Service == 77
		})
	})
}

// TestPanicOfWhoReads: a panic of who tells the client something in place of the writer ends the session, all of it.
func TestPanicOfWhoReads(t *testing.T) {
	s := startServer(t)
	p := connect(t, s)
	current := make(chan *session, 100)
	s.relief.begun = func() {
		select {
		case current <- s.relief.current.Load():
		default:
		}
	}
	var c *session
	for c == nil {
		p.do(store("v", fmt.Sprint(p.seq)))
		select {
		case c = <-current:
		default: // the committer was faster
		}
	}
	must[*transport.Done](p, &transport.Ping{})
	c.out.hush()
	c.out.reply(reply{id: 1 << 40, make: func() transport.Message { panic("test") }})
	c.tellNow()
	select {
	case <-c.written:
	case <-time.After(bound):
		t.Fatal("the writer has not ended")
	}
	if !c.speaking.TryLock() {
		t.Error("a writer that has something to tell at that moment would wait for ever")
	}
}
