package server

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/transport"
)

func TestRenameMatrix(t *testing.T) {
	// from and to are tenant/service/path; what they name is made before: v a variable, d an empty directory, f a full
	// one, s an empty service, S a full one, t an empty tenant, T a full one, n nothing.
	v, d, f, n := "t/s/v", "t/s/d", "t/s/f", "t/s/n"
	cases := []struct {
		from, to  string
		noReplace bool
		code      model.Code
	}{
		{v, n, false, model.CodeOK},
		{v, n, true, model.CodeOK},
		{v, v, false, model.CodeOK},
		{v, "t/s/w", false, model.CodeOK},
		{v, "t/s/w", true, model.CodeExists},
		{v, "t/s/same", false, model.CodeOK},
		{v, d, false, model.CodeIsDirectory},
		{v, "t/s/d/x", false, model.CodeOK},
		{v, "t/s/n/x", false, model.CodeNotFound},
		{v, "t/s/w/x", false, model.CodeNotDirectory},
		{v, "t/s/v/x", false, model.CodeNotDirectory},
		{v, "t/S/n", false, model.CodeOK},
		{v, "t/S/v", false, model.CodeOK},
		{v, "t/S/v", true, model.CodeExists},
		{v, "T/S/n", false, model.CodeOK},
		{v, "t/x/n", false, model.CodeNotFound},
		{v, "t/s/" + strings.Repeat("x", 256), false, model.CodeNameTooLong},
		{n, "t/s/x", false, model.CodeNotFound},
		{"t/s/v/x", n, false, model.CodeNotDirectory},
		{d, n, false, model.CodeOK},
		{f, n, false, model.CodeOK},
		{f, f, false, model.CodeOK},
		{f, d, false, model.CodeOK},
		{f, d, true, model.CodeExists},
		{d, f, false, model.CodeNotEmpty},
		{d, v, false, model.CodeNotDirectory},
		{f, "t/s/f/sub/x", false, model.CodeInvalid},
		{"t/s/f/sub", f, false, model.CodeNotEmpty},
		{"t/s/f/sub", "t/s/top", false, model.CodeOK},
		{f, "t/S/f", false, model.CodeOK},
		{f, "T/S/f", false, model.CodeOK},
		{f, "t/S/v", false, model.CodeNotDirectory},
		{f, "t/S/n/x", false, model.CodeNotFound},
		{"t/s/f/sub", "t/S/sub", true, model.CodeOK},
		{f, "t/s/n/x", false, model.CodeNotFound},
		{"t/s", "t/n", false, model.CodeOK},
		{"t/s", "T/n", false, model.CodeOK},
		{"t/s", "n/n", false, model.CodeNotFound},
		{"t/s", "t/e", false, model.CodeOK},
		{"t/s", "t/e", true, model.CodeExists},
		{"t/s", "t/S", false, model.CodeNotEmpty},
		{"t/s", "t/s", false, model.CodeOK},
		{"t/n", "t/x", false, model.CodeNotFound},
		{"t", "n", false, model.CodeOK},
		{"t", "e", false, model.CodeOK},
		{"t", "e", true, model.CodeExists},
		{"t", "T", false, model.CodeNotEmpty},
		{"n", "x", false, model.CodeNotFound},
		{"t", "t", false, model.CodeOK},
	}
	s := startServer(t)
	p := connect(t, s)
	for _, c := range cases {
		t.Run(strings.ReplaceAll(fmt.Sprintf("%.20s-%.20s-%v", c.from, c.to, c.noReplace), "/", "."), func(t *testing.T) {
			p.t = t
			p.clear()
			for _, name := range []string{"v", "w", "f/1", "f/sub/2"} {
				p.do(store(name, "value of "+name))
			}
			p.do(store("same", "value of v"))
			p.do(at(model.OpMkdir, "t", "s", "d"), at(model.OpMkdir, "t", "e", ""), at(model.OpMkdir, "e", "", ""))
			other := store("v", "other")
			other.Service = "S"
			p.do(other)
			other.Tenant = "T"
			p.do(other)

			before := p.everything()
			ch := model.Change{Op: model.OpRename, NoReplace: c.noReplace}
			ch.Tenant, ch.Service, ch.Name = cut(c.from)
			ch.ToTenant, ch.ToService, ch.ToName = cut(c.to)
			a := p.send(ch)
			if a.Code != c.code {
				t.Fatalf("code %d (%s), want %d", a.Code, a.Message, c.code)
			}
			want := before
			if c.code == model.CodeOK && c.from != c.to {
				want = renamed(before, c.from, c.to)
			}
			after := p.everything()
			if !maps.EqualFunc(want, after, func(a, b thing) bool { return a.id == b.id && a.dir == b.dir && bytes.Equal(a.data, b.data) }) {
				t.Errorf("after the rename:\n%v\nwant\n%v", after, want)
			}
			for path, x := range after {
				if b, ok := before[path]; ok && b.id == x.id && x.version < b.version {
					t.Errorf("%s went from version %d to %d", path, b.version, x.version)
				}
			}
		})
	}
}

// TestExchangeMatrix: two that exist get each other's name, with their ids, values and all that is below them, or nothing
// happens.
func TestExchangeMatrix(t *testing.T) {
	v, d, f, n := "t/s/v", "t/s/d", "t/s/f", "t/s/n"
	cases := []struct {
		from, to string
		code     model.Code
	}{
		{v, "t/s/w", model.CodeOK},
		{v, "t/s/f/1", model.CodeOK},
		{v, v, model.CodeOK},
		{v, n, model.CodeNotFound},
		{n, v, model.CodeNotFound},
		{v, "t/s/n/x", model.CodeNotFound},
		{v, "t/s/w/x", model.CodeNotDirectory},
		{v, d, model.CodeOK},
		{v, f, model.CodeOK},
		{f, v, model.CodeOK},
		{d, f, model.CodeOK},
		{f, d, model.CodeOK},
		{f, "t/s/g", model.CodeOK},
		{"t/s/f/sub", "t/s/g", model.CodeOK},
		{"t/s/f/sub", "t/s/g/sub", model.CodeOK},
		{f, f, model.CodeOK},
		{f, "t/s/f/sub", model.CodeInvalid},
		{"t/s/f/sub", f, model.CodeInvalid},
		{"t/s/f/1", f, model.CodeInvalid},
		{v, "t/S/v", model.CodeOK},
		{v, "T/S/v", model.CodeOK},
		{"t/s/f/1", "T/S/v", model.CodeOK},
		{f, "T/S/v", model.CodeOK},
		{"t/S/v", f, model.CodeOK},
		{v, "t/S/n", model.CodeNotFound},
		{v, "t/x/n", model.CodeNotFound},
		{v, "t/S", model.CodeCrossDevice},
		{"t/S", v, model.CodeCrossDevice},
		{"t/s", "t/S", model.CodeOK},
		{"t/s", "T/S", model.CodeOK},
		{"t/s", "t/e", model.CodeOK},
		{"t/s", "t/n", model.CodeNotFound},
		{"t/s", "t/s", model.CodeOK},
		{"t/s", "T", model.CodeCrossDevice},
		{"t", "T/S", model.CodeCrossDevice},
		{"t", "T", model.CodeOK},
		{"t", "e", model.CodeOK},
		{"t", "n", model.CodeNotFound},
		{"t", "t", model.CodeOK},
	}
	s := startServer(t)
	p := connect(t, s)
	for _, c := range cases {
		t.Run(strings.ReplaceAll(c.from+"-"+c.to, "/", "."), func(t *testing.T) {
			p.t = t
			p.clear()
			for _, name := range []string{"v", "w", "f/1", "f/sub/2", "g/1", "g/3", "g/sub/sub/4"} {
				p.do(store(name, "value of "+name))
			}
			p.do(store("v", "again"), store("v", "and again"))
			p.do(at(model.OpMkdir, "t", "s", "d"), at(model.OpMkdir, "t", "e", ""), at(model.OpMkdir, "e", "", ""))
			other := store("v", "other")
			other.Service = "S"
			p.do(other)
			other.Tenant = "T"
			p.do(other)

			before := p.everything()
			ch := model.Change{Op: model.OpExchange, Expect: before[c.from].id, ToExpect: before[c.to].id}
			ch.Tenant, ch.Service, ch.Name = cut(c.from)
			ch.ToTenant, ch.ToService, ch.ToName = cut(c.to)
			stranger := ch
			if c.code == model.CodeOK {
				stranger.ToExpect = 1
				p.refused(model.CodeConflict, stranger)
				stranger.ToExpect, stranger.Expect = ch.ToExpect, 1
				p.refused(model.CodeConflict, stranger)
			}
			a := p.send(ch)
			if a.Code != c.code {
				t.Fatalf("code %d (%s), want %d", a.Code, a.Message, c.code)
			}
			want := before
			if c.code == model.CodeOK && c.from != c.to {
				want = map[string]thing{}
				for path, x := range before {
					want[exchanged(path, c.from, c.to)] = x
				}
			}
			after := p.everything()
			if !maps.EqualFunc(want, after, func(a, b thing) bool { return a.id == b.id && a.dir == b.dir && bytes.Equal(a.data, b.data) }) {
				t.Errorf("after the exchange:\n%v\nwant\n%v", after, want)
			}
			for path, x := range after {
				if was := want[path]; x.version < was.version {
					t.Errorf("%s went from version %d to %d", path, was.version, x.version)
				}
				if was := before[path]; cutsService(c.from) != cutsService(c.to) && was.id != x.id && !x.dir && !was.dir && x.version <= was.version {
					t.Errorf("the name %s went from version %d to %d", path, was.version, x.version)
				}
			}
		})
	}
}

// cutsService is the service of a variable's path.
func cutsService(path string) string {
	tenant, service, name := cut(path)
	if name == "" {
		return ""
	}
	return tenant + "/" + service
}

// exchanged is the path that something has after an exchange.
func exchanged(path, from, to string) string {
	for _, way := range [][2]string{{from, to}, {to, from}} {
		if path == way[0] || below(path, way[0]) {
			return way[1] + path[len(way[0]):]
		}
	}
	return path
}

// thing is what a test knows of an entry.
type thing struct {
	id, version uint64
	dir         bool
	data        []byte
}

// renamed is what a rename makes of the tree.
func renamed(tree map[string]thing, from, to string) map[string]thing {
	next := map[string]thing{}
	target, replaced := tree[to]
	for path, x := range tree {
		switch {
		case path == to && !x.dir:
		case path == to && x.dir:
		case path == from && replaced && !x.dir: // the target keeps its id
			x.id = target.id
			next[to] = x
		case path == from:
			next[to] = x
		case below(path, from):
			next[to+path[len(from):]] = x
		default:
			next[path] = x
		}
	}
	return next
}

func cut(path string) (tenant, service, name string) {
	parts := strings.SplitN(path, "/", 3)
	parts = append(parts, "", "")
	return parts[0], parts[1], parts[2]
}

func join(e model.Entry) string {
	path := e.Tenant
	if e.Service != "" {
		path += "/" + e.Service
	}
	if e.Name != "" {
		path += "/" + e.Name
	}
	return path
}

// everything is all there is.
func (p *peer) everything() map[string]thing {
	p.t.Helper()
	tree := map[string]thing{}
	for _, e := range p.list(&transport.List{Recursive: true}) {
		x := thing{id: e.ID, version: e.Version, dir: e.Dir}
		if !e.Dir {
			d := must[*transport.VariableData](p, &transport.ReadVariable{Tenant: e.Tenant, Service: e.Service, Name: e.Name})
			x.data = d.Variable.Data
		}
		tree[join(e)] = x
	}
	return tree
}

// clear removes everything.
func (p *peer) clear() {
	p.t.Helper()
	list := p.list(&transport.List{Recursive: true})
	slices.Reverse(list)
	for _, e := range list {
		op := model.OpDelete
		if e.Dir {
			op = model.OpRmdir
		}
		p.do(at(op, e.Tenant, e.Service, e.Name))
	}
}

func TestRenameOverKeepsTheTargetsID(t *testing.T) {
	p := connect(t, startServer(t))
	r := p.do(store("v", "old"), store("v", "old2"), store("tmp", "new"))
	p.mustWatch(&transport.Watch{Service: p.service("t", "s"), Values: true})
	p.taken()
	got := p.do(renameTo(at(model.OpRename, "t", "s", "tmp"), "v"))[0]
	if got.ID != r[0].ID || got.Version != 3 {
		t.Errorf("renamed over: %+v, want id %d and version 3", got, r[0].ID)
	}
	evs := events(p.taken(), p.service("t", "s"))
	if len(evs) != 2 || evs[0].Kind != model.EventDelete || evs[0].ID != r[2].ID ||
		evs[1].Kind != model.EventSet || evs[1].ID != r[0].ID || string(evs[1].Data) != "new" || evs[1].Echo != 0 || evs[1].Created {
		t.Errorf("events %+v", evs)
	}
	// The same bytes: the source goes, and only its time and mode stay.
	p.do(store("tmp", "new"))
	p.taken()
	got = p.do(renameTo(at(model.OpRename, "t", "s", "tmp"), "v"))[0]
	evs = events(p.taken(), p.service("t", "s"))
	if got.Version != 3 || got.Unchanged || len(evs) != 2 || evs[0].Kind != model.EventDelete ||
		evs[1].Kind != model.EventMeta || evs[1].MTime != evs[0].MTime {
		t.Errorf("same bytes: %+v, events %+v", got, evs)
	}
}

func TestMoveToAnotherService(t *testing.T) {
	p := connect(t, startServer(t))
	other := store("x", "1")
	other.Service = "o"
	p.do(other)
	for i := range 9 { // lift the other service's floor
		other.Data = fmt.Append(nil, "v", i)
		p.do(other)
	}
	p.do(at(model.OpDelete, "t", "o", "x"))
	r := p.do(store("v", "value"))[0]
	sid, oid := p.service("t", "s"), p.service("t", "o")
	p.mustWatch(&transport.Watch{Service: sid, Values: true})
	p.mustWatch(&transport.Watch{Service: oid, Values: true})
	p.taken()
	m := model.Change{Op: model.OpRename, ID: r.ID, ToTenant: "t", ToService: "o", ToName: "v"}
	got := p.do(m)[0]
	if got.ID != r.ID || got.Version != 11 {
		t.Errorf("moved: %+v, want id %d and version 11", got, r.ID)
	}
	pushes := p.taken()
	if evs := events(pushes, sid); len(evs) != 1 || evs[0].Kind != model.EventDelete || evs[0].ID != r.ID {
		t.Errorf("events where it was: %+v", evs)
	}
	if evs := events(pushes, oid); len(evs) != 1 || !evs[0].Created || evs[0].ID != r.ID || string(evs[0].Data) != "value" {
		t.Errorf("events where it is: %+v", evs)
	}
}

func TestRenameLargeDirectory(t *testing.T) {
	p := connect(t, startServer(t))
	p.do(at(model.OpMkdir, "t", "", ""), at(model.OpMkdir, "t", "s", ""), at(model.OpMkdir, "t", "s", "d"))
	for part := range 3 {
		var changes []model.Change
		for i := range 1000 {
			i += part * 1000
			changes = append(changes, store(fmt.Sprintf("d/%d", i), fmt.Sprint(i)))
		}
		p.do(changes...)
	}
	sid := p.service("t", "s")
	p.mustWatch(&transport.Watch{Service: sid})
	p.taken()
	r := p.do(renameTo(at(model.OpRename, "t", "s", "d"), "e"))[0]
	if evs := events(p.taken(), sid); len(evs) != 1 || evs[0].Kind != model.EventRenameDir || evs[0].ID != r.ID || evs[0].OldName != "d" {
		t.Errorf("events: %+v", evs)
	}
	p.wantValue("e/2777", "2777")
	p.do(store("d/777", "again"), renameTo(at(model.OpExchange, "t", "s", "d"), "e"))
	p.wantValue("d/777", "777")
	p.wantValue("e/777", "again")
}
