package engine

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// scripted asks for areas, round by round, and has what is stored with some prefixes.
type scripted struct {
	t       *testing.T
	rounds  [][]Area
	has     map[Area]bool
	islands []Island
	dirs    map[Area]int // by home and name: how often they came
	vars    map[Area]int
	reads   []Areas
	order   []Area // what came, one after the other
	damaged int
}

func (f *scripted) Fill(p Page) error {
	f.islands = append(f.islands, p.Islands...)
	f.damaged += len(p.Damaged)
	for _, d := range p.Dirs {
		f.dirs[Area{p.Home, d.Name}]++
		f.order = append(f.order, Area{p.Home, d.Name})
	}
	for _, v := range p.Variables {
		if len(f.rounds) > 0 {
			f.t.Error("variables come before all directories")
		}
		f.vars[Area{p.Home, v.Name}]++
	}
	return nil
}

func (f *scripted) Missing(read Areas) (list []Area, err error) {
	f.reads = append(f.reads, maps.Clone(read))
	if len(f.rounds) > 0 {
		list, f.rounds = f.rounds[0], f.rounds[1:]
	}
	return list, nil
}

func (f *scripted) Has(home uint64, prefix string) (bool, error) {
	if prefix != "" && !strings.HasSuffix(prefix, "/") {
		f.t.Errorf("asked for %q", prefix)
	}
	if prefix == "wrong/" {
		return false, ErrCorrupt
	}
	return f.has[Area{home, prefix}], nil
}

// TestLoadAreas: what a load is asked for comes once, whichever areas are in others and in what order they are asked for, and of the
// variables only those that are wanted.
func TestLoadAreas(t *testing.T) {
	e := open(t, Options{})
	const n = pageFirst + 10
	dirs, vars := map[Area]int{}, map[Area]int{}
	has := map[Area]bool{}
	var ops []Op
	for home := uint64(1); home <= 2; home++ {
		for _, prefix := range []string{"", "a/", "a/b/", "a/b/x/", "a/c/", "a-/", "a0/", "c/"} {
			asked := home == 2 || strings.HasPrefix(prefix, "a/")
			has[Area{home, prefix}] = asked && prefix != "a/b/x/"
			for i := range n {
				d, v := Area{home, prefix + "d" + name(i)}, Area{home, prefix + name(i)}
				ops = append(ops, PutDir(home, Dir{ID: 1, Name: d.Prefix}), PutVariable(home, Variable{ID: 1, Name: v.Prefix}))
				if asked {
					dirs[d] = 1
				}
				if has[Area{home, prefix}] {
					vars[v] = 1
				}
			}
		}
	}
	for i := range 2 * scanFrom { // so many that the store is gone through
		v := Area{1, fmt.Sprintf("a/z%s", name(i))}
		ops = append(ops, PutVariable(1, Variable{ID: 1, Name: v.Prefix}))
		vars[v] = 1
	}
	for part := range slices.Chunk(ops, MaxOps) {
		commit(t, e, part...)
	}
	commit(t, e, PutFloor(2, 7), PutIsland(Island{Home: 1, Prefix: "a/"}), PutIsland(Island{Home: 2, Prefix: "x/", ID: 5, Service: 1}))
	// Nobody looks at the pieces of what is not wanted.
	commit(t, e, Op{key: variableKey(1, "a/b/x/large"), value: Variable{ID: 9}.encodeHead(2 * MaxWhole)})
	f := &scripted{t: t, has: has, dirs: map[Area]int{}, vars: map[Area]int{}, rounds: [][]Area{
		{{1, "a/c/"}, {1, "a/b/"}},
		{{1, "a/c/"}, {1, "a/b/x/"}, {1, "a/"}, {2, "a/"}},
		{{1, "a/b/"}},
	}}
	floor, rev, err := e.LoadService(t.Context(), 2, f)
	if err != nil || floor != 7 || rev != e.Rev() {
		t.Fatalf("floor %d, revision %d, %v", floor, rev, err)
	}
	if want := []Island{{Home: 2, Prefix: "x/", ID: 5, Service: 1}}; !reflect.DeepEqual(f.islands, want) {
		t.Errorf("islands %+v, want %+v", f.islands, want)
	}
	if !maps.Equal(f.dirs, dirs) || !maps.Equal(f.vars, vars) || f.damaged != 0 {
		t.Errorf("%d directories, %d variables, %d damaged, want %d, %d and none", len(f.dirs), len(f.vars), f.damaged, len(dirs), len(vars))
	}
	if i := slices.IndexFunc(f.order, func(a Area) bool { return a.Home != 2 }); i != 8*n {
		t.Errorf("of the service itself %d directories come first, want %d", i, 8*n)
	}
	first := Areas{{2, ""}: true}
	second := Areas{{2, ""}: true, {1, "a/b/"}: true, {1, "a/c/"}: true}
	third := Areas{{2, ""}: true, {1, "a/b/"}: true, {1, "a/c/"}: true, {1, "a/"}: true}
	if want := []Areas{first, second, third, third}; !reflect.DeepEqual(f.reads, want) {
		t.Errorf("read %v, want %v", f.reads, want)
	}
	commit(t, e, PutVariable(2, Variable{Name: "wrong/v"}))
	if _, _, err := e.LoadService(t.Context(), 2, f); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "wrong/v") {
		t.Errorf("what belongs to nobody: %v", err)
	}
}

func TestAreas(t *testing.T) {
	all := Areas{{1, "a/"}: true, {1, "a/b/c/"}: true, {1, "/5/"}: true, {2, ""}: true}
	for stored, want := range map[string]bool{"a": false, "a/": true, "a/v": true, "a/b/c/d": true, "a-/v": false, "ab/v": false, "": false, "/5/": true, "/5/v": true, "/5": false, "/": false} {
		if all.Hold(1, stored) != want || !all.Hold(2, stored) || all.Hold(3, stored) {
			t.Errorf("%q: want %v", stored, want)
		}
	}
}
