package sync

import (
	"fmt"
	"slices"
	"testing"

	"github.com/commy-project/commyfs/model"
)

// Of a service that is gone after a time without a connection nothing else is told.
func TestServiceGoneWhileAway(t *testing.T) {
	b := newBench(t)
	b.loadS(serviceU)
	b.c.gather(true)
	b.c.changeTree(func() []Notice {
		return b.c.applyTree([]model.Tenant{{ID: tenantT, Name: "t"}}, []model.Service{{ID: serviceU, Tenant: tenantT, Name: "u"}})
	})
	b.c.gather(false)
	var got []string
	for _, n := range b.told {
		got = append(got, fmt.Sprint(n.Kind, n.ID, n.Path))
	}
	if want := []string{fmt.Sprint(Deleted, serviceS, []string{"t", "s"}), fmt.Sprint(Deleted, serviceV, []string{"t", "v"})}; !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
}
