package core

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/commy-project/commyfs/engine"
)

// allPages takes all that is stored under a service itself.
type allPages func(engine.Page) error

func (f allPages) Fill(p engine.Page) error                    { return f(p) }
func (f allPages) Missing(engine.Areas) ([]engine.Area, error) { return nil, nil }
func (f allPages) Has(uint64, string) (bool, error)            { return true, nil }

// fill loads what is stored for a service that nobody knows of.
func (s *testCore) fill(t *testing.T, id uint64) (*content, error) {
	t.Helper()
	c := newContent(newService(id, "s", nil, meta{}))
	_, _, err := s.engine.LoadService(t.Context(), id, newFiller(s.Core, c))
	return c, err
}

func (s *testCore) commitOps(t *testing.T, ops ...engine.Op) {
	t.Helper()
	if _, err := s.engine.Commit(t.Context(), ops); err != nil {
		t.Fatal(err)
	}
}

// holds is what a content has at each path: of a directory its area, and a slash. It must be all there is.
func (c *content) holds(t *testing.T) map[string]entry {
	t.Helper()
	all := map[string]entry{}
	for w := c.nodes.freeze().walk(0, "", 0, true); ; {
		it, path, ok := w.next()
		if !ok {
			break
		}
		all[path] = it
	}
	n := 0
	for w := c.nodes.freeze().from(nodeKey{}); ; n++ {
		if _, ok := w.next(); !ok {
			break
		}
	}
	if n != len(all) {
		t.Fatalf("%d entries, %d can be reached", n, len(all))
	}
	return all
}

// wantHeld checks what services have: each the paths of its variables, whose values are what is written behind a "=".
func (s *testCore) wantHeld(t *testing.T, want map[uint64]string) {
	t.Helper()
	for id, text := range want {
		c, err := s.fill(t, id)
		if err != nil {
			t.Errorf("service %d: %v", id, err)
			continue
		}
		var got []string
		for path, it := range c.holds(t) {
			found, size, err := s.engine.Find(t.Context(), id, path, true)
			if err != nil {
				t.Fatal(err)
			}
			if it.d != nil {
				if !found.Dir {
					t.Errorf("service %d: %s is found as %+v", id, path, found)
				}
				continue
			}
			if v := found.Variable; v == nil || v.ID != it.v.id || size != len(it.v.data()) || !bytes.Equal(v.Data, it.v.data()) || v.Version != it.v.dir.version(it.v.version) {
				t.Errorf("service %d: %s is found as %+v, want %+v", id, path, v, it.v)
			}
			got = append(got, path+"="+string(it.v.data()[:min(len(it.v.data()), 8)]))
		}
		slices.Sort(got)
		if s := strings.Join(got, " "); s != text {
			t.Errorf("service %d has %s, want %s", id, s, text)
		}
	}
}

// stock makes what stores hold by hand: S is service 1, T service 2.
type stock struct {
	ops []engine.Op
	id  uint64
}

const inS, inT = 1, 2

func (st *stock) variable(home uint64, stored, value string) {
	st.id++
	st.ops = engine.AppendVariable(st.ops, home, engine.Variable{ID: 1<<20 + st.id, Name: stored, Version: 1, Data: []byte(value)}, engine.Stored{})
}

func (st *stock) dir(home uint64, d engine.Dir) { st.ops = append(st.ops, engine.PutDir(home, d)) }

func (st *stock) island(home uint64, prefix string, id uint64) {
	st.ops = append(st.ops, engine.PutIsland(engine.Island{Home: home, Prefix: prefix, ID: id, Service: inT, Was: []uint64{inS}}))
}

// prefixes are those of a content, with the ids of the directories.
func (c *content) prefixText() string {
	var list []string
	for p, d := range c.prefixes {
		list = append(list, fmt.Sprintf("%s:%d", p, d.id))
		if d.home != c.root.home || d.prefix != p {
			list = append(list, fmt.Sprintf("(%d %s)", d.home, d.prefix))
		}
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// TestFillElsewhere: a directory that is in another service is there, and nowhere else, whatever is left and right of its keys.
func TestFillElsewhere(t *testing.T) {
	large := strings.Repeat("x", 2*engine.MaxWhole)
	for name, c := range map[string]struct {
		make     func(*stock)
		s, t     string // what they hold
		inS, inT string // prefixes
	}{
		"given": {func(st *stock) {
			for home, mark := range map[uint64]string{inS: "s", inT: "t"} {
				for _, n := range []string{"D-", "D0", "C"} {
					st.dir(home, engine.Dir{ID: 100*home + uint64(n[len(n)-1]), Name: n})
					st.variable(home, n+"/v", mark)
					st.variable(home, n+"v", mark)
				}
			}
			st.dir(inT, engine.Dir{ID: 10, Name: "X", Home: inS, Prefix: "D/", Least: 7})
			st.island(inS, "D/", 10)
			st.variable(inS, "D/v", "v")
			st.variable(inS, "D/large", large)
			st.dir(inS, engine.Dir{ID: 11, Name: "D/c"})
			st.variable(inS, "D/c/v", "w")
			st.dir(inS, engine.Dir{ID: 12, Name: "D/"})
			st.variable(inS, "D//v", "x")
			// Made since then.
			st.dir(inS, engine.Dir{ID: 13, Name: "D", Prefix: engine.DirPrefix(13)})
			st.variable(inS, engine.DirPrefix(13)+"v", "new")
			st.dir(inT, engine.Dir{ID: 14, Name: "D"})
			st.variable(inT, "D/v", "other")
		},
			"C/v=s Cv=s D-/v=s D-v=s D/v=new D0/v=s D0v=s",
			"C/v=t Cv=t D-/v=t D-v=t D/v=other D0/v=t D0v=t X//v=x X/c/v=w X/large=xxxxxxxx X/v=v",
			"/d/:13 D/:10", ""},
		"under one prefix": {func(st *stock) {
			// What is read of T ends with the prefix with which that of S begins.
			st.dir(inT, engine.Dir{ID: 10, Name: "X", Home: inS, Prefix: "D/"})
			st.island(inS, "D/", 10)
			st.variable(inS, "D/v", "s")
			st.dir(inT, engine.Dir{ID: 11, Name: "D"})
			st.variable(inT, "D/w", "t")
		}, "", "D/w=t X/v=s", "D/:10", ""},
		"under one name": {func(st *stock) {
			// It is stored under the name that it had in T, but in S.
			st.dir(inT, engine.Dir{ID: 10, Name: "X", Home: inS, Prefix: "D/"})
			st.island(inS, "D/", 10)
			st.dir(inS, engine.Dir{ID: 11, Name: "D/c", Home: inT, Prefix: "D/c/"})
			st.island(inT, "D/c/", 11)
			st.variable(inT, "D/c/v", "t")
		}, "", "X/c/v=t", "D/:10", "D/c/:11"},
		"nested": {func(st *stock) {
			// T has X, made in S, which has Y, made in T, which has Z, made in S below X.
			st.dir(inT, engine.Dir{ID: 10, Name: "X", Home: inS, Prefix: "D/"})
			st.island(inS, "D/", 10)
			st.dir(inS, engine.Dir{ID: 11, Name: "D/Y", Home: inT, Prefix: "E/"})
			st.island(inT, "E/", 11)
			st.variable(inT, "E/v", "y")
			st.dir(inT, engine.Dir{ID: 12, Name: "E/Z", Home: inS, Prefix: "D/c/"})
			st.island(inS, "D/c/", 12)
			st.variable(inS, "D/c/v", "z")
			st.variable(inS, "Dv", "s")
		}, "Dv=s", "X/Y/Z/v=z X/Y/v=y", "D/:10 D/c/:12", "E/:11"},
		"moved back": {func(st *stock) {
			st.dir(inS, engine.Dir{ID: 10, Name: "D"})
			st.island(inS, "D/", 10)
			st.variable(inS, "D/v", "s")
			st.variable(inT, "v", "t")
		}, "D/v=s", "v=t", "", ""},
		"a part stays": {func(st *stock) {
			st.dir(inT, engine.Dir{ID: 10, Name: "X", Home: inS, Prefix: "D/"})
			st.island(inS, "D/", 10)
			st.variable(inS, "D/v", "t")
			st.dir(inS, engine.Dir{ID: 11, Name: "c", Prefix: "D/c/"})
			st.island(inS, "D/c/", 11)
			st.variable(inS, "D/c/v", "s")
		}, "c/v=s", "X/v=t", "D/:10 D/c/:11", ""},
		"the part first": {func(st *stock) {
			// What is read of S is first D/c/, then D/.
			st.dir(inT, engine.Dir{ID: 11, Name: "X", Home: inS, Prefix: "D/c/"})
			st.island(inS, "D/c/", 11)
			st.dir(inS, engine.Dir{ID: 12, Name: "D/c/e"})
			st.variable(inS, "D/c/e/v", "e")
			st.variable(inS, "D/c/v", "c")
			st.dir(inS, engine.Dir{ID: 13, Name: "D/c/Y", Home: inT, Prefix: "Y/"})
			st.island(inT, "Y/", 13)
			st.dir(inT, engine.Dir{ID: 10, Name: "Y/D", Home: inS, Prefix: "D/"})
			st.island(inS, "D/", 10)
			st.variable(inS, "D/v", "d")
		}, "", "X/Y/D/v=d X/e/v=e X/v=c", "D/:10 D/c/:11", "Y/:13"},
		"made there": {func(st *stock) {
			st.dir(inT, engine.Dir{ID: 10, Name: "X", Home: inS, Prefix: "D/"})
			st.island(inS, "D/", 10)
			st.dir(inS, engine.Dir{ID: 11, Name: "D/n", Prefix: engine.DirPrefix(11)})
			st.variable(inS, engine.DirPrefix(11)+"v", "n")
			st.dir(inS, engine.Dir{ID: 12, Name: engine.DirPrefix(11) + "m", Prefix: engine.DirPrefix(12)})
			st.variable(inS, engine.DirPrefix(12)+"large", large)
		}, "", "X/n/m/large=xxxxxxxx X/n/v=n", "/b/:11 /c/:12 D/:10", ""},
		"renamed before": {func(st *stock) {
			// It was x before it came into D. There is a new x.
			st.dir(inT, engine.Dir{ID: 10, Name: "X", Home: inS, Prefix: "D/"})
			st.island(inS, "D/", 10)
			st.dir(inS, engine.Dir{ID: 11, Name: "D/n", Prefix: "x/"})
			st.variable(inS, "x/v", "t")
			st.dir(inS, engine.Dir{ID: 12, Name: "x", Prefix: engine.DirPrefix(12)})
			st.variable(inS, engine.DirPrefix(12)+"v", "s")
		}, "x/v=s", "X/n/v=t", "/c/:12 D/:10 x/:11", ""},
		"an island in an island": {func(st *stock) {
			// c was once elsewhere too.
			st.dir(inT, engine.Dir{ID: 10, Name: "X", Home: inS, Prefix: "D/"})
			st.island(inS, "D/", 10)
			st.dir(inS, engine.Dir{ID: 11, Name: "D/c"})
			st.island(inS, "D/c/", 11)
			st.variable(inS, "D/c/v", "t")
		}, "", "X/c/v=t", "D/:10", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := startCore(t)
			var st stock
			c.make(&st)
			s.commitOps(t, st.ops...)
			s.wantHeld(t, map[uint64]string{inS: c.s, inT: c.t})
			for id, want := range map[uint64]string{inS: c.inS, inT: c.inT} {
				if got, err := s.fill(t, id); err != nil || got.prefixText() != want {
					t.Errorf("service %d has prefixes %s (%v), want %s", id, got.prefixText(), err, want)
				}
			}
		})
	}
}

// TestFillCorrupt: what nobody has is an error for the service in which it was made, and no other.
func TestFillCorrupt(t *testing.T) {
	given := func(st *stock) {
		st.dir(inT, engine.Dir{ID: 10, Name: "X", Home: inS, Prefix: "D/"})
		st.island(inS, "D/", 10)
		st.variable(inS, "D/v", "v")
		st.dir(inS, engine.Dir{ID: 11, Name: "C"})
		st.dir(inT, engine.Dir{ID: 12, Name: "C"})
	}
	for name, c := range map[string]struct {
		make     func(*stock)
		inS, inT bool // is corrupt
	}{
		"nothing":                              {func(st *stock) {}, false, false},
		"a variable in no directory":           {func(st *stock) { st.variable(inS, "E/v", "") }, true, false},
		"a variable next to what is elsewhere": {func(st *stock) { st.variable(inS, "D0/v", "") }, true, false},
		"a variable in no directory elsewhere": {func(st *stock) { st.variable(inS, "D/c/v", "") }, true, false},
		"a directory in no directory":          {func(st *stock) { st.dir(inS, engine.Dir{ID: 20, Name: "E/d"}) }, true, false},
		"a directory in itself":                {func(st *stock) { st.dir(inS, engine.Dir{ID: 20, Name: "E/d", Prefix: "E/"}) }, true, false},
		"two directories in each other": {func(st *stock) {
			st.dir(inS, engine.Dir{ID: 20, Name: "E/d", Prefix: "F/"})
			st.dir(inS, engine.Dir{ID: 21, Name: "F/d", Prefix: "E/"})
		}, true, false},
		"a directory below itself":        {func(st *stock) { st.dir(inS, engine.Dir{ID: 20, Name: "C/d", Prefix: "C/"}) }, true, false},
		"two directories with one prefix": {func(st *stock) { st.dir(inT, engine.Dir{ID: 20, Name: "E", Prefix: "C/"}) }, false, true},
		"two directories with a prefix of another": {func(st *stock) {
			st.dir(inT, engine.Dir{ID: 20, Name: "E", Home: inS, Prefix: "D/"})
		}, false, true},
		"two directories with one prefix, one elsewhere": {func(st *stock) {
			st.dir(inS, engine.Dir{ID: 20, Name: "D/e", Prefix: "C/"})
		}, true, false},
		"two directories with one id": {func(st *stock) { st.dir(inT, engine.Dir{ID: 10, Name: "E"}) }, false, true},
		"a directory in itself, by way of another service": {func(st *stock) {
			st.dir(inS, engine.Dir{ID: 20, Name: "D/e", Home: inT, Prefix: engine.DirPrefix(20)})
			st.island(inT, engine.DirPrefix(20), 20)
			st.dir(inT, engine.Dir{ID: 10, Name: engine.DirPrefix(20) + "x", Home: inS, Prefix: "D/"})
		}, false, true},
		"elsewhere, without an island": {func(st *stock) {
			st.dir(inT, engine.Dir{ID: 20, Name: "F", Home: inS, Prefix: "F/"})
			st.variable(inS, "F/v", "")
		}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := startCore(t)
			var st stock
			given(&st)
			c.make(&st)
			s.commitOps(t, st.ops...)
			for id, corrupt := range map[uint64]bool{inS: c.inS, inT: c.inT} {
				if _, err := s.fill(t, id); errors.Is(err, engine.ErrCorrupt) != corrupt || err != nil && !corrupt {
					t.Errorf("service %d: %v, want it corrupt: %v", id, err, corrupt)
				}
			}
		})
	}
}
