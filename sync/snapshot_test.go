package sync

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/commy-project/commyfs/model"
)

// tree describes all that is in the service.
func (s *Service) tree() string {
	var lines []string
	var walk func(d *Dir)
	walk = func(d *Dir) {
		d.dirs.all(func(n *Dir) {
			lines = append(lines, fmt.Sprintf("%s/ %d", n.pathLocked(), n.id))
			walk(n)
		})
		d.vars.all(func(v *Variable) {
			lines = append(lines, fmt.Sprintf("%s %d v%d slot %d %q %s", v.pathLocked(), v.id, v.version, v.slot, v.value(), v.writerLocked()))
			if s.c.index.get(v.id) != v {
				lines = append(lines, fmt.Sprintf("%d is not in the index", v.id))
			}
		})
	}
	walk(s.root)
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// A listing that comes in pages leaves what a single one makes of a new copy, whatever was there, and keeps the nodes.
func TestListedAgain(t *testing.T) {
	const n = 50
	list := func(change func(v *model.Variable)) (dirs []model.Dir, vars []model.Variable) {
		dirs = []model.Dir{{ID: 2, Name: "d"}, {ID: 3, Name: "d/e"}}
		for i := range uint64(n) {
			v := model.Variable{ID: 100 + i, Name: fmt.Sprintf("%sv%02d", []string{"", "d/", "d/e/"}[i%3], i), Version: 1, Size: 3,
				Slot: uint32(i), Writer: "w", Data: []byte("old")}
			if change(&v); v.ID != 0 {
				vars = append(vars, v)
			}
		}
		return dirs, vars
	}
	for name, change := range map[string]func(v *model.Variable){
		"nothing":  func(*model.Variable) {},
		"slots":    func(v *model.Variable) { v.Slot += 1000 },
		"a value":  func(v *model.Variable) { *v = changed(*v, v.ID == 105) },
		"a mode":   func(v *model.Variable) { v.Mode = model.NewMode(uint32(v.ID % 2)) },
		"one less": func(v *model.Variable) { v.ID *= min(1, v.ID^107) },
		"a name": func(v *model.Variable) {
			if v.ID == 108 {
				v.Name = "another"
			}
		},
		"two names": func(v *model.Variable) {
			switch v.ID {
			case 100:
				v.Name = "v03"
			case 103:
				v.Name = "v00"
			}
		},
	} {
		for _, acc := range []accessor{bufferAccessor{}, &mappedAccessor{}} {
			t.Run(fmt.Sprintf("%s, %T", name, acc), func(t *testing.T) {
				_, values := acc.(bufferAccessor)
				take := func(s *Service, rev int64, dirs []model.Dir, vars []model.Variable) *snapshot {
					t.Helper()
					sn := &snapshot{}
					sn.add(s, &model.Snapshot{Dirs: dirs, More: true}, values)
					for page := range slices.Chunk(vars, 7) {
						sn.add(s, &model.Snapshot{Vars: page}, values)
					}
					if _, ok := s.replace(nil, sn, rev, acc); !ok {
						t.Fatal("it does not fit")
					}
					return sn
				}
				fresh := func() *Service {
					s := newService(newClient(Options{}), 1)
					s.tenant, s.name = &Tenant{c: s.c, name: "t"}, "s"
					return s
				}
				s := fresh()
				take(s, 1, first(list(func(*model.Variable) {})), second(list(func(*model.Variable) {})))
				before := map[uint64]Node{}
				for i := range uint64(n) {
					before[100+i] = s.c.index.get(100 + i)
				}
				dirs, vars := list(change)
				if !values {
					for i := range vars {
						vars[i].Data = nil
					}
				}
				sn := take(s, 2, dirs, vars)
				if name == "nothing" && len(sn.vars) > 0 {
					t.Errorf("%d variables are kept that are the same", len(sn.vars))
				}
				want := fresh()
				take(want, 2, dirs, vars)
				if got := s.tree(); got != want.tree() {
					t.Errorf("got\n%s\nwant\n%s", got, want.tree())
				}
				for _, v := range vars {
					if s.c.index.get(v.ID) != before[v.ID] && !strings.HasPrefix(name, "two") { // of two, one is in the way
						t.Errorf("%d is another node", v.ID)
					}
				}
			})
		}
	}
}

func changed(v model.Variable, change bool) model.Variable {
	if change {
		v.Version, v.Data, v.Size = 2, []byte("newer"), 5
	}
	return v
}

func first(dirs []model.Dir, _ []model.Variable) []model.Dir       { return dirs }
func second(_ []model.Dir, vars []model.Variable) []model.Variable { return vars }
