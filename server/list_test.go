package server

import (
	"slices"
	"testing"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/transport"
)

// pathsIn are those of entries, as paths from the tenant.
func pathsIn(list []model.Entry) []string {
	var out []string
	for _, e := range list {
		out = append(out, e.Tenant+" "+e.Service+" "+e.Name)
	}
	return out
}

// TestListOrder: names that are close to a directory's in the order of bytes are listed once, in their place.
func TestListOrder(t *testing.T) {
	p := connect(t, startServer(t))
	all := []string{"a", "a!", "a-b", "a/", "a/!", "a//x", "a/b", "a/b/c", "a/b/d", "a0", "b"}
	for _, dir := range []string{"a", "a/", "a/b"} {
		p.do(model.Change{Op: model.OpMkdir, Tenant: "t", Service: "s", Name: dir, Parents: true})
	}
	// "a/" is a directory without a name in a: it holds "a//x".
	for _, name := range []string{"a!", "a-b", "a/!", "a//x", "a/b/c", "a/b/d", "a0", "b"} {
		p.do(store(name, "x"))
	}
	for _, tt := range []struct {
		list transport.List
		want []string
	}{
		{transport.List{Recursive: true}, all},
		{transport.List{}, []string{"a", "a!", "a-b", "a0", "b"}},
		{transport.List{Name: "a"}, []string{"a/", "a/!", "a/b"}},
		{transport.List{Name: "a/"}, []string{"a//x"}},
		{transport.List{Name: "a", Recursive: true}, []string{"a/", "a/!", "a//x", "a/b", "a/b/c", "a/b/d"}},
		{transport.List{Name: "a/b", Recursive: true}, []string{"a/b/c", "a/b/d"}},
	} {
		tt.list.Tenant, tt.list.Service = "t", "s"
		var want []string
		for _, n := range tt.want {
			want = append(want, "t s "+n)
		}
		if got := pathsIn(p.list(&tt.list)); !slices.Equal(got, want) {
			t.Errorf("%+v: %q, want %q", tt.list, got, want)
		}
	}
	p.do(store("z", ""), model.Change{Op: model.OpStore, Tenant: "u", Service: "s", Name: "v", Create: true, Parents: true})
	if got := pathsIn(p.list(&transport.List{Recursive: true})); !slices.IsSorted(got) || len(got) != len(all)+6 {
		t.Errorf("all: %q", got)
	}
	p.refused(model.CodeNotEmpty, at(model.OpRmdir, "t", "s", "a/b"))
	p.do(at(model.OpDelete, "t", "s", "a/b/c"), at(model.OpDelete, "t", "s", "a/b/d"), at(model.OpRmdir, "t", "s", "a/b"))
}
