package sync_test

import (
	"slices"
	"sync"
	"testing"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// A rename that gives a variable another version does so in every copy, without a new value, and changes over what is there then go on.
func TestRenameToAnotherVersion(t *testing.T) {
	eachAccessor(t, func(t *testing.T, h *host, noMap bool) {
		c := h.client(t, noMap)
		for range 3 {
			store(t, c, "t", "s", "d/high", "")
			store(t, c, "t", "s", "d/high", "x")
		}
		for _, name := range []string{"d/a", "e/a", "one", "two"} {
			store(t, c, "t", "s", name, "of "+name)
		}
		change := func(op model.Op, name, to string) {
			t.Helper()
			_, err := c.Report(t.Context(), model.Change{Op: op, Tenant: "t", Service: "s", Name: name, ToName: to})
			if err != nil {
				t.Fatalf("%d of %s: %v", op, name, err)
			}
		}
		var mu sync.Mutex
		var risen []varsync.Rise
		other := h.client(t, noMap, func(o *varsync.Options) {
			o.OnChange = func(list []varsync.Notice) {
				mu.Lock()
				defer mu.Unlock()
				for _, n := range list {
					risen = append(risen, n.Risen...)
				}
			}
		})
		file := map[string]*varsync.Variable{}
		before := map[string]uint64{}
		for _, name := range []string{"d/a", "e/a", "one", "two"} {
			file[name] = variable(t, other, "t", "s", name)
			before[name] = file[name].Meta().Version
		}
		change(model.OpDelete, "d/high", "")
		change(model.OpRename, "one", "three")
		change(model.OpExchange, "d", "e")
		change(model.OpRename, "d", "f")
		store(t, c, "t", "s", "end", "")
		variable(t, other, "t", "s", "end")
		fresh := h.client(t, noMap)
		for name, now := range map[string]string{"d/a": "e/a", "e/a": "f/a", "one": "three", "two": "two"} {
			v := file[name]
			eventually(t, func() bool { return v.Name() == now })
			m, want := v.Meta(), variable(t, fresh, "t", "s", now).Meta()
			if m.Version != want.Version || (m.Version > before[name]) != (name != "two") {
				t.Errorf("%s, which was %s of version %d, has version %d here and %d at the server", now, name, before[name], m.Version, want.Version)
			}
			wantValue(t, v, "of "+name)
			mu.Lock()
			if name != "two" && !slices.ContainsFunc(risen, func(r varsync.Rise) bool {
				return r.Variable == v.ID() && r.From == before[name] && r.To > r.From
			}) {
				t.Errorf("of %s came %v", name, risen)
			}
			mu.Unlock()
			if _, err := v.Commit(t.Context(), varsync.Edit{Kind: varsync.EditWrite, Data: []byte("OF"), Seen: varsync.NewSeen(v.Meta().Version)}); err != nil {
				t.Errorf("%s: %v", now, err)
			}
			wantValue(t, v, "OF "+name)
		}
	})
}
