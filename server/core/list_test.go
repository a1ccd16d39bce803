package core

import (
	"fmt"
	"slices"
	"testing"

	"github.com/commy-project/commyfs/model"
)

// pathsIn are those of entries, as paths from the tenant.
func pathsIn(list []model.Entry) []string {
	var out []string
	for _, e := range list {
		out = append(out, e.Tenant+" "+e.Service+" "+e.Name)
	}
	return out
}

// TestListBesideChanges: changes go on between the pages of a listing, which is of the moment when it came to the service.
func TestListBesideChanges(t *testing.T) {
	s := startCore(t)
	p := connect(t, s)
	const n = 3000
	var changes []model.Change
	for i := range n {
		changes = append(changes, store(fmt.Sprintf("d/v%04d", i), "x"))
	}
	for part := range slices.Chunk(changes, 1000) {
		p.do(part...)
	}
	l, err := s.sessions()[0].List(&model.List{Tenant: "t", Service: "s", Recursive: true})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for more, i := true, 0; more; i++ {
		page, err := l.Page(PageBytes, 100)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Entries) > 100 {
			t.Fatalf("a page of %d", len(page.Entries))
		}
		got = append(got, pathsIn(page.Entries)...)
		more = page.More
		// Before and behind where the listing is: new, gone, renamed.
		p.do(store(fmt.Sprintf("d/v%04d-", i), "new"), store(fmt.Sprintf("d/w%04d", i), "new"))
		p.do(at(model.OpDelete, "t", "s", fmt.Sprintf("d/v%04d", n-1-i)))
		p.do(renameTo(at(model.OpRename, "t", "s", fmt.Sprintf("d/v%04d", 10+i)), fmt.Sprintf("d/x%04d", i)))
	}
	if len(got) != n+1 || !slices.IsSorted(got) || len(slices.Compact(got)) != n+1 {
		t.Errorf("%d entries, want the %d that there were", len(got), n+1)
	}
}
