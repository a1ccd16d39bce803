package server

import (
	"reflect"
	"testing"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/transport"
)

func setMeta(tenant, service, name string, mode model.Mode, mtime ...int64) model.Change {
	c := at(model.OpSetMeta, tenant, service, name)
	c.Mode = mode
	for _, t := range mtime {
		c.HasMTime, c.MTime = true, t
	}
	return c
}

// meta is what describes something.
type meta struct {
	mtime int64
	mode  model.Mode
}

// metaOf is the mode and time of everything, by path.
func metaOf(p *peer) map[string]meta {
	m := map[string]meta{}
	for _, e := range p.list(&transport.List{Recursive: true}) {
		m[e.Tenant+"/"+e.Service+"/"+e.Name] = meta{e.MTime, e.Mode}
	}
	return m
}

// TestMeta: modes and times are set without a version, kept, and pushed; what is so already makes nothing.
func TestMeta(t *testing.T) {
	d := newDirs(t)
	s := d.start(t)
	p := connect(t, s)
	made := store("d/v", "value")
	made.NewMode = model.NewMode(0o600)
	p.do(made)
	sid := p.service("t", "s")
	if snap := p.mustWatch(&transport.Watch{Service: sid, Values: true}); snap.Vars[0].Mode != made.NewMode || snap.Root.ID != sid || snap.Root.MTime == 0 {
		t.Fatalf("snapshot %+v", snap)
	}
	must[*transport.Tree](p, &transport.WatchTree{})
	const old = 1_000_000_007
	mode := model.NewMode(0o751)
	for _, c := range []struct {
		name   string
		change model.Change
		want   meta
	}{
		{"t/s/d/v", setMeta("t", "s", "d/v", mode), meta{0, mode}},
		{"t/s/d/v", setMeta("t", "s", "d/v", 0, old), meta{old, mode}},
		{"t/s/d/v", setMeta("t", "s", "d/v", model.NewMode(0), -old), meta{-old, model.NewMode(0)}},
		{"t/s/d", setMeta("t", "s", "d", mode, old), meta{old, mode}},
		{"t/s/", setMeta("t", "s", "", mode, old), meta{old, mode}},
		{"t//", setMeta("t", "", "", mode, old), meta{old, mode}},
	} {
		p.taken()
		before := metaOf(p)[c.name]
		r := p.do(c.change)[0]
		if c.want.mtime == 0 {
			c.want.mtime = before.mtime
		}
		if got := metaOf(p)[c.name]; got != c.want || r.Unchanged || r.MTime != got.mtime {
			t.Errorf("%s is %v (%+v), want %v", c.name, got, r, c.want)
		}
		var got []meta
		for _, m := range p.taken() {
			switch m := m.(type) {
			case *transport.VariableChanged:
				for _, e := range m.Changes {
					if e.Kind != model.EventMeta || !e.Own || e.ID != r.ID || e.Version != r.Version {
						t.Errorf("%s: event %+v of %+v", c.name, e, r)
					}
					got = append(got, meta{e.MTime, e.Mode})
				}
			case *transport.TreeChanged:
				for _, e := range m.Changes {
					got = append(got, meta{e.Tenant.MTime, e.Tenant.Mode})
				}
			}
		}
		if !reflect.DeepEqual(got, []meta{c.want}) {
			t.Errorf("%s: pushed %v, want %v", c.name, got, c.want)
		}
		rev := must[*transport.Status](p, &transport.GetStatus{}).Rev
		if r := p.do(c.change)[0]; !r.Unchanged {
			t.Errorf("%s: the same again: %+v", c.name, r)
		}
		if now := must[*transport.Status](p, &transport.GetStatus{}).Rev; now != rev || len(p.taken()) > 0 {
			t.Errorf("%s: the same again made a change", c.name)
		}
	}
	if v := p.wantValue("d/v", "value"); v.Version != 1 || v.Mode != model.NewMode(0) || v.MTime != -old {
		t.Errorf("the variable %+v", v)
	}
	wantInFile(t, p, memoryPath(d.run, sid))

	// A value comes with the time of its commit, or with the one that is given; the mode stays.
	p.do(store("d/v", "next"))
	v := p.wantValue("d/v", "next")
	if v.Version != 2 || v.Mode != model.NewMode(0) || v.MTime <= old {
		t.Errorf("after a commit %+v", v)
	}
	c := store("d/v", "timed")
	c.NewMode, c.HasMTime, c.MTime = mode, true, old
	p.do(c)
	if v := p.wantValue("d/v", "timed"); v.Version != 3 || v.Mode != model.NewMode(0) || v.MTime != old {
		t.Errorf("after a commit with a time %+v", v)
	}
	c.MTime++
	if r := p.do(c)[0]; r.Unchanged || r.Version != 3 || r.MTime != old+1 {
		t.Errorf("the same value with another time: %+v", r)
	}

	// A rename takes them along, over another variable too.
	p.do(store("d/w", "over"), setMeta("t", "s", "d/w", mode, 5))
	p.do(renameTo(at(model.OpRename, "t", "s", "d/w"), "d/v"))
	if v := p.wantValue("d/v", "over"); v.Mode != mode || v.MTime != 5 {
		t.Errorf("after a rename over it %+v", v)
	}
	to := renameTo(at(model.OpRename, "t", "s", "d/v"), "v")
	to.ToService = "other"
	p.do(at(model.OpMkdir, "t", "other", ""), to)
	if got := metaOf(p)["t/other/v"]; got != (meta{5, mode}) {
		t.Errorf("in another service: %v", got)
	}

	p.refused(model.CodeInvalid, setMeta("t", "s", "d", 0))
	p.refused(model.CodeInvalid, setMeta("t", "s", "d", 0o777))
	p.refused(model.CodeInvalid, setMeta("t", "s", "d", model.ModeSet|0o1777))
	p.refused(model.CodeNotFound, setMeta("t", "s", "none", mode))
	p.refused(model.CodeNotFound, setMeta("t", "none", "", mode))
	p.refused(model.CodeNotFound, setMeta("none", "", "", mode))

	want := metaOf(p)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := metaOf(connect(t, d.start(t))); !reflect.DeepEqual(got, want) {
		t.Errorf("after a restart\n%v\nwant\n%v", got, want)
	}
}

// TestMetaOnce: a report that is sent again after a restart does nothing to a mode that was set since.
func TestMetaOnce(t *testing.T) {
	d := newDirs(t)
	s := d.start(t)
	p := connect(t, s)
	p.do(store("v", ""))
	report := &transport.ReportVariableChanges{Seq: 2, Acked: 2, Changes: []model.Change{setMeta("t", "s", "v", model.NewMode(0o600))}}
	first := must[*transport.VariableChangesAcknowledged](p, report)
	other := connect(t, s)
	other.do(setMeta("t", "s", "v", model.NewMode(0o644)))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	p = connect(t, d.start(t), as(p.id))
	if again := must[*transport.VariableChangesAcknowledged](p, report); !reflect.DeepEqual(again.Results, first.Results) {
		t.Errorf("answered %+v, want the results of %+v", again, first)
	}
	if v := p.wantValue("v", ""); v.Mode != model.NewMode(0o644) {
		t.Errorf("%+v", v)
	}
}

// TestDirectoryTimes: what comes, goes or is renamed in a directory gives it its time, and nothing else does.
func TestDirectoryTimes(t *testing.T) {
	d := newDirs(t)
	s := d.start(t)
	p := connect(t, s)
	p.do(store("d/v", ""), at(model.OpMkdir, "t", "s", "e"), at(model.OpMkdir, "u", "", ""))
	rename := func(tenant, service, name string, to model.Change) model.Change {
		to.Op, to.Tenant, to.Service, to.Name = model.OpRename, tenant, service, name
		return to
	}
	for _, c := range []struct {
		change model.Change
		moved  []string
	}{
		{store("d/v", "x"), nil},
		{setMeta("t", "s", "d/v", model.NewMode(0o600), 7), nil},
		{store("d/w", ""), []string{"t/s/d"}},
		{store("x", ""), []string{"t/s/"}},
		{at(model.OpMkdir, "t", "s", "d/e"), []string{"t/s/d"}},
		{rename("t", "s", "d/w", model.Change{ToName: "e/w"}), []string{"t/s/d", "t/s/e"}},
		{rename("t", "s", "e/w", model.Change{ToName: "d/v"}), []string{"t/s/e"}},
		{rename("t", "s", "d", model.Change{ToName: "e/d"}), []string{"t/s/", "t/s/e"}},
		{at(model.OpDelete, "t", "s", "e/d/v"), []string{"t/s/e/d"}},
		{at(model.OpRmdir, "t", "s", "e/d/e"), []string{"t/s/e/d"}},
		{at(model.OpMkdir, "t", "r", ""), []string{"t//"}},
		{rename("t", "r", "", model.Change{ToTenant: "u", ToService: "q"}), []string{"t//", "u//"}},
		{rename("u", "", "", model.Change{ToTenant: "w"}), nil},
		{at(model.OpRmdir, "w", "q", ""), []string{"w//"}},
	} {
		before := metaOf(p)
		p.do(c.change)
		var moved []string
		after := metaOf(p)
		for _, name := range []string{"t//", "t/s/", "t/s/d", "t/s/e", "t/s/e/d", "u//", "w//"} {
			if was, ok := before[name]; ok && after[name] != (meta{}) && after[name] != was {
				moved = append(moved, name)
			}
		}
		if !reflect.DeepEqual(moved, c.moved) {
			t.Errorf("%+v changed the times of %v, want %v", c.change, moved, c.moved)
		}
	}
	want := metaOf(p)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := metaOf(connect(t, d.start(t))); !reflect.DeepEqual(got, want) {
		t.Errorf("after a restart\n%v\nwant\n%v", got, want)
	}
}

// TestMetaCondition: a mode or a time can depend on the version of the value that it goes with.
func TestMetaCondition(t *testing.T) {
	p := connect(t, newDirs(t).start(t))
	version := p.do(store("v", "value"))[0].Version
	c := setMeta("t", "s", "v", model.NewMode(0o600))
	c.HasVersion, c.IfVersion = true, version+1
	p.refused(model.CodeConflict, c)
	if got := metaOf(p)["t/s/v"].mode; got != 0 {
		t.Errorf("mode %o", got)
	}
	c.IfVersion = version
	p.do(c)
	if got := metaOf(p)["t/s/v"].mode; got != model.NewMode(0o600) {
		t.Errorf("mode %o", got)
	}
}
