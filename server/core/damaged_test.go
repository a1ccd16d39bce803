package core

import (
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
	put("half", "bad")
	put("half", "good")
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
		damage(engine.PutService(engine.Service{Tenant: "half", Name: "bad"})),
		engine.PutService(engine.Service{Tenant: "half", Name: "twin", ID: good}),
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

	for range 2 { // they are still there after the first time
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
		for _, at := range []serviceKey{{"bad", "s"}, {"bad", "new"}, {"half", "bad"}, {"half", "twin"}, {"lone", "s"}} {
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
