package fs

import (
	"fmt"
	"slices"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// A listing shows what was there when it began, each name once, whatever comes, goes or is renamed between two requests; from
// an offset that it has given it goes on the same way, also backwards.
func TestListingUnderChange(t *testing.T) {
	m := newMount(t, Options{})
	want := []string{".", ".."}
	for i := range 400 {
		name := fmt.Sprintf("v%03d", i)
		m.put("t/s/"+name, "x")
		want = append(want, name)
	}
	m.mkdir(m.id("t/s"), "v100-dir")
	m.made("t/s/v200~", wr).close()
	draft := m.made("t/s/v300-draft", trunc)
	want = append(want, "v100-dir", "v200~", "v300-draft")
	slices.Sort(want[2:])

	node, fh := m.openDir("t/s")
	var got []string
	offsets := []uint64{0} // in front of each entry
	for off, i := uint64(0), 0; ; i++ {
		names, _, next := m.readdir(node, fh, off, 500, false)
		if len(names) == 0 {
			break
		}
		for j := range names {
			offsets = append(offsets, off+uint64(j)+1)
		}
		if offsets[len(offsets)-1] != next {
			t.Fatalf("offset %d behind entry %d", next, len(offsets)-1)
		}
		got, off = append(got, names...), next
		if k := 10 * i; k < 390 {
			m.ok("unlink", m.unlink(fmt.Sprintf("t/s/v%03d", k)))
			m.ok("rename", m.rename(fmt.Sprintf("t/s/v%03d", k+1), fmt.Sprintf("t/s/v%03d", 399-k%390), 0))
			m.put(fmt.Sprintf("t/s/v%03d-new", k), "x")
		}
		if i == 5 {
			draft.close()
			m.ok("rename", m.rename("t/s/v100-dir", "t/s/v000-dir", 0))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d entries, want %d:\n%v", len(got), len(want), got)
	}
	for _, i := range []int{390, 3, 201, 0} {
		off := offsets[i]
		if off == 0 {
			continue // it would be read anew
		}
		if names, _, _ := m.readdir(node, fh, off, 500, false); names[0] != want[i] {
			t.Errorf("at %d: %s, want %s", off, names[0], want[i])
		}
	}
	now, _, _ := m.readdir(node, fh, 0, 1<<20, false)
	if slices.Contains(now, "v000") || !slices.Contains(now, "v000-new") || !slices.Contains(now, "v000-dir") {
		t.Error("from the beginning it is not read anew")
	}
	m.ReleaseDir(&fuse.ReleaseIn{InHeader: m.header(node), Fh: fh})
	m.want("readdir", m.ReadDir(nil, &fuse.ReadIn{InHeader: m.header(node), Fh: fh}, fuse.NewDirEntryList(nil, 0)), syscall.EBADF)
}

// A draft that is committed while it is listed is listed once.
func TestListingOfADraftThatIsCommitted(t *testing.T) {
	m := newMount(t, Options{})
	draft := m.made("t/s/b", trunc)
	m.put("t/s/a", "x")
	l, err := m.list(m.id("t/s"))
	if err != nil {
		t.Fatal(err)
	}
	draft.close()
	m.put("t/s/c", "x")
	again, err := m.list(m.id("t/s"))
	if err != nil {
		t.Fatal(err)
	}
	again.own = l.own // as if it had been committed between the two looks
	again.left = l.own
	for _, tt := range []struct {
		l    *listing
		want []string
	}{{l, []string{".", "..", "a", "b"}}, {again, []string{".", "..", "a", "b", "c"}}} {
		var got []string
		for e, ok := tt.l.peek(); ok; e, ok = tt.l.peek() {
			got = append(got, e.name)
			tt.l.pass()
		}
		if tt.l.close(); !slices.Equal(got, tt.want) {
			t.Errorf("%v, want %v", got, tt.want)
		}
	}
}
