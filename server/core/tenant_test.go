package core

import (
	"fmt"
	"testing"
	"time"

	"github.com/commy-project/commyfs/engine"
	"github.com/commy-project/commyfs/model"
)

// TestLargeTenant: a tenant with any number of services is renamed, or exchanged with another, in one step, which writes two records.
func TestLargeTenant(t *testing.T) {
	n := entries() / 30
	d := newDirs(t)
	s := d.start(t)
	p := connect(t, s)
	fill := func(tenant string) {
		var list []model.Change
		for i := range n {
			c := model.Change{Op: model.OpStore, Tenant: tenant, Service: fmt.Sprint("s", i), Name: "v", Data: []byte(tenant), Create: true, Parents: true}
			if list = append(list, c); len(list) == maxChanges || i == n-1 {
				p.do(list...)
				list = nil
			}
		}
	}
	fill("a")
	tenant := func(name string) engine.Tenant {
		t.Helper()
		tenants, _, _, err := s.engine.LoadTree(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range tenants {
			if e.Name == name {
				return e
			}
		}
		t.Fatalf("tenant %s is not stored", name)
		return engine.Tenant{}
	}
	want := func(tenant, value string, services int) {
		t.Helper()
		for i := range services {
			if v, err := p.get(tenant, fmt.Sprint("s", i*n/services), "v"); err != nil || string(v.Data) != value {
				t.Fatalf("%s/s%d/v is %q, %v, want %q", tenant, i*n/services, v.Data, err, value)
			}
		}
		if got := len(p.list(&model.List{Tenant: tenant})); got != n {
			t.Errorf("%s has %d services, want %d", tenant, got, n)
		}
	}
	to := func(op model.Op, from, to string) model.Change {
		return model.Change{Op: op, Tenant: from, ToTenant: to}
	}

	id := tenant("a").ID
	stop := beside(t, connect(t, s))
	began := time.Now()
	p.do(to(model.OpRename, "a", "b"))
	took := time.Since(began)
	list := stop()
	t.Logf("%d services renamed in %v; of %d changes beside it one took %v", n, took, len(list), list[len(list)-1])
	if e := tenant("b"); e.ID != id || e.Prefix != "a" {
		t.Errorf("stored is %+v, want id %d and the prefix that it had", e, id)
	}
	want("b", "a", 10)
	fill("a") // under a prefix of its own
	if e := tenant("a"); e.Prefix == "" {
		t.Errorf("stored is %+v", e)
	}
	want("a", "a", 10)
	p.do(model.Change{Op: model.OpStore, Tenant: "b", Service: "s0", Name: "v", Data: []byte("b")})
	if v, err := p.get("a", "s0", "v"); err != nil || string(v.Data) != "a" {
		t.Errorf("a/s0/v is %q, %v", v.Data, err)
	}
	p.do(to(model.OpExchange, "a", "b"))
	if e := tenant("a"); e.ID != id || e.Prefix != "" {
		t.Errorf("stored is %+v, want id %d", e, id)
	}
	if v, err := p.get("a", "s0", "v"); err != nil || string(v.Data) != "b" {
		t.Errorf("a/s0/v is %q, %v", v.Data, err)
	}

	// All in one report: what was made under a name follows who has it.
	p.do(to(model.OpRename, "b", "c"),
		model.Change{Op: model.OpStore, Tenant: "c", Service: "s0", Name: "v", Data: []byte("c")},
		to(model.OpExchange, "a", "c"), to(model.OpRename, "c", "b"),
		model.Change{Op: model.OpMkdir, Tenant: "c"},
		model.Change{Op: model.OpStore, Tenant: "c", Service: "s0", Name: "v", Data: []byte("new"), Create: true, Parents: true},
		model.Change{Op: model.OpDelete, Tenant: "c", Service: "s0", Name: "v"},
		model.Change{Op: model.OpRmdir, Tenant: "c", Service: "s0"},
		to(model.OpRename, "a", "c")) // over an empty one
	check := func() {
		t.Helper()
		for name, value := range map[string]string{"b": "b", "c": "c"} {
			if v, err := p.get(name, "s0", "v"); err != nil || string(v.Data) != value {
				t.Errorf("%s/s0/v is %q, %v, want %q", name, v.Data, err, value)
			}
			if got := len(p.list(&model.List{Tenant: name})); got != n {
				t.Errorf("%s has %d services, want %d", name, got, n)
			}
		}
		if got := tenant("b").ID; got != id {
			t.Errorf("b has the id %d, want %d", got, id)
		}
	}
	check()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = d.start(t)
	p = connect(t, s)
	check()
	p.refused(model.CodeNotEmpty, to(model.OpRename, "b", "c"))
	p.refused(model.CodeNotEmpty, at(model.OpRmdir, "b", "", ""))
	check()
}
