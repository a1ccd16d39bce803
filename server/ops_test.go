package server

import (
	"strings"
	"testing"

	"github.com/commy-project/commyfs/transport"
)

func TestValueOperations(t *testing.T) {
	p := connect(t, startServer(t))
	r := p.do(store("d/v", "hello"))[0]
	if r.Version != 1 || r.Size != 5 || r.Unchanged || r.ID == 0 || r.MTime == 0 {
		t.Fatalf("result of the first store: %+v", r)
	}
	id := r.ID
	c := func(op transport.Op) transport.Change { return at(op, "t", "s", "d/v") }
	steps := []struct {
		name      string
		change    func() transport.Change
		value     string
		version   uint64
		unchanged bool
	}{
		{"same", func() transport.Change { return store("d/v", "hello") }, "hello", 1, true},
		{"store", func() transport.Change { return store("d/v", "world") }, "world", 2, false},
		{"append", func() transport.Change { x := c(transport.OpAppend); x.Data = []byte("!!"); return x }, "world!!", 3, false},
		{"append nothing", func() transport.Change { return c(transport.OpAppend) }, "world!!", 3, true},
		{"patch", func() transport.Change {
			x := c(transport.OpPatch)
			x.Base, x.Size, x.Ranges = 3, 5, []transport.RangeData{{Off: 0, Data: []byte("W")}, {Off: 4, Data: []byte("D")}}
			return x
		}, "WorlD", 4, false},
		{"patch of nothing", func() transport.Change { x := c(transport.OpPatch); x.Base, x.Size = 4, 5; return x }, "WorlD", 4, true},
		{"patch by id", func() transport.Change {
			return transport.Change{Op: transport.OpPatch, ID: id, Base: 4, Size: 7, Ranges: []transport.RangeData{{Off: 6, Data: []byte("x")}}}
		}, "WorlD\x00x", 5, false},
		{"write", func() transport.Change {
			x := c(transport.OpWrite)
			x.Ranges = []transport.RangeData{{Off: 1, Data: []byte("--")}, {Off: 9, Data: []byte("y")}}
			return x
		}, "W--lD\x00x\x00\x00y", 6, false},
		{"truncate", func() transport.Change { x := c(transport.OpTruncate); x.Size = 3; return x }, "W--", 7, false},
		{"lengthen", func() transport.Change { x := c(transport.OpTruncate); x.Size = 4; return x }, "W--\x00", 8, false},
		{"empty", func() transport.Change { return c(transport.OpStore) }, "", 9, false},
		{"if version", func() transport.Change { x := store("d/v", "ok"); x.HasVersion, x.IfVersion = true, 9; return x }, "ok", 10, false},
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

func TestRefusals(t *testing.T) {
	p := connect(t, startServer(t, func(o *Options) { o.Limits.Value = 1000 }))
	p.do(store("v", "x"), store("d/w", "y"), at(transport.OpMkdir, "t", "s", "e"), at(transport.OpMkdir, "u", "", ""))
	big := strings.Repeat("x", 1001)
	with := func(c transport.Change, f func(*transport.Change)) transport.Change { f(&c); return c }
	on := func(op transport.Op, name string) transport.Change { return at(op, "t", "s", name) }
	cases := []struct {
		name   string
		change transport.Change
		code   transport.Code
	}{
		{"store of nothing", on(transport.OpStore, "n"), transport.CodeNotFound},
		{"write of nothing", on(transport.OpWrite, "n"), transport.CodeNotFound},
		{"no tenant", at(transport.OpStore, "x", "s", "v"), transport.CodeNotFound},
		{"no service", at(transport.OpStore, "t", "x", "v"), transport.CodeNotFound},
		{"no parent", on(transport.OpCreate, "a/b"), transport.CodeNotFound},
		{"below a variable", store("v/b", ""), transport.CodeNotDirectory},
		{"delete below a variable", on(transport.OpDelete, "v/b/c"), transport.CodeNotDirectory},
		{"over a directory", store("d", "x"), transport.CodeIsDirectory},
		{"create over a directory", on(transport.OpCreate, "d"), transport.CodeExists},
		{"create over a variable", on(transport.OpCreate, "v"), transport.CodeExists},
		{"delete a directory", on(transport.OpDelete, "d"), transport.CodeIsDirectory},
		{"rmdir of a variable", on(transport.OpRmdir, "v"), transport.CodeNotDirectory},
		{"rmdir of a full directory", on(transport.OpRmdir, "d"), transport.CodeNotEmpty},
		{"rmdir of a full service", on(transport.OpRmdir, ""), transport.CodeNotEmpty},
		{"rmdir of a full tenant", at(transport.OpRmdir, "t", "", ""), transport.CodeNotEmpty},
		{"rmdir of nothing", on(transport.OpRmdir, "n"), transport.CodeNotFound},
		{"mkdir over a variable", on(transport.OpMkdir, "v"), transport.CodeExists},
		{"mkdir over a directory", on(transport.OpMkdir, "d"), transport.CodeExists},
		{"mkdir over a service", on(transport.OpMkdir, ""), transport.CodeExists},
		{"mkdir over a tenant", at(transport.OpMkdir, "t", "", ""), transport.CodeExists},
		{"mkdir of a service in nothing", at(transport.OpMkdir, "x", "s", ""), transport.CodeNotFound},
		{"stale base", with(on(transport.OpPatch, "v"), func(c *transport.Change) { c.Base, c.Size = 7, 1 }), transport.CodeStaleBase},
		{"range behind the end", with(on(transport.OpPatch, "v"), func(c *transport.Change) {
			c.Base, c.Size, c.Ranges = 1, 1, []transport.RangeData{{Off: 1, Data: []byte("x")}}
		}), transport.CodeInvalid},
		{"range before the start", with(on(transport.OpWrite, "v"), func(c *transport.Change) {
			c.Ranges = []transport.RangeData{{Off: -1, Data: []byte("x")}}
		}), transport.CodeInvalid},
		{"range far away", with(on(transport.OpWrite, "v"), func(c *transport.Change) {
			c.Ranges = []transport.RangeData{{Off: 1 << 62, Data: []byte("x")}}
		}), transport.CodeTooLarge},
		{"negative size", with(on(transport.OpTruncate, "v"), func(c *transport.Change) { c.Size = -1 }), transport.CodeInvalid},
		{"huge size", with(on(transport.OpTruncate, "v"), func(c *transport.Change) { c.Size = 1 << 50 }), transport.CodeTooLarge},
		{"large value", store("v", big), transport.CodeTooLarge},
		{"large append", with(on(transport.OpAppend, "v"), func(c *transport.Change) { c.Data = []byte(big[:1000]) }), transport.CodeTooLarge},
		{"large write", with(on(transport.OpWrite, "v"), func(c *transport.Change) {
			c.Ranges = []transport.RangeData{{Off: 1000, Data: []byte("x")}}
		}), transport.CodeTooLarge},
		{"wrong version", with(store("v", "z"), func(c *transport.Change) { c.HasVersion, c.IfVersion = true, 7 }), transport.CodeConflict},
		{"must not exist", with(store("v", "z"), func(c *transport.Change) { c.HasVersion = true }), transport.CodeConflict},
		{"must exist", with(store("n", "z"), func(c *transport.Change) { c.HasVersion, c.IfVersion = true, 1 }), transport.CodeConflict},
		{"delete of another version", with(on(transport.OpDelete, "v"), func(c *transport.Change) { c.HasVersion, c.IfVersion = true, 7 }), transport.CodeConflict},
		{"long component", store(strings.Repeat("x", 256), ""), transport.CodeNameTooLong},
		{"long with NULs", store(strings.Repeat("\x00", 86), ""), transport.CodeNameTooLong},
		{"long as a mount shows it", store(strings.Repeat("x", 251)+"%00", ""), transport.CodeNameTooLong},
		{"long name", store(strings.Repeat("xxxxxxx/", 128)+"y", ""), transport.CodeNameTooLong},
		{"long tenant", at(transport.OpMkdir, strings.Repeat("x", 256), "", ""), transport.CodeNameTooLong},
		{"slash in a tenant", at(transport.OpMkdir, "a/b", "", ""), transport.CodeInvalid},
		{"slash in a service", at(transport.OpMkdir, "t", "a/b", ""), transport.CodeInvalid},
		{"slash in front", store("/x", ""), transport.CodeInvalid},
		{"no name", store("", ""), transport.CodeInvalid},
		{"no id", transport.Change{Op: transport.OpDelete, ID: 1 << 40}, transport.CodeNotFound},
		{"no operation", at(99, "t", "s", "v"), transport.CodeUnsupported},
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
		p.do(at(transport.OpDelete, "t", "s", n))
	}
}

func TestGroupIsAllOrNothing(t *testing.T) {
	p := connect(t, startServer(t))
	p.do(store("a", "1"))
	rev := must[*transport.Status](p, &transport.GetStatus{}).Rev
	a := p.send(store("a", "2"), store("new/b", "3"), at(transport.OpDelete, "t", "s", "a"), at(transport.OpMkdir, "t", "", ""), store("c", "4"))
	if a.Code != transport.CodeExists || a.Index != 3 || a.Results != nil {
		t.Fatalf("acknowledged %+v, want change 3 refused", a)
	}
	p.wantValue("a", "1")
	if got := must[*transport.Status](p, &transport.GetStatus{}).Rev; got != rev {
		t.Errorf("revision went from %d to %d", rev, got)
	}
	if list := p.list(&transport.List{Tenant: "t", Service: "s", Recursive: true}); len(list) != 1 {
		t.Errorf("a refused group left %v", list)
	}
	r := p.do(store("a", "2"), store("a", "3"), renameTo(at(transport.OpRename, "t", "s", "a"), "b"), store("b", "4"))
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
	p.do(at(transport.OpDelete, "t", "s", "a"))
	r := p.do(store("a", "4"))[0]
	if r.Version != 4 || r.ID == first.ID {
		t.Errorf("made again: %+v, want version 4 and another id than %d", r, first.ID)
	}
	p.do(at(transport.OpDelete, "t", "s", "a"))
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
		want          transport.Code
	}{
		{"s", "new", transport.CodeOK},
		{"s", "d/new", transport.CodeOK},
		{"s", "v", transport.CodeOK},
		{"s", "d", transport.CodeIsDirectory},
		{"s", "v/x", transport.CodeNotDirectory},
		{"s", "v/x/y", transport.CodeNotDirectory},
		{"s", "none/x", transport.CodeNotFound},
		{"s", "none/x/y", transport.CodeNotFound},
		{"none", "x", transport.CodeNotFound},
		{"s", "/x", transport.CodeInvalid},
		{"s", strings.Repeat("n", 256), transport.CodeNameTooLong},
		{"s", strings.Repeat("d/", 512) + "x", transport.CodeNameTooLong},
	} {
		_, err := call[*transport.Probed](p, &transport.Probe{Tenant: "t", Service: tt.service, Name: tt.name, Want: transport.RightWrite | transport.RightCreate})
		p.wantCode(err, tt.want)
		c := at(transport.OpStore, "t", tt.service, tt.name)
		c.Create = true
		if tt.want == transport.CodeOK {
			p.do(c)
		} else {
			p.refused(tt.want, c)
		}
	}
}
