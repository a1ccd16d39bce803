package core

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"testing"
	"unsafe"

	"github.com/commy-project/commyfs/engine"
	"github.com/commy-project/commyfs/model"
)

// damage is what op puts, cut short.
func damage(op engine.Op) engine.Op {
	v := reflect.ValueOf(&op).Elem().FieldByName("value")
	*(*[]byte)(unsafe.Pointer(v.UnsafeAddr())) = []byte{2}
	return op
}

// TestDamagedRecords: a record that cannot be read is an error for who needs it and stays as it is; the server starts, and
// serves all others.
func TestDamagedRecords(t *testing.T) {
	d := newDirs(t)
	s := d.start(t)
	p := connect(t, s)
	put := func(tenant, service string) {
		p.do(model.Change{Op: model.OpStore, Tenant: tenant, Service: service, Name: "v", Data: []byte("1"), Create: true, Parents: true})
	}
	put("bad", "s")
	put("was", "bad")
	put("was", "good")
	p.do(model.Change{Op: model.OpRename, Tenant: "was", ToTenant: "half"})
	put("lone", "s")
	put("good", "s")
	other := connect(t, s)
	again := report(1, 0, "v", "x")
	other.do(store("v", ""))
	if a := ack(other, report(2, 0, "v", "x")); a.Code != model.CodeOK {
		t.Fatal(a)
	}
	good := p.service("good", "s")
	clients := map[string]bool{}
	s.mu.Lock()
	for id, c := range s.clients {
		if c.session != nil && string(c.session.Client) == string(other.id) {
			clients[id] = true
		}
	}
	s.mu.Unlock()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	e, err := engine.Open(t.Context(), engine.Options{Dir: filepath.Join(d.state, "store"), MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	ops := []engine.Op{
		damage(engine.PutTenant(engine.Tenant{Name: "bad"})),
		damage(engine.PutService(engine.Service{Tenant: "was", Name: "bad"})),
		engine.PutService(engine.Service{Tenant: "was", Name: "twin", ID: good}),
		engine.PutTenant(engine.Tenant{ID: 1 << 40, Name: "thief", Prefix: "good"}),
		engine.DeleteTenant("lone"),
		damage(engine.PutKey(engine.Key{Name: "key"})),
		damage(engine.PutMoved(1<<40, 1)),
		damage(engine.PutForgot(1)),
		damage(engine.PutReserved(map[string][]uint64{"c": {1}})),
	}
	results, err := e.LoadResults(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if clients[r.Client] {
			ops = append(ops, engine.PutResult(engine.Result{Client: r.Client, Slot: r.Slot, Data: []byte("?")}))
		}
	}
	if len(ops) < 10 {
		t.Fatalf("%d records to be damaged", len(ops))
	}
	if _, err := e.Commit(t.Context(), ops); err != nil {
		t.Error(err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}

	for round := range 2 { // they are still there after the first time
		var said lockedBuffer
		s = d.start(t, func(o *setup) { o.Logger = slog.New(slog.NewTextHandler(&said, nil)) })
		if n := said.count("cannot be read and is left"); n != s.damaged || n < 9 {
			t.Errorf("%d records are logged, %d counted", n, s.damaged)
		}
		p = connect(t, s)
		if st := p.Status(); st.Damaged != s.damaged {
			t.Errorf("the status has %d damaged records, want %d", st.Damaged, s.damaged)
		}
		p.do(model.Change{Op: model.OpAppend, Tenant: "half", Service: "good", Name: "v", Data: []byte("1")})
		p.do(model.Change{Op: model.OpAppend, Tenant: "good", Service: "s", Name: "v", Data: []byte("1")})
		for _, at := range []serviceKey{{"bad", "s"}, {"bad", "new"}, {"half", "bad"}, {"half", "twin"}, {"lone", "s"}, {"thief", "s"}} {
			_, err := p.tryList(&model.List{Tenant: at.tenant, Service: at.name})
			p.wantCode(err, model.CodeInternal)
			_, err = p.get(at.tenant, at.name, "v")
			p.wantCode(err, model.CodeInternal)
			for _, c := range []model.Change{
				{Op: model.OpStore, Tenant: at.tenant, Service: at.name, Name: "v", Create: true, Parents: true},
				{Op: model.OpMkdir, Tenant: at.tenant, Service: at.name, Parents: true},
				{Op: model.OpRmdir, Tenant: at.tenant, Service: at.name},
				{Op: model.OpRename, Tenant: "good", Service: "s", ToTenant: at.tenant, ToService: at.name, Parents: true},
				{Op: model.OpRename, Tenant: at.tenant, Service: at.name, ToTenant: "good", ToService: "s2"},
				{Op: model.OpRename, Tenant: "good", ToTenant: at.tenant},
				{Op: model.OpRename, Tenant: at.tenant, ToTenant: "new"},
			} {
				if p.send(c).Code == model.CodeOK {
					t.Errorf("%+v was carried out at %v", c, at)
				}
			}
		}
		for _, c := range []model.Change{{Op: model.OpMkdir, Tenant: "bad"}, {Op: model.OpRmdir, Tenant: "bad"}} {
			p.refused(model.CodeInternal, c)
		}
		stranger := connect(t, s, s.by(p.createKey(fmt.Sprint("stranger-", round), model.RightRead|model.RightWrite|model.RightCreate|model.RightDelete, "good")))
		for _, hidden := range []string{"bad", "lone", "half", "thief"} {
			stranger.blindTo(hidden, "s")
			stranger.blindTo(hidden, "bad")
		}
		_, err := p.CreateKey(&model.NewKey{Name: "key", Rights: model.RightRead, Tenants: []string{"*"}})
		p.wantCode(err, model.CodeExists)

		other = connect(t, s, as(other.id))
		again.Age = int64(1) << 40 // about 18 min: sent to the server before
		if a := ack(other, again); a.Code == model.CodeOK {
			t.Errorf("sent again to who does not know: %+v", a)
		}
		if a := ack(other, report(uint64(s.up.UnixNano()), 0, "v", "x")); a.Code != model.CodeOK {
			t.Errorf("a new report: %+v", a)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	e, err = engine.Open(t.Context(), engine.Options{Dir: filepath.Join(d.state, "store"), MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	n := 0
	if _, _, _, err := e.LoadTree(t.Context(), func(engine.Damaged) { n++ }); err != nil || n != 2 {
		t.Errorf("%d damaged records are left (%v), want 2", n, err)
	}
}

// blindTo checks that a peer which may not see a tenant is told the same of it as of one that is not there.
func (p *peer) blindTo(tenant, service string) {
	p.t.Helper()
	check := func(c model.Change) {
		p.t.Helper()
		none := c
		for _, name := range []*string{&none.Tenant, &none.ToTenant} {
			if *name == tenant {
				*name = "nowhere"
			}
		}
		if got, want := p.send(c), p.send(none); got.Code != want.Code || got.Message != want.Message || got.Code == model.CodeOK {
			p.t.Errorf("%+v: %d %s, want %d %s", c, got.Code, got.Message, want.Code, want.Message)
		}
	}
	for _, name := range [][2]string{{"", ""}, {service, ""}, {service, "v"}} {
		for within := range uint64(2) {
			for op := model.OpStore; op <= model.OpExchange; op++ {
				check(model.Change{Op: op, Tenant: tenant, Service: name[0], Name: name[1], ToTenant: "good", ToService: name[0], ToName: name[1],
					Parents: true, Create: true, Within: within, Mode: model.NewMode(0o600)})
			}
			for _, op := range []model.Op{model.OpRename, model.OpExchange} {
				c := model.Change{Op: op, Tenant: "good", ToTenant: tenant, ToService: name[0], ToName: name[1], Parents: true, ToWithin: within}
				if name[0] != "" {
					c.Service, c.Name = "s", name[1]
				}
				check(c)
			}
		}
	}
}

// TestDamagedIsland: of a directory in another service whose record as an island cannot be read everything is there, and can be moved
// on; what is new where it was made has nothing to do with it.
func TestDamagedIsland(t *testing.T) {
	d := newDirs(t)
	s := d.start(t)
	p := connect(t, s)
	twoServices(p)
	p.do(store("d/v", "1"), withParents(store("d/e/v", "2")), withParents(store("d/n/v", "0")))
	p.do(renameTo(at(model.OpRename, "t", "s", "d/n"), "x"), moveTo("s", "d", "r", "d"))
	home, there := p.service("t", "s"), p.service("t", "r")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	e, err := engine.Open(t.Context(), engine.Options{Dir: filepath.Join(d.state, "store"), MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Commit(t.Context(), []engine.Op{damage(engine.PutIsland(engine.Island{Home: home, Prefix: "d/", ID: 1, Service: there}))}); err != nil {
		t.Error(err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	values := map[string]string{"r/d/v": "1", "r/d/e/v": "2", "s/x/v": "0"}
	restart := func() {
		t.Helper()
		if s != nil {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		var said lockedBuffer
		s = d.start(t, func(o *setup) { o.Logger = slog.New(slog.NewTextHandler(&said, nil)) })
		if n := said.count("prefix=d/"); n != s.damaged {
			t.Errorf("%d records are logged, %d counted", n, s.damaged)
		}
		p = connect(t, s)
		for path, want := range values {
			v, err := p.get("t", path[:1], path[2:])
			if err != nil || string(v.Data) != want {
				t.Errorf("%s is %q, %v, want %q", path, v.Data, err, want)
			}
		}
	}
	s = nil
	restart()
	if s.damaged != 1 {
		t.Errorf("%d records are damaged", s.damaged)
	}
	in := func(service, name, value string) model.Change {
		values[service+"/"+name] = value
		c := withParents(store(name, value))
		c.Service = service
		return c
	}
	p.do(in("s", "d/v", "3"), in("s", "d/e/v", "4"), in("r", "d/n/v", "5"), renameTo(at(model.OpRename, "t", "r", "d/e"), "e"), in("r", "d/e/v", "6"))
	values["r/e/v"] = "2"
	restart()
	p.do(in("s", "d/n/v", "7"))
	move := func(from, name, to, toName string) {
		p.do(moveTo(from, name, to, toName))
		for _, below := range []string{"/v", "/e/v", "/n/v"} {
			values[to+"/"+toName+below] = values[from+"/"+name+below]
			delete(values, from+"/"+name+below)
		}
	}
	move("s", "d", "r", "f")
	p.do(in("s", "d/v", "8"))
	restart()
	move("r", "d", "s", "g")
	restart()
	if s.damaged != 0 {
		t.Errorf("%d records are damaged after it was moved again", s.damaged)
	}
}
