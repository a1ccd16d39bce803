package server

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/server/core"
	"github.com/commy-project/commyfs/transport"
)

// TestStuckWatcher: a watcher that takes nothing holds nobody up, and when it takes again it gets the last values by
// fewer events than there were changes.
func TestStuckWatcher(t *testing.T) {
	s := startServer(t)
	p := connect(t, s)
	p.do(store("a", ""), store("b", ""))
	sid := p.service("t", "s")
	release := make(chan struct{})
	var once sync.Once
	unstick := func() { once.Do(func() { close(release) }) }
	t.Cleanup(unstick)
	stuck := connect(t, s, func(p *peer) { p.onPush = func(transport.Message) { <-release } })
	stuck.mustWatch(&transport.Watch{Service: sid, Values: true})
	const writes = 60
	value := ""
	for i := range writes {
		value = strings.Repeat(fmt.Sprintf("%02d", i), 100_000)
		p.do(store("a", value), store("b", value))
	}
	unstick()
	stuck.await("last value", func(l []transport.Message) bool {
		evs := events(l, sid)
		return len(evs) > 0 && evs[len(evs)-1].Version == writes+1
	})
	evs := events(stuck.taken(), sid)
	if last := evs[len(evs)-1]; last.Name != "b" || string(last.Data) != value {
		t.Errorf("last event of %s with %d bytes", last.Name, len(last.Data))
	}
	if len(evs) >= 2*writes {
		t.Errorf("%d events for %d changes: none were merged", len(evs), 2*writes)
	}
}

// TestManyRequests sends more than a session may have unanswered, without waiting.
func TestManyRequests(t *testing.T) {
	p := connect(t, startServer(t))
	p.do(store("v", ""))
	var calls []*transport.Pending
	for i := range 3 * maxUnanswered {
		calls = append(calls, p.cl.Go(t.Context(), &transport.ReportVariableChanges{Seq: uint64(i + 2), Acked: uint64(i + 1), Changes: []model.Change{appendTo("v", "x")}}))
		calls = append(calls, p.cl.Go(t.Context(), &transport.Ping{}))
	}
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	for _, c := range calls {
		m, err := c.Wait(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if a, ok := m.(*transport.VariableChangesAcknowledged); ok && a.Code != model.CodeOK {
			t.Fatalf("seq %d: %s", a.Seq, a.Message)
		}
	}
	p.wantValue("v", strings.Repeat("x", 3*maxUnanswered))
}

// TestGarbage sends reports that make no sense, and finds the server well afterwards.
func TestGarbage(t *testing.T) {
	s := startServer(t)
	p := connect(t, s)
	r := p.do(store("v", "1"), store("d/w", "2"))
	rnd := rand.New(rand.NewPCG(1, 2))
	pick := func(list ...string) string { return list[rnd.IntN(len(list))] }
	name := func() string {
		return pick("", "v", "d", "d/w", "/", "//", "a//b", "\x00", "x/", strings.Repeat("y/", 600), strings.Repeat("z", 300), "v/x")
	}
	top := func() string { return pick("", "t", "s", "u", "/", "\x00\x01", "t/s", strings.Repeat("t", 300)) }
	number := func() int64 { return []int64{0, 1, 2, -1, 1 << 20, 1 << 40, -1 << 63, 1<<63 - 1}[rnd.IntN(8)] }
	for range 5000 {
		c := model.Change{
			Op: model.Op(rnd.IntN(13)), Tenant: top(), Service: top(), Name: name(), ToTenant: top(), ToService: top(), ToName: name(),
			NoReplace: rnd.IntN(2) == 0, Base: uint64(number()), Size: number(), Create: rnd.IntN(2) == 0, Parents: rnd.IntN(2) == 0,
			NewID: uint64(number()), HasVersion: rnd.IntN(4) == 0, IfVersion: uint64(number()), Data: []byte(name()),
		}
		if rnd.IntN(4) == 0 {
			c.ID = []uint64{r[0].ID, r[1].ID, 1, 1025, 1 << 63}[rnd.IntN(5)]
		}
		for range rnd.IntN(3) {
			c.Ranges = append(c.Ranges, model.RangeData{Off: number(), Data: []byte(name())})
		}
		if a := p.send(c); a.Code == model.CodeInternal {
			t.Fatalf("%+v: %s", c, a.Message)
		}
	}
	for _, m := range []transport.Message{
		&transport.Watch{Service: 1}, &transport.Unwatch{Service: 1}, &transport.GetServiceFilePath{}, &transport.ReadVariable{}, &transport.Probe{ID: 9},
		&transport.List{Name: "x"}, &transport.Status{}, &transport.Snapshot{},
	} {
		_, _ = call[*transport.Done](p, m)
	}
	many := make([]model.Change, 1001)
	for i := range many {
		many[i] = store("v", "x")
	}
	p.refused(model.CodeInvalid, many...)
	p.do(model.Change{Op: model.OpStore, Tenant: "ok", Service: "s", Name: "v", Data: []byte("fine"), Create: true, Parents: true})
	d := must[*transport.VariableData](p, &transport.ReadVariable{Tenant: "ok", Service: "s", Name: "v"})
	if string(d.Variable.Data) != "fine" {
		t.Errorf("afterwards: %+v", d)
	}
}

// TestManyServices: a report may be the first to touch a service, by name or by id.
func TestServicesAreLoadedWhenNeeded(t *testing.T) {
	d := newDirs(t)
	s := d.start(t)
	p := connect(t, s)
	var last model.Result
	for i := range 5 {
		c := store("dir/v", fmt.Sprint(i))
		c.Service = fmt.Sprint("s", i)
		last = p.do(c)[0]
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = d.start(t)
	p = connect(t, s)
	loaded := func() int { return must[*transport.Status](p, &transport.GetStatus{}).Loaded }
	if n := loaded(); n != 0 {
		t.Errorf("%d services loaded at start", n)
	}
	c := store("dir/v", "new")
	c.Service = "s2"
	p.do(c)
	if n := loaded(); n != 1 {
		t.Errorf("%d services loaded by a store into one", n)
	}
	p.refused(model.CodeNotEmpty, at(model.OpRmdir, "t", "s1", ""))
	p.refused(model.CodeNotEmpty, model.Change{Op: model.OpRename, Tenant: "t", Service: "s2", ToService: "s0"})
	if r := p.do(model.Change{Op: model.OpStore, ID: last.ID, In: p.service("t", "s4"), Data: []byte("by id")})[0]; r.Version != last.Version+1 {
		t.Errorf("by id: %+v after %+v", r, last)
	}
	m := model.Change{Op: model.OpRename, Tenant: "t", Service: "s2", Name: "dir/v", ToService: "s3", ToName: "x"}
	p.do(m)
	if list := p.list(&transport.List{Tenant: "t", Recursive: true}); len(list) != 5+5+5 {
		t.Errorf("%d entries: %v", len(list), list)
	}
	if st := must[*transport.Status](p, &transport.GetStatus{}); st.Services != 5 || st.Store == "" || len(st.Sessions) != 1 || st.Sessions[0].Program != "test" || time.Since(time.Unix(0, st.Sessions[0].Connected)) > time.Minute {
		t.Errorf("status %+v", st)
	}
}

// A client that sends and does not read gets every answer once it reads, and holds up nobody until then.
func TestClientThatOnlySends(t *testing.T) {
	s := startServer(t)
	p := connect(t, s)
	value := strings.Repeat("x", 20_000)
	p.do(store("v", value))
	conn, err := transport.Dial(t.Context(), transport.DialOptions{URL: "unix://" + s.socket()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	const rounds = 2 * maxUnanswered / 4
	sent := make(chan error, 1)
	go func() {
		err := conn.Send(transport.Envelope{ID: 1, Message: &transport.Hello{ID: make([]byte, core.ClientIDLen)}})
		for i := uint64(0); i < rounds && err == nil; i++ {
			err = conn.Send(
				transport.Envelope{ID: 4*i + 2, Message: &transport.Ping{}},
				transport.Envelope{ID: 4*i + 3, Message: &transport.ReadVariable{Tenant: "t", Service: "s", Name: "v"}},
				transport.Envelope{ID: 4*i + 4, Message: &transport.Probe{Tenant: "t", Service: "s", Name: "w", Want: model.RightCreate}},
				transport.Envelope{ID: 4*i + 5, Message: &transport.ReportVariableChanges{Seq: i + 1, Acked: i + 1, Changes: []model.Change{store("w", fmt.Sprint(i))}}},
			)
		}
		sent <- err
	}()
	for i := range 50 {
		p.do(store("mine", fmt.Sprint(i)))
	}
	answers := map[uint64]string{}
	for len(answers) < 4*rounds+1 {
		envs, err := conn.Receive()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range envs {
			if answers[e.ID] != "" {
				t.Errorf("request %d was answered twice", e.ID)
			}
			answers[e.ID] = fmt.Sprintf("%T", e.Message)
			switch m := e.Message.(type) {
			case *transport.VariableData:
				if string(m.Variable.Data) != value {
					t.Errorf("%d bytes were read", len(m.Variable.Data))
				}
			case *transport.VariableChangesAcknowledged:
				if m.Code != model.CodeOK {
					t.Errorf("seq %d: %s", m.Seq, m.Message)
				}
			case *transport.Error:
				t.Errorf("request %d: %s", e.ID, m.Message)
			}
		}
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}
