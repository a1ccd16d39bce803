package server

import (
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/transport"
)

func appendTo(name, data string) model.Change {
	c := store(name, data)
	c.Op = model.OpAppend
	return c
}

func TestExactlyOnce(t *testing.T) {
	d := newDirs(t)
	s := d.start(t)
	p := connect(t, s)
	p.do(appendTo("v", "a"))
	report := &transport.ReportVariableChanges{Seq: 2, Acked: 2, Changes: []model.Change{appendTo("v", "b"), appendTo("w", "c")}}
	first := must[*transport.VariableChangesAcknowledged](p, report)
	check := func(where string, p *peer) {
		t.Helper()
		again := must[*transport.VariableChangesAcknowledged](p, report)
		if again.Code != model.CodeOK || !reflect.DeepEqual(again.Results, first.Results) {
			t.Errorf("%s: answered %+v, want the results of %+v", where, again, first)
		}
		p.wantValue("v", "ab")
		p.wantValue("w", "c")
	}
	check("same session", p)
	p = connect(t, s, as(p.id))
	check("after a reconnect", p)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = d.start(t)
	p = connect(t, s, as(p.id))
	check("after a restart", p)

	// Below its own floor a client is told nothing.
	must[*transport.VariableChangesAcknowledged](p, &transport.ReportVariableChanges{Seq: 9, Acked: 5, Changes: []model.Change{store("x", "")}})
	a := must[*transport.VariableChangesAcknowledged](p, &transport.ReportVariableChanges{Seq: 2, Acked: 5, Changes: report.Changes})
	if a.Code != model.CodeInvalid {
		t.Errorf("acknowledged before: %+v", a)
	}
	a = must[*transport.VariableChangesAcknowledged](p, &transport.ReportVariableChanges{Changes: report.Changes})
	if a.Code != model.CodeInvalid {
		t.Errorf("without a seq: %+v", a)
	}
	p.wantValue("v", "ab")

	// A client that has said goodbye is forgotten.
	must[*transport.Done](p, &transport.Goodbye{})
	p = connect(t, s, as(p.id))
	must[*transport.VariableChangesAcknowledged](p, report)
	p.wantValue("v", "abb")
}

// TestResendRace has a client reconnect in the middle of pipelined reports again and again, sending again what was not
// answered: every report is carried out once, in order.
func TestResendRace(t *testing.T) {
	s := startServer(t)
	p := connect(t, s)
	p.do(store("v", ""))
	const reports = 400
	var mu sync.Mutex
	acked := map[uint64]bool{}
	want := ""
	for i := range reports {
		want += fmt.Sprintf("%d,", i)
	}
	calls := &sync.WaitGroup{}
	for round := 0; ; round++ {
		p = connect(t, s, as(p.id))
		calls.Wait() // the new connection has ended the old one
		if len(acked) == reports {
			break
		}
		calls = &sync.WaitGroup{}
		enough := make(chan struct{})
		answers := 0
		handle := func(m transport.Message, err error) {
			defer calls.Done()
			if err != nil {
				return
			}
			a := m.(*transport.VariableChangesAcknowledged)
			if a.Code != model.CodeOK {
				t.Errorf("seq %d: %d %s", a.Seq, a.Code, a.Message)
			}
			mu.Lock()
			defer mu.Unlock()
			acked[a.Seq] = true
			if answers++; answers == 15 || answers < 15 && len(acked) == reports {
				close(enough)
			}
		}
		for i := range uint64(reports) {
			mu.Lock()
			done := acked[i+2]
			mu.Unlock()
			if done {
				continue
			}
			calls.Add(1)
			r := &transport.ReportVariableChanges{Seq: i + 2, Changes: []model.Change{appendTo("v", fmt.Sprintf("%d,", i))}}
			if err := p.cl.Start(t.Context(), r, handle); err != nil {
				calls.Done()
				break
			}
		}
		select {
		case <-enough:
		case <-time.After(bound):
			t.Fatal("no answers")
		}
		if round%2 == 0 {
			p.cl.Fail(errTest)
		}
	}
	v, err := p.read("v")
	if err != nil {
		t.Fatal(err)
	}
	if string(v.Data) != want {
		t.Errorf("value %q\nwant  %q", v.Data, want)
	}
}

func TestReservedIDs(t *testing.T) {
	d := newDirs(t)
	s := d.start(t)
	p := connect(t, s)
	p.do(store("v", ""))
	reserve := func() uint64 {
		return must[*transport.Probed](p, &transport.Probe{Tenant: "t", Service: "s", Name: "x", Want: model.RightCreate, Reserve: true}).ID
	}
	id := reserve()
	c := store("x", "1")
	c.NewID = id
	if r := p.do(c)[0]; r.ID != id {
		t.Errorf("made with id %d, want the reserved %d", r.ID, id)
	}
	c = store("y", "1")
	c.NewID = id
	if r := p.do(c)[0]; r.ID == id {
		t.Error("an id was used twice")
	}
	c = store("z", "1")
	c.NewID = reserve() + 1000
	if r := p.do(c)[0]; r.ID == c.NewID {
		t.Error("an id that was not reserved was used")
	}
	// Reserved with a server that has died.
	id = reserve()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = d.start(t)
	p = connect(t, s, as(p.id))
	p.seq = 100
	c = store("after", "1")
	c.NewID = id
	if r := p.do(c)[0]; r.ID != id {
		t.Errorf("made with id %d, want %d, reserved with the server before", r.ID, id)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// One that a variable has which is not in memory.
	p = connect(t, d.start(t), as(p.id))
	p.seq = 200
	c = store("v", "1")
	c.Service, c.NewID = "other", id
	if r := p.do(c)[0]; r.ID == id {
		t.Error("two variables have one id")
	}
}
