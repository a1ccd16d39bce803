package core

import (
	"fmt"
	"testing"

	"github.com/commy-project/commyfs/model"
)

// TestWithin: a change that says in which directory, service or tenant it is to be is refused where its path leads into another one.
func TestWithin(t *testing.T) {
	s := startCore(t)
	p := connect(t, s)
	for i, c := range []struct {
		op       model.Op
		at, to   string // "" is the service
		within   string // "t" is the tenant
		toWithin string
	}{
		{op: model.OpMkdir, at: "", within: "t"},
		{op: model.OpMkdir, at: "new", within: "s"},
		{op: model.OpMkdir, at: "d/in/new", within: "d/in"},
		{op: model.OpCreate, at: "d/in/new", within: "d/in"},
		{op: model.OpStore, at: "d/in/new", within: "d/in"},
		{op: model.OpDelete, at: "d/in/v", within: "d/in"},
		{op: model.OpRmdir, at: "d/in/none", within: "d/in"},
		{op: model.OpRename, at: "d/in/v", within: "d/in", to: "w", toWithin: "s"},
		{op: model.OpRename, at: "v", within: "s", to: "d/in/w", toWithin: "d/in"},
		{op: model.OpRename, at: "e", to: "d/in/w", toWithin: "d/in"},
		{op: model.OpRename, at: "d", to: "e/none", toWithin: "e"},
		{op: model.OpExchange, at: "v", to: "d/in/v", toWithin: "d/in"},
		{op: model.OpExchange, at: "d/in/v", within: "d/in", to: "v"},
	} {
		t.Run(fmt.Sprintf("%d op %d of %s to %s", i, c.op, c.at, c.to), func(t *testing.T) {
			tenant := fmt.Sprint("t", i)
			change := func(op model.Op, name, to string) model.Change {
				return model.Change{Op: op, Tenant: tenant, Service: "s", Name: name, ToName: to, Create: true, Data: []byte("1")}
			}
			ids := map[string]uint64{"t": p.do(at(model.OpMkdir, tenant, "", ""))[0].ID, "s": p.do(at(model.OpMkdir, tenant, "s", ""))[0].ID}
			for _, name := range []string{"d", "e", "d/in", "e/in", "d/in/none", "e/in/none"} {
				ids[name] = p.do(change(model.OpMkdir, name, ""))[0].ID
			}
			for _, name := range []string{"v", "d/in/v", "e/in/v"} {
				ids[name] = p.do(change(model.OpStore, name, ""))[0].ID
			}
			ch := change(c.op, c.at, c.to)
			if c.at == "" {
				ch.Service = "new"
			}
			refused := func(within, toWithin uint64) {
				t.Helper()
				wrong := ch
				wrong.Within, wrong.ToWithin = within, toWithin
				p.refused(model.CodeNotFound, wrong)
			}
			within, toWithin := ids[c.within], ids[c.toWithin]
			for _, id := range []uint64{ids["e/in"], ids["v"], 1 << 40} {
				if c.within != "" {
					refused(id, toWithin)
				}
				if c.toWithin != "" {
					refused(within, id)
				}
			}
			// The other directory has all the names too.
			if c.within == "d/in" || c.toWithin == "d/in" || c.toWithin == "e" {
				p.do(change(model.OpExchange, "d", "e"))
				refused(within, toWithin)
				p.do(change(model.OpExchange, "d", "e"))
			}
			ch.Within, ch.ToWithin = within, toWithin
			p.do(ch)
		})
	}
	// Where nothing is there is nothing to be in, and nothing has tenants.
	p.refused(model.CodeNotFound, model.Change{Op: model.OpMkdir, Tenant: "t0", Service: "s", Name: "none/d", Within: 1})
	p.refused(model.CodeInvalid, model.Change{Op: model.OpMkdir, Tenant: "new", Within: 1})
	// By an id the name does not count.
	v := p.do(store("v", "1"))[0].ID
	p.do(model.Change{Op: model.OpStore, ID: v, Data: []byte("2"), Within: 1})
	// The part of a new name that is left out is where the variable is by now.
	r, e := p.do(at(model.OpMkdir, "t", "r", ""))[0].ID, p.do(at(model.OpMkdir, "t", "s", "e"))[0].ID
	p.do(moveTo("s", "v", "r", "v"))
	for _, c := range []model.Change{{}, {Tenant: "t", Service: "s"}} {
		c.Op, c.ID, c.ToName, c.ToWithin = model.OpRename, v, "w", r
		p.do(c)
		c.ToName, c.ToWithin = "e/v", e
		p.refused(model.CodeNotFound, c)
		p.do(model.Change{Op: model.OpRename, ID: v, ToName: "v"})
	}
}
