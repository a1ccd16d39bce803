package sync_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// TestMeta: modes and times that one client sets reach the others in the order of the changes of the value, and what a
// client missed when it comes back.
func TestMeta(t *testing.T) {
	for _, noMap := range []bool{false, true} {
		t.Run(fmt.Sprintf("noMap=%v", noMap), func(t *testing.T) {
			h := newHost(t)
			var mu sync.Mutex
			var kinds []varsync.NoticeKind
			c := h.client(t, noMap, func(o *varsync.Options) {
				o.OnChange = func(notices []varsync.Notice) {
					mu.Lock()
					defer mu.Unlock()
					for _, n := range notices {
						kinds = append(kinds, n.Kind)
					}
				}
			})
			other := h.client(t, !noMap)
			store(t, other, "t", "s", "d/v", "one")
			v, mine := variable(t, c, "t", "s", "d/v"), variable(t, other, "t", "s", "d/v")
			mu.Lock()
			kinds = nil
			mu.Unlock()

			edit := varsync.Edit{Kind: varsync.EditMeta, Mode: model.NewMode(0o640), HasMTime: true, MTime: 7}
			pending := []*varsync.Ack{
				mine.Enqueue(varsync.Edit{Kind: varsync.EditAppend, Data: []byte(" two")}),
				mine.Enqueue(varsync.Edit{Kind: varsync.EditAppend, Data: []byte(" three")}),
				mine.Enqueue(edit),
			}
			for _, p := range pending {
				if _, err := p.Wait(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if m := mine.Current(); m.MTime != 7 || mine.Mode() != edit.Mode {
				t.Errorf("the client that set it has %+v, %o", m, mine.Mode())
			}
			has := func(value string, mtime int64, mode model.Mode) {
				t.Helper()
				eventually(t, func() bool {
					data, m, err := v.Load(nil)
					return err == nil && string(data) == value && m.MTime == mtime && v.Current().MTime == mtime && v.Mode() == mode
				})
			}
			has("one two three", 7, edit.Mode)
			mu.Lock()
			if last := len(kinds) - 1; last < 1 || kinds[last] != varsync.MetaChanged || slices.Contains(kinds[:last], varsync.MetaChanged) {
				t.Errorf("told of %v", kinds)
			}
			mu.Unlock()

			// A value can bring its time.
			big := make([]byte, 4096)
			if _, err := mine.Commit(t.Context(), varsync.Edit{Kind: varsync.EditReplace, Data: big}); err != nil {
				t.Fatal(err)
			}
			big = slices.Clone(big)
			big[7] = 1
			res, err := mine.Commit(t.Context(), varsync.Edit{Kind: varsync.EditReplace, Data: big, HasMTime: true, MTime: 9})
			if err != nil || res.MTime != 9 {
				t.Fatalf("%+v, %v", res, err)
			}
			has(string(big), 9, edit.Mode)

			// While c is away.
			h.stop(t)
			h.start(t)
			setAll := func(mode model.Mode, mtime int64) {
				t.Helper()
				for _, at := range [][3]string{{"t"}, {"t", "s"}, {"t", "s", "d"}, {"t", "s", "d/v"}} {
					_, err := other.Report(t.Context(), model.Change{Op: model.OpSetMeta, Tenant: at[0], Service: at[1], Name: at[2],
						Mode: mode, HasMTime: true, MTime: mtime})
					if err != nil {
						t.Fatal(err)
					}
				}
			}
			everything := func(mode model.Mode, mtime int64) {
				t.Helper()
				has(string(big), mtime, mode)
				eventually(t, func() bool {
					s := v.Service()
					return v.Parent().MTime() == mtime && v.Parent().Mode() == mode && s.MTime() == mtime && s.Mode() == mode &&
						s.Tenant().MTime() == mtime && s.Tenant().Mode() == mode
				})
			}
			setAll(model.NewMode(0o711), 11)
			everything(model.NewMode(0o711), 11)
			setAll(model.NewMode(0), 12)
			everything(model.NewMode(0), 12)

			// What comes and goes moves the time of its directory, and of no other.
			store(t, other, "t", "s", "d/w", "")
			store(t, other, "t", "x", "y", "")
			now := h.client(t, true)
			d := variable(t, now, "t", "s", "d/v").Parent()
			eventually(t, func() bool {
				tenant := v.Service().Tenant()
				return v.Parent().MTime() > 12 && v.Parent().MTime() == d.MTime() && v.Service().MTime() == 12 &&
					tenant.MTime() > 12 && tenant.MTime() == d.Service().Tenant().MTime() && c.MTime() > 12
			})
		})
	}
}
