package server

import (
	"strings"
	"testing"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/transport"
)

func TestValueOperations(t *testing.T) {
	p := connect(t, startServer(t))
	r := p.do(store("d/v", "hello"))[0]
	if r.Version != 1 || r.Size != 5 || r.Unchanged || r.ID == 0 || r.MTime == 0 {
		t.Fatalf("result of the first store: %+v", r)
	}
	id := r.ID
	c := func(op model.Op) model.Change { return at(op, "t", "s", "d/v") }
	steps := []struct {
		name      string
		change    func() model.Change
		value     string
		version   uint64
		unchanged bool
	}{
		{"same", func() model.Change { return store("d/v", "hello") }, "hello", 1, true},
		{"store", func() model.Change { return store("d/v", "world") }, "world", 2, false},
		{"append", func() model.Change { x := c(model.OpAppend); x.Data = []byte("!!"); return x }, "world!!", 3, false},
		{"append nothing", func() model.Change { return c(model.OpAppend) }, "world!!", 3, true},
		{"patch", func() model.Change {
			x := c(model.OpPatch)
			x.Base, x.Size, x.Ranges = 3, 5, []model.RangeData{{Off: 0, Data: []byte("W")}, {Off: 4, Data: []byte("D")}}
			return x
		}, "WorlD", 4, false},
		{"patch of nothing", func() model.Change { x := c(model.OpPatch); x.Base, x.Size = 4, 5; return x }, "WorlD", 4, true},
		{"patch by id", func() model.Change {
			return model.Change{Op: model.OpPatch, ID: id, Base: 4, Size: 7, Ranges: []model.RangeData{{Off: 6, Data: []byte("x")}}}
		}, "WorlD\x00x", 5, false},
		{"write", func() model.Change {
			x := c(model.OpWrite)
			x.Ranges = []model.RangeData{{Off: 1, Data: []byte("--")}, {Off: 9, Data: []byte("y")}}
			return x
		}, "W--lD\x00x\x00\x00y", 6, false},
		{"truncate", func() model.Change { x := c(model.OpTruncate); x.Size = 3; return x }, "W--", 7, false},
		{"lengthen", func() model.Change { x := c(model.OpTruncate); x.Size = 4; return x }, "W--\x00", 8, false},
		{"empty", func() model.Change { return c(model.OpStore) }, "", 9, false},
		{"if version", func() model.Change { x := store("d/v", "ok"); x.HasVersion, x.IfVersion = true, 9; return x }, "ok", 10, false},
	}
	for _, s := range steps {
		t.Run(s.name, func(t *testing.T) {
			p.t = t
			r := p.do(s.change())[0]
			if r.ID != id || r.Version != s.version || r.Unchanged != s.unchanged || r.Size != int64(len(s.value)) {
				t.Errorf("result %+v, want version %d, unchanged %v, size %d", r, s.version, s.unchanged, len(s.value))
			}
			v := p.wantValue("d/v", s.value)
			if v.Version != s.version || v.MTime != r.MTime || v.ID != id || !strings.HasSuffix(v.Writer, "@here") {
				t.Errorf("variable %+v after result %+v", v, r)
			}
		})
	}
}

// A change of one variable can depend on the version of another: writing nothing to that changes nothing, on a condition.
func TestConditionOnAnother(t *testing.T) {
	p := connect(t, startServer(t))
	p.do(store("a", "1"), store("b", "2"))
	if r := p.do(store("a", "3"))[0]; r.Version != 2 {
		t.Fatalf("version %d", r.Version)
	}
	when := at(model.OpWrite, "t", "s", "a")
	when.HasVersion, when.IfVersion = true, 1
	p.refused(model.CodeConflict, when, store("b", "x"))
	p.wantValue("b", "2")
	when.IfVersion = 2
	if r := p.do(when, store("b", "y")); !r[0].Unchanged || r[0].Version != 2 {
		t.Errorf("results %+v", r)
	}
	p.wantValue("a", "3")
	p.wantValue("b", "y")
}

func TestRefusals(t *testing.T) {
	p := connect(t, startServer(t, func(o *Options) { o.Limits.Value = 1000 }))
	p.do(store("v", "x"), store("d/w", "y"), at(model.OpMkdir, "t", "s", "e"), at(model.OpMkdir, "u", "", ""))
	big := strings.Repeat("x", 1001)
	with := func(c model.Change, f func(*model.Change)) model.Change { f(&c); return c }
	on := func(op model.Op, name string) model.Change { return at(op, "t", "s", name) }
	cases := []struct {
		name   string
		change model.Change
		code   model.Code
	}{
		{"store of nothing", on(model.OpStore, "n"), model.CodeNotFound},
		{"write of nothing", on(model.OpWrite, "n"), model.CodeNotFound},
		{"no tenant", at(model.OpStore, "x", "s", "v"), model.CodeNotFound},
		{"no service", at(model.OpStore, "t", "x", "v"), model.CodeNotFound},
		{"no parent", on(model.OpCreate, "a/b"), model.CodeNotFound},
		{"below a variable", store("v/b", ""), model.CodeNotDirectory},
		{"delete below a variable", on(model.OpDelete, "v/b/c"), model.CodeNotDirectory},
		{"over a directory", store("d", "x"), model.CodeIsDirectory},
		{"create over a directory", on(model.OpCreate, "d"), model.CodeExists},
		{"create over a variable", on(model.OpCreate, "v"), model.CodeExists},
		{"delete a directory", on(model.OpDelete, "d"), model.CodeIsDirectory},
		{"rmdir of a variable", on(model.OpRmdir, "v"), model.CodeNotDirectory},
		{"rmdir of a full directory", on(model.OpRmdir, "d"), model.CodeNotEmpty},
		{"rmdir of a full service", on(model.OpRmdir, ""), model.CodeNotEmpty},
		{"rmdir of a full tenant", at(model.OpRmdir, "t", "", ""), model.CodeNotEmpty},
		{"rmdir of nothing", on(model.OpRmdir, "n"), model.CodeNotFound},
		{"mkdir over a variable", on(model.OpMkdir, "v"), model.CodeExists},
		{"mkdir over a directory", on(model.OpMkdir, "d"), model.CodeExists},
		{"mkdir over a service", on(model.OpMkdir, ""), model.CodeExists},
		{"mkdir over a tenant", at(model.OpMkdir, "t", "", ""), model.CodeExists},
		{"mkdir of a service in nothing", at(model.OpMkdir, "x", "s", ""), model.CodeNotFound},
		{"stale base", with(on(model.OpPatch, "v"), func(c *model.Change) { c.Base, c.Size = 7, 1 }), model.CodeStaleBase},
		{"range behind the end", with(on(model.OpPatch, "v"), func(c *model.Change) {
			c.Base, c.Size, c.Ranges = 1, 1, []model.RangeData{{Off: 1, Data: []byte("x")}}
		}), model.CodeInvalid},
		{"range before the start", with(on(model.OpWrite, "v"), func(c *model.Change) {
			c.Ranges = []model.RangeData{{Off: -1, Data: []byte("x")}}
		}), model.CodeInvalid},
		{"range far away", with(on(model.OpWrite, "v"), func(c *model.Change) {
			c.Ranges = []model.RangeData{{Off: 1 << 62, Data: []byte("x")}}
		}), model.CodeTooLarge},
		{"negative size", with(on(model.OpTruncate, "v"), func(c *model.Change) { c.Size = -1 }), model.CodeInvalid},
		{"huge size", with(on(model.OpTruncate, "v"), func(c *model.Change) { c.Size = 1 << 50 }), model.CodeTooLarge},
		{"large value", store("v", big), model.CodeTooLarge},
		{"large append", with(on(model.OpAppend, "v"), func(c *model.Change) { c.Data = []byte(big[:1000]) }), model.CodeTooLarge},
		{"large write", with(on(model.OpWrite, "v"), func(c *model.Change) {
			c.Ranges = []model.RangeData{{Off: 1000, Data: []byte("x")}}
		}), model.CodeTooLarge},
		{"wrong version", with(store("v", "z"), func(c *model.Change) { c.HasVersion, c.IfVersion = true, 7 }), model.CodeConflict},
		{"must not exist", with(store("v", "z"), func(c *model.Change) { c.HasVersion = true }), model.CodeConflict},
		{"must exist", with(store("n", "z"), func(c *model.Change) { c.HasVersion, c.IfVersion = true, 1 }), model.CodeConflict},
		{"delete of another version", with(on(model.OpDelete, "v"), func(c *model.Change) { c.HasVersion, c.IfVersion = true, 7 }), model.CodeConflict},
		{"long component", store(strings.Repeat("x", 256), ""), model.CodeNameTooLong},
		{"long with NULs", store(strings.Repeat("\x00", 86), ""), model.CodeNameTooLong},
		{"long as a mount shows it", store(strings.Repeat("x", 251)+"%00", ""), model.CodeNameTooLong},
		{"long name", store(strings.Repeat("xxxxxxx/", 128)+"y", ""), model.CodeNameTooLong},
		{"long tenant", at(model.OpMkdir, strings.Repeat("x", 256), "", ""), model.CodeNameTooLong},
		{"slash in a tenant", at(model.OpMkdir, "a/b", "", ""), model.CodeInvalid},
		{"slash in a service", at(model.OpMkdir, "t", "a/b", ""), model.CodeInvalid},
		{"slash in front", store("/x", ""), model.CodeInvalid},
		{"no name", store("", ""), model.CodeInvalid},
		{"no id", model.Change{Op: model.OpDelete, ID: 1 << 40}, model.CodeNotFound},
		{"no operation", at(99, "t", "s", "v"), model.CodeUnsupported},
	}
	before := p.list(&transport.List{Recursive: true})
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p.t = t
			p.refused(c.code, c.change)
		})
	}
	p.t = t
	after := p.list(&transport.List{Recursive: true})
	if len(before) != len(after) {
		t.Errorf("refused changes left something: %d entries before, %d after", len(before), len(after))
	}
}

func TestOddNames(t *testing.T) {
	p := connect(t, startServer(t))
	names := []string{".", "..", "a\x00b", "dir//leaf", "end/", "\xff\xfe", "x y\n", strings.Repeat("n", 255), strings.Repeat("\x00", 85)}
	for _, n := range names {
		p.do(store(n, "value of "+n))
	}
	for _, n := range names {
		p.wantValue(n, "value of "+n)
	}
	have := map[string]bool{}
	for _, e := range p.list(&transport.List{Tenant: "t", Service: "s", Recursive: true}) {
		have[e.Name] = true
	}
	for _, n := range append(names, "dir", "dir/", "end") {
		if !have[n] {
			t.Errorf("%q is not listed", n)
		}
	}
	for _, n := range names {
		p.do(at(model.OpDelete, "t", "s", n))
	}
}

func TestGroupIsAllOrNothing(t *testing.T) {
	p := connect(t, startServer(t))
	p.do(store("a", "1"))
	rev := must[*transport.Status](p, &transport.GetStatus{}).Rev
	a := p.send(store("a", "2"), store("new/b", "3"), at(model.OpDelete, "t", "s", "a"), at(model.OpMkdir, "t", "", ""), store("c", "4"))
	if a.Code != model.CodeExists || a.Index != 3 || a.Results != nil {
		t.Fatalf("acknowledged %+v, want change 3 refused", a)
	}
	p.wantValue("a", "1")
	if got := must[*transport.Status](p, &transport.GetStatus{}).Rev; got != rev {
		t.Errorf("revision went from %d to %d", rev, got)
	}
	if list := p.list(&transport.List{Tenant: "t", Service: "s", Recursive: true}); len(list) != 1 {
		t.Errorf("a refused group left %v", list)
	}
	r := p.do(store("a", "2"), store("a", "3"), renameTo(at(model.OpRename, "t", "s", "a"), "b"), store("b", "4"))
	if r[3].Version != 4 || r[3].ID != r[0].ID {
		t.Errorf("results of a group %+v", r)
	}
	p.wantValue("b", "4")
}

func TestFloor(t *testing.T) {
	d := newDirs(t)
	s := d.start(t)
	p := connect(t, s)
	first := p.do(store("a", "1"), store("a", "2"), store("a", "3"))[0]
	p.do(at(model.OpDelete, "t", "s", "a"))
	r := p.do(store("a", "4"))[0]
	if r.Version != 4 || r.ID == first.ID {
		t.Errorf("made again: %+v, want version 4 and another id than %d", r, first.ID)
	}
	p.do(at(model.OpDelete, "t", "s", "a"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	p = connect(t, d.start(t))
	if r := p.do(store("b", "1"))[0]; r.Version != 5 {
		t.Errorf("after a restart a new variable has version %d, want 5", r.Version)
	}
}

// A probe says what the change would be told.
func TestProbeOfAName(t *testing.T) {
	p := connect(t, startServer(t))
	p.do(store("d/v", "1"), store("v", "1"))
	for _, tt := range []struct {
		service, name string
		want          model.Code
	}{
		{"s", "new", model.CodeOK},
		{"s", "d/new", model.CodeOK},
		{"s", "v", model.CodeOK},
		{"s", "d", model.CodeIsDirectory},
		{"s", "v/x", model.CodeNotDirectory},
		{"s", "v/x/y", model.CodeNotDirectory},
		{"s", "none/x", model.CodeNotFound},
		{"s", "none/x/y", model.CodeNotFound},
		{"none", "x", model.CodeNotFound},
		{"s", "/x", model.CodeInvalid},
		{"s", strings.Repeat("n", 256), model.CodeNameTooLong},
		{"s", strings.Repeat("d/", 512) + "x", model.CodeNameTooLong},
	} {
		_, err := call[*transport.Probed](p, &transport.Probe{Tenant: "t", Service: tt.service, Name: tt.name, Want: model.RightWrite | model.RightCreate})
		p.wantCode(err, tt.want)
		c := at(model.OpStore, "t", tt.service, tt.name)
		c.Create = true
		if tt.want == model.CodeOK {
			p.do(c)
		} else {
			p.refused(tt.want, c)
		}
	}
}
