package sync

import (
	"maps"
	"slices"
	"testing"

	"github.com/commy-project/commyfs/model"
)

// TestToldAnew: what a service that is sent again tells is what a file system could have done, and each directory stays what it is.
func TestToldAnew(t *testing.T) {
	for name, c := range map[string]struct {
		before, after map[string]uint64
		want          []string
	}{
		"exchanged": {map[string]uint64{"d": 102, "f": 104}, map[string]uint64{"f": 102, "d": 104},
			[]string{"renamed 104 s/f s/d", "renamed 102 s/d s/f"}},
		"in a ring": {map[string]uint64{"d": 102, "e": 103, "f": 104}, map[string]uint64{"e": 102, "f": 103, "d": 104},
			[]string{"renamed 104 s/f s/d", "renamed 102 s/d s/f", "renamed 103 s/e s/f", "renamed 102 s/f s/e"}},
		"in a row": {map[string]uint64{"d": 102, "e": 103, "f": 104}, map[string]uint64{"e": 102, "f": 103, "g": 104},
			[]string{"renamed 104 s/f s/g", "renamed 103 s/e s/f", "renamed 102 s/d s/e"}},
		"its name is taken": {map[string]uint64{"d": 102}, map[string]uint64{"x": 102, "d": 105},
			[]string{"renamed 102 s/d s/x", "created s/d"}},
		"into what takes its name": {map[string]uint64{"d": 102}, map[string]uint64{"d": 105, "d/x": 102},
			[]string{"renamed 102 s/d s/~102", "created s/d", "renamed 102 s/~102 s/d/x"}},
		"into each other": {map[string]uint64{"d": 102, "d/e": 103}, map[string]uint64{"d": 103, "d/e": 102},
			[]string{"renamed 102 s/d s/~102", "renamed 103 s/~102/e s/d", "renamed 102 s/~102 s/d/e"}},
		"in the place of what it was in": {map[string]uint64{"d": 102, "d/e": 103}, map[string]uint64{"d": 103},
			[]string{"renamed 102 s/d s/~102", "renamed 103 s/~102/e s/d", "deleted s/~102"}},
		"out of what is gone": {map[string]uint64{"d": 102, "d/e": 103, "d/f": 104}, map[string]uint64{"e": 103},
			[]string{"renamed 103 s/d/e s/e", "deleted s/d/f", "deleted s/d"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			list := func(rev int64, at map[string]uint64) {
				var dirs []model.Dir
				for _, name := range slices.Sorted(maps.Keys(at)) {
					dirs = append(dirs, model.Dir{ID: at[name], Name: name})
				}
				b.list(serviceS, rev, dirs, nil)
			}
			list(1, c.before)
			nodes := map[uint64]Node{}
			for _, id := range c.before {
				nodes[id] = b.c.index.get(id)
			}
			list(2, c.after)
			b.want(c.want...)
			for name, id := range c.after {
				n := b.service(serviceS).lookupLocked(name)
				if n == nil || n.ID() != id || nodes[id] != nil && nodes[id] != n {
					t.Errorf("%s is %v", name, n)
				}
			}
		})
	}
}
