package sync

import (
	"fmt"
	"slices"
	"testing"

	"github.com/commy-project/commyfs/model"
)

// walk returns what is left of a walk, in portions.
func (c *Cursor) walk(portion int) (names []string) {
	buf := make([]Child, portion)
	for {
		n := c.Next(buf)
		if n == 0 {
			return names
		}
		for _, child := range buf[:n] {
			names = append(names, fmt.Sprintf("%s %d", child.Name, child.Node.ID()))
		}
	}
}

// A walk shows each entry once, under the name that it had at the beginning, whatever happens meanwhile.
func TestCursor(t *testing.T) {
	s := newCopy(t, bufferAccessor{})
	apply := func(events ...model.Event) {
		t.Helper()
		if _, ok := s.apply(s.rev+1, events); !ok {
			t.Fatal("the events do not fit")
		}
	}
	for i := range uint64(3 * maxLeaf) {
		apply(model.Event{Kind: model.EventSet, ID: 100 + i, Name: fmt.Sprintf("w%05d", i), Version: 1})
	}
	for i := range uint64(10) {
		apply(model.Event{Kind: model.EventMkdir, ID: 10000 + i, Name: fmt.Sprintf("w%05d-dir", i*7)})
	}
	all, late := s.root.Cursor(), s.root.Cursor()
	want := all.walk(1 << 20)
	if !slices.IsSorted(want) || len(want) < 3*maxLeaf+10 {
		t.Fatalf("%d entries", len(want))
	}
	portion := make([]Child, 10)
	for round := 0; ; round++ {
		n := late.Next(portion)
		if n == 0 {
			break
		}
		for _, child := range portion[:n] {
			if got := fmt.Sprintf("%s %d", child.Name, child.Node.ID()); got != want[0] {
				t.Fatalf("round %d: %s, want %s", round, got, want[0])
			}
			want = want[1:]
		}
		// Something goes, comes, changes places.
		i := uint64(round) * 9
		apply(
			model.Event{Kind: model.EventDelete, ID: 100 + i, Name: fmt.Sprintf("w%05d", i)},
			model.Event{Kind: model.EventSet, ID: 20000 + i, Name: fmt.Sprintf("w%05d", i), Version: 1},
			model.Event{Kind: model.EventRename, ID: 101 + i, OldName: fmt.Sprintf("w%05d", i+1), Name: "x"},
			model.Event{Kind: model.EventRename, ID: 102 + i, OldName: fmt.Sprintf("w%05d", i+2), Name: fmt.Sprintf("w%05d", i+1)},
			model.Event{Kind: model.EventRename, ID: 101 + i, OldName: "x", Name: fmt.Sprintf("w%05d", i+2)},
		)
		if round == 3 {
			apply(model.Event{Kind: model.EventRenameDir, ID: 10009, OldName: "w00063-dir", Name: "zz"})
		}
	}
	if len(want) > 0 {
		t.Errorf("%d entries are missing, the first is %s", len(want), want[0])
	}
	late.Rewind()
	all.Rewind()
	if again := late.walk(100); len(again) < 3*maxLeaf+10 {
		t.Errorf("%d entries after going back", len(again))
	}
	all.Close()
	late.Close()
	if s.root.cursors != nil {
		t.Error("cursors are left")
	}
}
