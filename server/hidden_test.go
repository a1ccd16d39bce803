package server

import (
	"fmt"
	"strings"
	"testing"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/server/access"
	"github.com/commy-project/commyfs/transport"
)

// place is where a request of TestHiddenIsNotThere points.
type place struct {
	tenant, service, name string
	tid, sid, vid         uint64
}

func (p place) change(op model.Op) model.Change {
	return model.Change{Op: op, Tenant: p.tenant, Service: p.service, Name: p.name}
}

// TestHiddenIsNotThere: whatever a key for one tenant asks, it gets the same answer for what is in another tenant as for
// what is nowhere, and changes nothing there.
func TestHiddenIsNotThere(t *testing.T) {
	listen, dial := listening(t)
	s := startServer(t, listen)
	admin := connect(t, s)
	admin.do(store("v", "1"))
	secret := store("v", "1")
	secret.Tenant = "hidden"
	vid := admin.do(secret)[0].ID
	there := place{"hidden", "s", "v", 0, admin.service("hidden", "s"), vid}
	for _, e := range admin.list(&transport.List{}) {
		if e.Tenant == "hidden" {
			there.tid = e.ID
		}
	}
	nowhere := place{"nothid", "s", "v", 1 << 40, 1<<40 + 1, 1<<40 + 2}
	own := place{"t", "s", "v", 0, 0, 0}

	reports := map[string]func(p place) model.Change{
		"store": func(p place) model.Change { return p.change(model.OpStore) },
		"store, make": func(p place) model.Change {
			c := p.change(model.OpStore)
			c.Create, c.Parents = true, true
			return c
		},
		"create":       func(p place) model.Change { return p.change(model.OpCreate) },
		"delete":       func(p place) model.Change { return p.change(model.OpDelete) },
		"mkdir":        func(p place) model.Change { return p.change(model.OpMkdir) },
		"rmdir":        func(p place) model.Change { return p.change(model.OpRmdir) },
		"make service": func(p place) model.Change { return at(model.OpMkdir, p.tenant, p.service, "") },
		"drop service": func(p place) model.Change { return at(model.OpRmdir, p.tenant, p.service, "") },
		"make tenant":  func(p place) model.Change { return at(model.OpMkdir, p.tenant, "", "") },
		"drop tenant":  func(p place) model.Change { return at(model.OpRmdir, p.tenant, "", "") },
		"by id":        func(p place) model.Change { return model.Change{Op: model.OpStore, ID: p.vid} },
		"delete by id": func(p place) model.Change { return model.Change{Op: model.OpDelete, ID: p.vid} },
		"rename by id": func(p place) model.Change {
			return model.Change{Op: model.OpRename, ID: p.vid, ToTenant: "t", ToService: "s", ToName: "got"}
		},
		"expect tenant": func(p place) model.Change {
			return model.Change{Op: model.OpRmdir, Tenant: p.tenant, Expect: p.tid}
		},
		"expect another tenant": func(p place) model.Change {
			return model.Change{Op: model.OpMkdir, Tenant: p.tenant, Expect: 7}
		},
		"expect service": func(p place) model.Change {
			return model.Change{Op: model.OpRmdir, Tenant: p.tenant, Service: p.service, Expect: p.sid}
		},
		"within tenant": func(p place) model.Change {
			return model.Change{Op: model.OpMkdir, Tenant: p.tenant, Service: "new", Within: p.tid}
		},
		"within service": func(p place) model.Change {
			c := p.change(model.OpCreate)
			c.Within = p.sid
			return c
		},
		"within another": func(p place) model.Change {
			c := p.change(model.OpCreate)
			c.Within = 7
			return c
		},
		"to within service": func(p place) model.Change {
			c := own.change(model.OpRename)
			c.ToTenant, c.ToService, c.ToName, c.ToWithin = p.tenant, p.service, "new", p.sid
			return c
		},
		"expect variable": func(p place) model.Change {
			c := p.change(model.OpDelete)
			c.Expect = p.vid
			return c
		},
		"tenant away": func(p place) model.Change {
			return model.Change{Op: model.OpRename, Tenant: p.tenant, ToTenant: "u"}
		},
		"tenant onto it": func(p place) model.Change {
			return model.Change{Op: model.OpRename, Tenant: "t", ToTenant: p.tenant}
		},
		"tenant onto it, not replacing": func(p place) model.Change {
			return model.Change{Op: model.OpRename, Tenant: "t", ToTenant: p.tenant, NoReplace: true}
		},
		"service away": func(p place) model.Change {
			return model.Change{Op: model.OpRename, Tenant: p.tenant, Service: p.service, ToTenant: "t", ToService: "got"}
		},
		"service into it": func(p place) model.Change {
			return model.Change{Op: model.OpRename, Tenant: "t", Service: "s", ToTenant: p.tenant, ToService: "s", Parents: true}
		},
		"service into it, not replacing": func(p place) model.Change {
			return model.Change{Op: model.OpRename, Tenant: "t", Service: "s", ToTenant: p.tenant, ToService: "s", NoReplace: true}
		},
		"variable away": func(p place) model.Change {
			c := p.change(model.OpRename)
			c.ToTenant, c.ToService, c.ToName = "t", "s", "got"
			return c
		},
		"variable into it": func(p place) model.Change {
			c := own.change(model.OpRename)
			c.ToTenant, c.ToService, c.ToName = p.tenant, p.service, p.name
			return c
		},
		"variable into it, making": func(p place) model.Change {
			c := own.change(model.OpRename)
			c.ToTenant, c.ToService, c.ToName, c.Parents, c.NoReplace = p.tenant, p.service, p.name, true, true
			return c
		},
	}
	requests := map[string]func(p place) transport.Message{
		"list": func(p place) transport.Message { return &transport.List{Tenant: p.tenant} },
		"list service": func(p place) transport.Message {
			return &transport.List{Tenant: p.tenant, Service: p.service, Recursive: true}
		},
		"read": func(p place) transport.Message {
			return &transport.ReadVariable{Tenant: p.tenant, Service: p.service, Name: p.name}
		},
		"watch":          func(p place) transport.Message { return &transport.Watch{Service: p.sid, Values: true} },
		"unwatch":        func(p place) transport.Message { return &transport.Unwatch{Service: p.sid} },
		"file":           func(p place) transport.Message { return &transport.GetServiceFilePath{Service: p.sid} },
		"probe id":       func(p place) transport.Message { return &transport.Probe{ID: p.vid, Want: model.RightWrite} },
		"probe id, none": func(p place) transport.Message { return &transport.Probe{ID: p.vid} },
		"probe id, own":  func(p place) transport.Message { return &transport.Probe{ID: p.vid, Tenant: own.tenant} },
		"probe variable": func(p place) transport.Message {
			return &transport.Probe{Tenant: p.tenant, Service: p.service, Name: p.name, Want: model.RightCreate}
		},
		"probe service": func(p place) transport.Message { return &transport.Probe{Tenant: p.tenant, Service: p.service} },
		"probe tenant": func(p place) transport.Message {
			return &transport.Probe{Tenant: p.tenant, Want: model.RightCreate}
		},
		"probe, no right": func(p place) transport.Message { return &transport.Probe{Tenant: p.tenant} },
		"probe nonsense":  func(p place) transport.Message { return &transport.Probe{Tenant: p.tenant, Name: p.name} },
	}

	for rights, name := range map[model.Rights]string{access.AllRights: "all", model.RightRead: "read", model.RightCreate: "create"} {
		p := &peer{t: t, news: make(chan struct{}, 1)}
		if err := p.dial(dial(s, admin.createKey(name, rights, "t"))); err != nil {
			t.Fatal(err)
		}
		const nameless = "T"
		answer := func(at place, m transport.Message) string {
			r, err := p.cl.Call(t.Context(), m)
			if a, ok := r.(*transport.VariableChangesAcknowledged); ok {
				r, err = nil, &model.Error{Code: a.Code, Message: a.Message}
			}
			return strings.ReplaceAll(fmt.Sprintf("%T %d %v", r, model.CodeOf(err), err), at.tenant, nameless)
		}
		for what, m := range requests {
			if got, want := answer(there, m(there)), answer(nowhere, m(nowhere)); got != want {
				t.Errorf("%s, key with %s: %s; of what is nowhere: %s", what, name, got, want)
			}
		}
		for what, c := range reports {
			send := func(at place) string {
				p.seq++
				return answer(at, &transport.ReportVariableChanges{Seq: p.seq, Acked: p.seq, Changes: []model.Change{c(at)}})
			}
			if got, want := send(there), send(nowhere); got != want {
				t.Errorf("%s, key with %s: %s; of what is nowhere: %s", what, name, got, want)
			}
		}
		if rights&model.RightCreate != 0 {
			c := own.change(model.OpStore)
			c.Name, c.Create, c.NewID = "n", true, there.vid
			if r := p.do(c)[0]; r.ID == there.vid {
				t.Error("a variable was made with the id of a hidden one")
			}
			admin.do(at(model.OpDelete, "t", "s", "n"))
		}
		if st := must[*transport.Status](p, &transport.GetStatus{}); st.Services != 1 || st.Loaded > 1 {
			t.Errorf("status counts %d services, %d loaded", st.Services, st.Loaded)
		}
	}
	v := must[*transport.VariableData](admin, &transport.ReadVariable{Tenant: "hidden", Service: "s", Name: "v"}).Variable
	if v.ID != vid || string(v.Data) != "1" || v.Version != 1 || len(admin.list(&transport.List{Tenant: "hidden", Recursive: true})) != 2 {
		t.Errorf("the hidden variable is now %+v", v)
	}
}

// TestHiddenHistory: a watch that is resumed does not tell what happened to its service in a hidden tenant.
func TestHiddenHistory(t *testing.T) {
	listen, dial := listening(t)
	s := startServer(t, listen)
	admin := connect(t, s)
	admin.do(store("v", "1"))
	p := &peer{t: t, news: make(chan struct{}, 1)}
	if err := p.dial(dial(s, admin.createKey("k", model.RightRead, "t"))); err != nil {
		t.Fatal(err)
	}
	sid := admin.service("t", "s")
	for what, move := range map[string][2]model.Change{
		"service": {
			{Op: model.OpRename, Tenant: "t", Service: "s", ToTenant: "hidden", ToService: "s", Parents: true},
			{Op: model.OpRename, Tenant: "hidden", Service: "s", ToTenant: "t", ToService: "s"},
		},
		"tenant": {
			{Op: model.OpRename, Tenant: "t", ToTenant: "hidden"},
			{Op: model.OpRename, Tenant: "hidden", ToTenant: "t"},
		},
	} {
		since := p.mustWatch(&transport.Watch{Service: sid}).Rev
		must[*transport.Done](p, &transport.Unwatch{Service: sid})
		admin.do(move[0])
		admin.do(at(model.OpMkdir, "hidden", "s", "secret"))
		admin.do(at(model.OpRmdir, "hidden", "s", "secret"))
		admin.do(move[1])
		snap := p.mustWatch(&transport.Watch{Service: sid, Store: p.welcome.Store, Since: since})
		if snap.Resumed || strings.Contains(fmt.Sprintf("%+v", snap), "secret") || len(snap.Vars) != 1 {
			t.Errorf("%s moved: resumed with %+v", what, snap)
		}
		must[*transport.Done](p, &transport.Unwatch{Service: sid})
	}
}
