package sync_test

import (
	"path"
	"path/filepath"
	"testing"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/offline"
)

// TestOffline_NewWhereItsDirectoryIs: a variable that is made offline comes to be in the directory that it was made in, wherever that
// is by then, and never in another one that has got the name.
func TestOffline_NewWhereItsDirectoryIs(t *testing.T) {
	t.Parallel()
	change := func(op model.Op, service, name string) model.Change {
		return model.Change{Op: op, Tenant: "t", Service: service, Name: name}
	}
	to := func(ch model.Change, service, name string) model.Change {
		ch.ToTenant, ch.ToService, ch.ToName = "t", service, name
		return ch
	}
	for _, c := range []struct {
		name       string
		meanwhile  []model.Change
		service    string // where the new variables are then
		dir        string // "": they are set aside
		serviceDir string // where is what was made at the top of the service
	}{
		{"renamed", []model.Change{to(change(model.OpRename, "s", "d"), "s", "e")}, "s", "e/in", "s"},
		{"to another service", []model.Change{to(change(model.OpRename, "s", "d"), "u", "e")}, "u", "e/in", "s"},
		{"exchanged", []model.Change{to(change(model.OpExchange, "s", "d"), "u", "d")}, "u", "d/in", "s"},
		{"another service has the name", []model.Change{to(change(model.OpExchange, "s", ""), "u", "")}, "u", "d/in", "u"},
		{"made again", []model.Change{
			change(model.OpDelete, "s", "d/in/v"), change(model.OpRmdir, "s", "d/in"), change(model.OpMkdir, "s", "d/in"),
		}, "", "", "s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			other := h.client(t, true)
			store(t, other, "t", "s", "d/in/v", "v")
			store(t, other, "t", "u", "d/in/v", "of u")
			l := &cable{h: h}
			queue := filepath.Join(t.TempDir(), "q")
			cl := h.client(t, true, withQueue(t, queue, l))
			dir := variable(t, cl, "t", "s", "d/in/v").Parent()
			variable(t, cl, "t", "u", "d/in/v")
			goOffline(t, cl, l)
			for i, ch := range []model.Change{
				{Op: model.OpStore, Name: "d/in/new", Data: []byte("new"), Within: dir.ID()},
				{Op: model.OpAppend, Name: "d/in/log", Data: []byte("line"), Within: dir.ID()},
				{Op: model.OpStore, Name: "top", Data: []byte("top"), Within: dir.Service().ID()},
			} {
				ch.Create, ch.Tenant, ch.Service = true, "t", "s"
				if _, kept, err := cl.CreateOrKeep(t.Context(), 1<<63|uint64(i), ch, 0); err != nil || !kept {
					t.Fatalf("%s: %v, %v", ch.Name, kept, err)
				}
			}
			if _, err := other.Report(t.Context(), c.meanwhile...); err != nil {
				t.Fatal(err)
			}
			l.mend()
			eventually(t, func() bool { return queued(t, cl) == 0 })
			list, err := offline.Asides(queue)
			if err != nil {
				t.Fatal(err)
			}
			wantValue(t, variable(t, other, "t", c.serviceDir, "top"), "top")
			if c.dir == "" {
				if len(list) != 2 {
					t.Errorf("set aside: %+v", list)
				}
			} else {
				wantValue(t, variable(t, other, "t", c.service, c.dir+"/new"), "new")
				wantValue(t, variable(t, other, "t", c.service, c.dir+"/log"), "line")
				if len(list) != 0 {
					t.Errorf("set aside: %+v", list)
				}
			}
			found := 0
			for _, service := range []string{"s", "u"} {
				err := other.List(t.Context(), &model.List{Tenant: "t", Service: service, Recursive: true}, func(page []model.Entry) error {
					for _, e := range page {
						if base := path.Base(e.Name); base == "new" || base == "log" {
							found++
						}
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			if want := 2 - len(list); found != want {
				t.Errorf("%d of them are somewhere, want %d", found, want)
			}
		})
	}
}
