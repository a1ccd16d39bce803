package server

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/server/access"
	"github.com/commy-project/commyfs/transport"
)

// TestPushBeforeAck: when an acknowledgement arrives, every change up to its revision has been pushed, the own ones
// included.
func TestPushBeforeAck(t *testing.T) {
	s := startServer(t)
	p := connect(t, s)
	p.do(store("v", ""))
	sid := p.service("t", "s")
	other := connect(t, s)
	done := make(chan struct{})
	defer func() { <-done }()
	var stop atomic.Bool
	defer stop.Store(true)
	go func() {
		defer close(done)
		for i := 0; !stop.Load(); i++ {
			other.do(store("other", fmt.Sprint(i)))
		}
	}()

	var version atomic.Uint64
	watcher := connect(t, s, func(q *peer) {
		q.onPush = func(m transport.Message) {
			for _, e := range events([]transport.Message{m}, sid) {
				if e.Name == "v" {
					if !e.Own || e.Echo == 0 || len(e.Data) != 0 {
						t.Errorf("own event %+v", e)
					}
					version.Store(e.Version)
				}
			}
		}
	})
	watcher.mustWatch(&transport.Watch{Service: sid, Values: true})
	for i := range 300 {
		acked := make(chan uint64, 1)
		seen := uint64(0)
		err := watcher.cl.Start(t.Context(), &transport.ReportVariableChanges{Seq: uint64(i + 1), Acked: uint64(i + 1), Changes: []model.Change{store("v", fmt.Sprint("x", i))}},
			func(m transport.Message, err error) {
				seen = version.Load()
				if err == nil {
					acked <- m.(*transport.VariableChangesAcknowledged).Results[0].Version
				} else {
					acked <- 0
				}
			})
		if err != nil {
			t.Fatal(err)
		}
		if want := <-acked; seen != want || want == 0 {
			t.Fatalf("version %d acknowledged, %d pushed by then", want, seen)
		}
	}
}

func TestEventsCarryValues(t *testing.T) {
	s := startServer(t)
	w, names := connect(t, s), connect(t, s)
	value := bytes.Repeat([]byte("0123456789"), 1000)
	w.do(store("big", string(value)), store("small", "x"))
	sid := w.service("t", "s")
	names.mustWatch(&transport.Watch{Service: sid})
	remote := connect(t, s)
	snap := remote.mustWatch(&transport.Watch{Service: sid, Values: true})
	if len(snap.Vars) != 2 || snap.Resumed {
		t.Fatalf("snapshot %+v", snap)
	}
	w.mustWatch(&transport.Watch{Service: sid, Values: true})
	next := func(p *peer) model.Event {
		t.Helper()
		p.await("event", func(l []transport.Message) bool { return len(events(l, sid)) > 0 })
		evs := events(p.taken(), sid)
		if len(evs) != 1 {
			t.Fatalf("events %+v", evs)
		}
		return evs[0]
	}
	all := func() (own, other, bare model.Event) { return next(w), next(remote), next(names) }

	value[5000] = '!'
	w.do(store("big", string(value)))
	own, other, bare := all()
	if own.Echo != w.seq || !own.Own || len(own.Data) != 0 || len(own.Ranges) != 0 {
		t.Errorf("own store %+v", own)
	}
	if other.Base != 1 || other.Version != 2 || len(other.Ranges) != 1 || other.Ranges[0].Off != 5000 || string(other.Ranges[0].Data) != "!" || other.Own || other.Echo != 0 {
		t.Errorf("store seen by another: %+v", other)
	}
	if bare.Base != 0 || len(bare.Data) != 0 || len(bare.Ranges) != 0 || bare.Size != 10000 || bare.Version != 2 {
		t.Errorf("without values: %+v", bare)
	}

	w.do(appendTo("big", "tail"))
	own, other, _ = all()
	for _, e := range []model.Event{own, other} {
		if e.Echo != 0 || e.Base != 2 || e.Size != 10004 || len(e.Ranges) != 1 || string(e.Ranges[0].Data) != "tail" || e.Ranges[0].Off != 10000 {
			t.Errorf("append %+v", e)
		}
	}
	c := at(model.OpTruncate, "t", "s", "big")
	c.Size = 200
	w.do(c)
	own, other, _ = all()
	for _, e := range []model.Event{own, other} {
		if e.Echo != 0 || e.Base != 3 || e.Size != 200 || len(e.Ranges) != 0 || len(e.Data) != 0 {
			t.Errorf("truncate %+v", e)
		}
	}
	w.do(store("small", "y"))
	if _, other, _ = all(); other.Base != 0 || string(other.Data) != "y" {
		t.Errorf("small value %+v", other)
	}
	w.do(store("small", "y"), store("d/new", "z"))
	w.await("events", func(l []transport.Message) bool { return len(events(l, sid)) == 2 })
	evs := events(w.taken(), sid)
	if evs[0].Kind != model.EventMkdir || evs[0].Name != "d" || !evs[1].Created || evs[1].Echo != w.seq {
		t.Errorf("made with parents: %+v", evs)
	}
}

// TestLargeStep: a flush too large for a message comes as pages of a resumed snapshot.
func TestLargeStep(t *testing.T) {
	s := startServer(t)
	p := connect(t, s)
	p.do(store("v", ""))
	sid := p.service("t", "s")
	watcher := connect(t, s)
	watcher.mustWatch(&transport.Watch{Service: sid, Values: true})
	var changes []model.Change
	for i := range 12 {
		changes = append(changes, store(fmt.Sprint(i), strings.Repeat(fmt.Sprint(i%10), 1<<20)))
	}
	p.do(changes...)
	watcher.await("last page", func(l []transport.Message) bool {
		return slices.ContainsFunc(l, func(m transport.Message) bool {
			page, ok := m.(*transport.Snapshot)
			return ok && !page.More
		})
	})
	whole := &transport.Snapshot{}
	for _, m := range watcher.taken() {
		if page, ok := m.(*transport.Snapshot); ok {
			merge(whole, page)
		}
	}
	if !whole.Resumed || len(whole.Changes) != 12 || len(whole.Vars) != 0 || whole.Service != sid || len(whole.Changes[11].Data) != 1<<20 {
		t.Errorf("resumed %v with %d changes", whole.Resumed, len(whole.Changes))
	}
}

func TestResume(t *testing.T) {
	s := startServer(t)
	p := connect(t, s)
	p.do(store("a", "1"), store("b", "1"), store("d/x", "1"), store("m", "1"), store("o", "1"))
	sid := p.service("t", "s")
	had := p.mustWatch(&transport.Watch{Service: sid, Values: true})
	must[*transport.Done](p, &transport.Unwatch{Service: sid})
	resume := func(since int64) *transport.Snapshot {
		return p.mustWatch(&transport.Watch{Service: sid, Values: true, Store: p.welcome.Store, Since: since})
	}
	if got := resume(had.Rev); !got.Resumed || len(got.Changes) != 0 {
		t.Errorf("nothing happened: %+v", got)
	}
	must[*transport.Done](p, &transport.Unwatch{Service: sid})
	p.do(store("a", "2"))
	p.do(store("a", "3"))
	p.do(store("gone", ""))
	p.do(at(model.OpDelete, "t", "s", "gone"))
	p.do(at(model.OpDelete, "t", "s", "b"))
	p.do(renameTo(at(model.OpRename, "t", "s", "d"), "e"))
	p.do(store("e/x", "9"), store("new", "n"))
	chmod := at(model.OpSetMeta, "t", "s", "m")
	chmod.Mode = model.NewMode(0o600)
	p.do(chmod)
	p.do(renameTo(at(model.OpRename, "t", "s", "m"), "n"))
	p.do(store("n", "2"))
	chmod.Name = "o"
	p.do(chmod)
	p.do(renameTo(at(model.OpRename, "t", "s", "new"), "newer"))
	got := resume(had.Rev)
	var list []string
	for _, e := range got.Changes {
		list = append(list, fmt.Sprint(e.Kind, e.OldName, ">", e.Name, "=", string(e.Data), e.Created, e.Own, e.Version))
	}
	want := []string{
		fmt.Sprint(model.EventSet, ">a=3", false, true, 3),
		fmt.Sprint(model.EventDelete, ">b=", false, true, 1),
		fmt.Sprint(model.EventRenameDir, "d>e=", false, true, 0),
		fmt.Sprint(model.EventSet, ">e/x=9", false, true, 3),
		fmt.Sprint(model.EventSet, ">new=n", true, true, 2),
		fmt.Sprint(model.EventSet, ">m=2", false, true, 3), // had another mode first, and is sent as it is now
		fmt.Sprint(model.EventRename, "m>n=", false, true, 3),
		fmt.Sprint(model.EventSet, ">n=2", false, true, 3),
		fmt.Sprint(model.EventMeta, ">o=", false, true, 1),
		fmt.Sprint(model.EventRename, "new>newer=", false, true, 2),
	}
	if !got.Resumed || !slices.Equal(list, want) {
		t.Errorf("resumed %v with %q\nwant %q", got.Resumed, list, want)
	}
	if again := p.mustWatch(&transport.Watch{Service: sid, Store: "another", Since: had.Rev}); again.Resumed {
		t.Error("resumed from another store")
	}
	if again := resume(had.Rev - 100); again.Resumed && had.Rev > 100 {
		t.Error("resumed from before the service was there")
	}
	if again := resume(1 << 40); again.Resumed {
		t.Error("resumed from the future")
	}
	for i := range 4096 { // as far as the log goes back
		p.seq++
		p.cl.Go(t.Context(), &transport.ReportVariableChanges{Seq: p.seq, Acked: p.seq, Changes: []model.Change{store("a", fmt.Sprint(i))}})
	}
	p.do(store("a", "end"))
	if again := resume(had.Rev); again.Resumed {
		t.Error("resumed beyond the log")
	}
}

func TestWatchTree(t *testing.T) {
	s := startServer(t)
	p := connect(t, s)
	p.do(store("v", ""))
	tree := must[*transport.Tree](p, &transport.WatchTree{})
	if len(tree.Tenants) != 1 || len(tree.Services) != 1 || tree.Tenants[0].Rights != access.AllRights || tree.Services[0].Tenant != tree.Tenants[0].ID {
		t.Fatalf("tree %+v", tree)
	}
	tid, sid := tree.Tenants[0].ID, tree.Services[0].ID
	steps := []struct {
		change model.Change
		want   model.TreeChange
	}{
		{at(model.OpMkdir, "u", "", ""), model.TreeChange{Tenant: model.Tenant{Name: "u", Rights: access.AllRights}}},
		{model.Change{Op: model.OpRename, Tenant: "t", ToTenant: "w"}, model.TreeChange{Tenant: model.Tenant{ID: tid, Name: "w", Rights: access.AllRights}}},
		{model.Change{Op: model.OpRename, Tenant: "w", Service: "s", ToTenant: "u", ToService: "x"}, model.TreeChange{Service: model.Service{ID: sid, Name: "x"}}},
		{at(model.OpRmdir, "w", "", ""), model.TreeChange{Gone: true, Tenant: model.Tenant{ID: tid, Name: "w"}}},
	}
	for i, st := range steps {
		p.do(st.change)
		list := p.taken() // pushed before the acknowledgement
		if len(list) != 1 {
			t.Fatalf("step %d: pushes %v", i, list)
		}
		m := list[0].(*transport.TreeChanged)
		if len(m.Changes) != 1 {
			t.Fatalf("step %d: %+v", i, m)
		}
		got := m.Changes[0]
		if st.want.Tenant.ID == 0 {
			st.want.Tenant.ID = got.Tenant.ID
		}
		st.want.Tenant.MTime, st.want.Service.MTime, st.want.Service.Tenant, st.want.Own = got.Tenant.MTime, got.Service.MTime, got.Service.Tenant, true
		if st.want.Time = got.Time; got.Time == 0 || got != st.want {
			t.Errorf("step %d: %+v, want %+v", i, got, st.want)
		}
	}
	if v := must[*transport.VariableData](p, &transport.ReadVariable{Tenant: "u", Service: "x", Name: "v"}); v.Variable.Name != "v" {
		t.Errorf("moved variable %+v", v)
	}
}

// TestWatchesOfOneService: of many watches that are asked for at once the last one holds, and has everything; those before it
// are answered, too.
func TestWatchesOfOneService(t *testing.T) {
	s := startServer(t)
	p := connect(t, s)
	p.do(store("a", "1"), store("b", "2"))
	sid := p.service("t", "s")
	watcher := connect(t, s)
	var calls []*transport.Pending
	for range 200 {
		calls = append(calls, watcher.cl.Go(t.Context(), &transport.Watch{Service: sid, Values: true}))
	}
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	for i, c := range calls {
		m, err := c.Wait(ctx)
		snap, ok := m.(*transport.Snapshot)
		if err != nil || !ok || snap.More || !snap.Resumed && len(snap.Vars) != 2 || snap.Resumed && len(snap.Vars)+len(snap.Changes) != 0 {
			t.Fatalf("watch %d: %+v, %v", i, m, err)
		}
		if i == len(calls)-1 && snap.Resumed {
			t.Error("the last watch was told nothing")
		}
	}
	p.do(store("a", "3"))
	watcher.await("the change", func(l []transport.Message) bool { return len(events(l, sid)) == 1 })

	for range 20 {
		calls = append(calls, watcher.cl.Go(t.Context(), &transport.WatchTree{}))
	}
	for _, c := range calls[200:] {
		if m, err := c.Wait(ctx); err != nil || len(m.(*transport.Tree).Services) != 1 {
			t.Fatalf("tree: %+v, %v", m, err)
		}
	}
	p.do(at(model.OpMkdir, "other", "", ""))
	watcher.await("the tenant, once", func(l []transport.Message) bool {
		n := 0
		for _, m := range l {
			if _, ok := m.(*transport.TreeChanged); ok {
				n++
			}
		}
		return n == 1
	})
}
