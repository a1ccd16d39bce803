package sync

import (
	"slices"
	"testing"

	"github.com/commy-project/commyfs/model"
)

// A directory that is in the way of something else in a listing is told to be gone with all that was in it.
func TestDirectoryInTheWay(t *testing.T) {
	b := newBench(t)
	b.loadS()
	b.takeTold()
	b.list(serviceS, 2, []model.Dir{{ID: 77, Name: "d"}}, nil)
	got := b.takeTold()
	if want := []string{"deleted s/d/e/y", "deleted s/d/e", "deleted s/d/x", "deleted s/d", "created s/d"}; !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
}
