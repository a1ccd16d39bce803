package sync

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/commy-project/commyfs/model"
)

// TestListedAfterRenames: a service that is listed again after directories were renamed, and others made in their places, has the
// nodes that it had, and each that has moved is told of once.
func TestListedAfterRenames(t *testing.T) {
	before := map[string]uint64{"d": 2, "d/e": 3, "f": 4}
	for name, c := range map[string]struct {
		dirs    map[string]uint64
		notices []string
	}{
		"made again":       {map[string]uint64{"x": 2, "x/e": 3, "f": 4, "d": 5}, []string{"renamed d x", "created d"}},
		"into a new one":   {map[string]uint64{"x": 6, "x/y": 2, "x/y/e": 3, "f": 4, "d": 5}, []string{"created x", "renamed d x/y", "created d"}},
		"replaced":         {map[string]uint64{"x": 2, "x/e": 3, "d": 4}, []string{"renamed d x", "renamed f d"}},
		"exchanged":        {map[string]uint64{"f": 2, "f/e": 3, "d": 4}, []string{"renamed d f", "renamed f d"}},
		"the one above":    {map[string]uint64{"e": 3, "f": 4, "d": 5}, []string{"renamed d/e e", "deleted d", "created d"}},
		"below a new one":  {map[string]uint64{"d": 5, "d/x": 2, "d/x/e": 3, "f": 4}, []string{"renamed d d/x", "created d"}},
		"all in a new one": {map[string]uint64{"a": 5, "a/d": 2, "a/d/e": 3, "a/f": 4}, []string{"created a", "renamed d a/d", "renamed f a/f"}},
	} {
		t.Run(name, func(t *testing.T) {
			list := func(at map[string]uint64, version uint64) *model.Snapshot {
				sn := &model.Snapshot{}
				for _, name := range slices.Sorted(maps.Keys(at)) {
					id := at[name]
					sn.Dirs = append(sn.Dirs, model.Dir{ID: id, Name: name})
					sn.Vars = append(sn.Vars, model.Variable{ID: 100 + id, Name: name + "/v", Version: version, Size: 1, Writer: "w", Data: fmt.Append(nil, id)})
				}
				return sn
			}
			fresh := func() *Service {
				s := newService(newClient(Options{}), 1)
				s.tenant, s.name = &Tenant{c: s.c, name: "t"}, "s"
				return s
			}
			take := func(s *Service, rev int64, list *model.Snapshot) []Notice {
				t.Helper()
				sn := &snapshot{}
				sn.add(s, list, true)
				notices, ok := s.replace(nil, sn, rev, bufferAccessor{})
				if !ok {
					t.Fatal("it does not fit")
				}
				return notices
			}
			s, want := fresh(), fresh()
			take(s, 1, list(before, 1))
			nodes := map[uint64]Node{}
			for _, id := range before {
				nodes[id], nodes[100+id] = s.c.index.get(id), s.c.index.get(100+id)
			}
			notices := take(s, 2, list(c.dirs, 2)) // the rename has lifted the versions
			take(want, 2, list(c.dirs, 2))
			if s.tree() != want.tree() {
				t.Errorf("got\n%s\nwant\n%s", s.tree(), want.tree())
			}
			for _, id := range c.dirs {
				if was := nodes[id]; was != nil && (s.c.index.get(id) != was || s.c.index.get(100+id) != nodes[100+id]) {
					t.Errorf("%d is another node", id)
				}
			}
			var got []string
			for _, n := range notices {
				switch path := strings.Join(n.Path[2:], "/"); {
				case !n.Dir:
				case n.Kind == Renamed:
					got = append(got, "renamed "+strings.Join(n.OldPath[2:], "/")+" "+path)
				case n.Kind == Created:
					got = append(got, "created "+path)
				case n.Kind == Deleted:
					got = append(got, "deleted "+path)
				}
			}
			slices.Sort(got)
			slices.Sort(c.notices)
			if !slices.Equal(got, c.notices) {
				t.Errorf("notices %q, want %q", got, c.notices)
			}
		})
	}
}
