package sync

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/commy-project/commyfs/model"
)

func TestMovedToAnotherService(t *testing.T) {
	b := newBench(t)
	b.loadS(serviceU)
	old := b.c.index.get(varX).(*Variable)
	b.change(serviceS, 2, leaves(dirD, "d", serviceU))
	b.want()
	if old.Removed() || !old.Gone() {
		t.Errorf("removed %v, gone %v", old.Removed(), old.Gone())
	}
	b.change(serviceU, 2, arrives("n", serviceS, 3)...)
	b.want("renamed 10 s/d u/n 20:1-3 21:1-3")
	b.wantIn(serviceU, "n")
	if now := old.Now(); now == old || now.s.id != serviceU || now.Name() != "n/x" {
		t.Errorf("it has become %v", now)
	}
	if b.c.index.get(dirE).(*Dir).Gone() {
		t.Error("a directory in it is gone")
	}
}

// The stream of the service that it has left is behind.
func TestMovedAheadOfWhatWasLeft(t *testing.T) {
	ways := map[string]func(b *bench){
		"its event":  func(b *bench) { b.change(serviceS, 2, leaves(dirD, "d", serviceU)) },
		"all of it":  func(b *bench) { b.list(serviceS, 2, nil, nil) },
		"let go":     func(b *bench) { b.service(serviceS).leave(b.sess) },
		"other ways": func(b *bench) { b.list(serviceS, 2, nil, nil) },
	}
	for name, left := range ways {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			if name == "other ways" { // the whole of the other service is there first
				b.loadS(serviceU)
				dirs, vars := content("n", 3)
				b.list(serviceU, 2, dirs, vars)
			} else {
				b.loadS(serviceU)
				b.change(serviceU, 2, arrives("n", serviceS, 3)...)
			}
			b.want()
			if serviceID(b.c.index.get(varX)) != serviceU {
				t.Error("the index has the old one")
			}
			left(b)
			b.want("renamed 10 s/d u/n 20:1-3 21:1-3")
			b.wantIn(serviceU, "n")
		})
	}
}

func TestMovedIntoWhatIsSentAgain(t *testing.T) {
	b := newBench(t)
	b.loadS(serviceU)
	b.change(serviceS, 2, leaves(dirD, "d", serviceU))
	dirs, vars := content("n", 3)
	vars[0].Version, vars[0].MTime, vars[0].Data = 9, 8, []byte("new")
	b.list(serviceU, 5, append(dirs, model.Dir{ID: 30, Name: "n/f"}), vars[:1])
	b.want("renamed 10 s/d u/n", "created u/n/f", "deleted u/n/e/y", "modified u/n/x")
}

// A service that is not watched is loaded.
func TestMovedIntoWhatIsNotWatched(t *testing.T) {
	for name, tt := range map[string]struct {
		rev  int64
		has  bool
		want []string
	}{
		"there":    {2, true, []string{"renamed 10 s/d u/n 20:1-3 21:1-3"}},
		"moved on": {2, false, []string{"deleted s/d/e/y", "deleted s/d/e", "deleted s/d/x", "deleted s/d"}},
		"denied":   {0, false, []string{"deleted s/d/e/y", "deleted s/d/e", "deleted s/d/x", "deleted s/d"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.loadS()
			if tt.rev != 0 {
				b.lists[serviceU] = &model.Snapshot{Service: serviceU, Rev: tt.rev}
			}
			if tt.has {
				b.lists[serviceU].Dirs, b.lists[serviceU].Vars = content("n", 3)
			}
			b.change(serviceS, 2, leaves(dirD, "d", serviceU))
			b.c.wg.Wait()
			b.want(tt.want...)
			in := uint64(0)
			if tt.has {
				in = serviceU
			}
			b.wantIn(in, "n")
		})
	}
}

// It is loaded of an earlier moment: the other half is still to come.
func TestMovedIntoWhatWasLoadedBefore(t *testing.T) {
	b := newBench(t)
	b.loadS()
	b.lists[serviceU] = &model.Snapshot{Service: serviceU, Rev: 1}
	b.change(serviceS, 2, leaves(dirD, "d", serviceU))
	b.c.wg.Wait()
	b.want()
	b.change(serviceU, 2, arrives("n", serviceS, 1)...)
	b.want("renamed 10 s/d u/n")
	b.wantIn(serviceU, "n")
}

func TestMovedOn(t *testing.T) {
	gone := []string{"deleted s/d/e/y", "deleted s/d/e", "deleted s/d/x", "deleted s/d"}
	t.Run("where it is seen", func(t *testing.T) {
		b := newBench(t)
		b.loadS(serviceU, serviceV)
		b.change(serviceS, 2, leaves(dirD, "d", serviceU))
		b.change(serviceV, 3, arrives("n", serviceU, 1)...)
		b.want("renamed 10 s/d v/n")
		b.change(serviceU, 3, append(arrives("m", serviceS, 1), leaves(dirD, "m", serviceV))...)
		b.want()
		b.wantIn(serviceV, "n")
	})
	t.Run("step by step", func(t *testing.T) {
		b := newBench(t)
		b.loadS(serviceU, serviceV)
		b.change(serviceS, 2, leaves(dirD, "d", serviceU))
		b.change(serviceU, 3, append(arrives("m", serviceS, 1), leaves(dirD, "m", serviceV))...)
		b.change(serviceV, 3, arrives("n", serviceU, 1)...)
		b.want("renamed 10 s/d u/m", "renamed 10 u/m v/n")
		b.wantIn(serviceV, "n")
	})
	t.Run("back, and the other is late", func(t *testing.T) {
		b := newBench(t)
		b.loadS(serviceU)
		b.change(serviceS, 3, append([]model.Event{leaves(dirD, "d", serviceU)}, arrives("d", serviceU, 4)...)...)
		b.want("meta s/d")
		b.change(serviceU, 3, append(arrives("n", serviceS, 2), leaves(dirD, "n", serviceS))...)
		b.want()
		b.wantIn(serviceS, "d")
	})
	t.Run("back, and the other comes in parts", func(t *testing.T) {
		b := newBench(t)
		b.loadS(serviceU)
		b.change(serviceS, 3, append([]model.Event{leaves(dirD, "d", serviceU)}, arrives("m", serviceU, 1)...)...)
		b.want("renamed 10 s/d s/m")
		b.change(serviceU, 2, arrives("n", serviceS, 1)...)
		b.change(serviceU, 3, leaves(dirD, "n", serviceS))
		b.want()
		b.wantIn(serviceS, "m")
	})
	t.Run("removed there", func(t *testing.T) {
		b := newBench(t)
		b.loadS(serviceU)
		b.change(serviceS, 2, leaves(dirD, "d", serviceU))
		b.change(serviceU, 3, model.Event{Kind: model.EventMkdir, ID: 40, Name: "k"})
		got := b.takeTold()
		slices.Sort(got)
		if want := slices.Sorted(slices.Values(append([]string{"created u/k"}, gone...))); !slices.Equal(got, want) {
			t.Errorf("told %q", got)
		}
		b.wantIn(0, "")
	})
	t.Run("out of sight", func(t *testing.T) {
		b := newBench(t)
		b.loadS()
		b.change(serviceS, 2, leaves(dirD, "d", 99))
		b.want(gone...)
		b.wantIn(0, "")
	})
	t.Run("the service is gone", func(t *testing.T) {
		b := newBench(t)
		b.loadS(serviceU)
		b.change(serviceS, 2, leaves(dirD, "d", serviceU))
		b.sess.TreeChanged(&model.TreeChanges{Changes: []model.TreeChange{{Gone: true, Service: model.Service{ID: serviceU}}}})
		b.mu.Lock()
		b.told = b.told[:len(b.told)-1] // of the service
		b.mu.Unlock()
		b.want(gone...)
	})
}

// The two notices of an exchange come one right behind the other.
func TestExchangedAcrossServices(t *testing.T) {
	const other = 50
	for name, order := range map[string][]uint64{"one way": {serviceS, serviceU}, "the other way": {serviceU, serviceS}, "in steps": nil} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.loadS()
			b.list(serviceU, 1, []model.Dir{{ID: other, Name: "o"}}, nil)
			b.takeTold()
			events := map[uint64][]model.Event{}
			out, in := leaves(dirD, "d", serviceU), model.Event{Kind: model.EventMkdir, ID: other, Name: "d", Moved: serviceU, Other: dirD}
			out.Other = other
			events[serviceS] = []model.Event{out, in, {Kind: model.EventMkdir, ID: 60, Name: "later"}}
			back := leaves(other, "o", serviceS)
			back.Other = dirD
			came := arrives("o", serviceS, 1)
			came[0].Other = other
			events[serviceU] = append([]model.Event{back}, came...)
			if order == nil { // as the server does
				b.change(serviceS, 2, events[serviceS][0])
				b.change(serviceU, 2, events[serviceU]...)
				b.change(serviceS, 2, events[serviceS][1:]...)
			}
			for _, id := range order {
				b.change(id, 2, events[id]...)
			}
			b.mu.Lock()
			at := slices.IndexFunc(b.told, func(n Notice) bool { return n.Kind == Renamed })
			if at < 0 || len(b.told) < at+2 {
				t.Fatalf("told %+v", b.told)
			}
			x, y := b.told[at], b.told[at+1]
			if y.Kind != Renamed || !slices.Equal(x.Path, y.OldPath) || !slices.Equal(x.OldPath, y.Path) || x.Parent != y.OldParent ||
				x.OldParent != y.Parent || x.ID == y.ID || !x.Dir || !y.Dir || x.Service == y.Service {
				t.Errorf("told %+v", b.told)
			}
			b.mu.Unlock()
			if got := b.takeTold(); len(got) != 3 || !slices.Contains(got, "created s/later") {
				t.Errorf("told %q", got)
			}
			b.wantIn(serviceU, "o")
		})
	}
}

// What is told of a service keeps its order: what takes the name, or removes the directory, comes behind.
func TestWhatHangsOnAMoveComesBehind(t *testing.T) {
	b := newBench(t)
	b.list(serviceS, 1, []model.Dir{{ID: 70, Name: "p"}, {ID: dirD, Name: "p/d"}}, nil)
	b.list(serviceU, 1, nil, nil)
	b.takeTold()
	b.change(serviceS, 3, leaves(dirD, "p/d", serviceU), model.Event{Kind: model.EventMkdir, ID: 71, Name: "p/d"},
		model.Event{Kind: model.EventRmdir, ID: 71, Name: "p/d"}, model.Event{Kind: model.EventRmdir, ID: 70, Name: "p"})
	b.change(serviceS, 4, model.Event{Kind: model.EventMkdir, ID: 72, Name: "q"})
	b.want()
	b.change(serviceU, 3, model.Event{Kind: model.EventMkdir, ID: dirD, Name: "n", Moved: serviceS})
	b.mu.Lock()
	if r := b.told[0]; r.OldTold != 1 || r.OldRev != 3 {
		t.Errorf("%d is told of %d, and more comes", r.OldTold, r.OldRev)
	}
	if last := b.told[len(b.told)-1]; last.Told != 4 {
		t.Errorf("%d is told, and all has been up to 4", last.Told)
	}
	b.mu.Unlock()
	b.want("renamed 10 s/p/d u/n", "created s/p/d", "deleted s/p/d", "deleted s/p", "created s/q")
}

// A token of what is told meanwhile does not stand for what waits.
func TestToldUpToWhatWaits(t *testing.T) {
	b := newBench(t)
	b.loadS(serviceU)
	b.change(serviceS, 5, leaves(dirD, "d", serviceU), model.Event{Kind: model.EventMkdir, ID: 80, Name: "a"})
	b.change(serviceS, 6, model.Event{Kind: model.EventMkdir, ID: 81, Name: "b"})
	b.mu.Lock()
	for _, n := range b.told {
		if n.Told != 1 {
			t.Errorf("%v: told up to %d", n.Path, n.Told)
		}
	}
	b.mu.Unlock()
	b.change(serviceU, 5, arrives("n", serviceS, 1)...)
	b.change(serviceS, 7, model.Event{Kind: model.EventMkdir, ID: 82, Name: "c"})
	b.mu.Lock()
	if n := b.told[len(b.told)-1]; n.Told != 7 {
		t.Errorf("told up to %d", n.Told)
	}
	b.mu.Unlock()
	b.want("created s/a", "created s/b", "renamed 10 s/d u/n", "created s/c")
}

func TestVariableMovedToAnotherService(t *testing.T) {
	b := newBench(t)
	b.list(serviceS, 1, nil, []model.Variable{{ID: varTop, Name: "v", Version: 1, Size: 1, MTime: 4, Data: []byte("v"), Writer: "w"}})
	b.list(serviceU, 1, nil, nil)
	b.change(serviceS, 2, model.Event{Kind: model.EventDelete, ID: varTop, Name: "v", Moved: serviceU, Own: true})
	b.change(serviceU, 2, model.Event{Kind: model.EventSet, Created: true, ID: varTop, Name: "n", Version: 5, Size: 1, MTime: 4, Data: []byte("v"),
		Writer: "w", Moved: serviceS})
	b.mu.Lock()
	if n := b.told[0]; !n.Own || n.Dir || n.Variable != nil || n.Parent != serviceU || n.OldParent != serviceS {
		t.Errorf("told %+v", n)
	}
	b.mu.Unlock()
	b.want("renamed 22 s/v u/n 22:1-5")
}

// Both are brought up to date after a time without a connection.
func TestMovedWhileAway(t *testing.T) {
	for name, order := range map[string][]uint64{"the old one first": {serviceS, serviceU}, "the new one first": {serviceU, serviceS}} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			dirs, vars := content("d", 1)
			b.list(serviceS, 1, append(dirs, model.Dir{ID: 90, Name: "gone"}), vars)
			b.list(serviceU, 1, []model.Dir{{ID: 91, Name: "stays"}}, nil)
			b.c.gather(true)
			for _, id := range order {
				if id == serviceS {
					b.list(serviceS, 5, nil, nil)
					continue
				}
				dirs, vars := content("n", 3)
				b.list(serviceU, 5, append(dirs, model.Dir{ID: 91, Name: "stays"}), vars)
			}
			b.c.gather(false)
			got := b.takeTold()
			slices.Sort(got)
			if want := []string{"deleted s/gone", "renamed 10 s/d u/n 20:1-3 21:1-3"}; !slices.Equal(got, want) {
				t.Errorf("told %q, want %q", got, want)
			}
			b.wantIn(serviceU, "n")
		})
	}
}

func TestHalfThatWaitsTooLong(t *testing.T) {
	b := newBench(t)
	b.loadS(serviceU)
	b.change(serviceS, 2, leaves(dirD, "d", serviceU))
	b.c.steps.Lock()
	if b.c.moves.timer == nil {
		t.Error("nobody looks after it")
	}
	b.c.moves.left[dirD].since = time.Now().Add(-time.Hour)
	b.c.steps.Unlock()
	b.c.overdue(time.Minute)
	b.want("deleted s/d/e/y", "deleted s/d/e", "deleted s/d/x", "deleted s/d")
	b.wantIn(0, "")
}

// There can be very much in a directory.
func TestManyMoved(t *testing.T) {
	const many = 20_000
	b := newBench(t)
	var vars []model.Variable
	for i := range uint64(many) {
		vars = append(vars, model.Variable{ID: 1000 + i, Name: fmt.Sprintf("d/%06d", i), Version: 1, Size: 1, Data: []byte("x")})
	}
	b.list(serviceS, 1, []model.Dir{{ID: dirD, Name: "d"}}, vars)
	b.list(serviceU, 1, nil, nil)
	b.change(serviceS, 2, leaves(dirD, "d", serviceU))
	events := []model.Event{{Kind: model.EventMkdir, ID: dirD, Name: "n", Moved: serviceS}}
	for _, v := range vars {
		events = append(events, model.Event{Kind: model.EventSet, Created: true, ID: v.ID, Name: "n" + v.Name[1:], Version: 2, Size: 1, Data: v.Data, Moved: serviceS})
	}
	b.change(serviceU, 2, events...)
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.told) != 1 || len(b.told[0].Risen) != many {
		t.Fatalf("%d notices, %d versions", len(b.told), len(b.told[0].Risen))
	}
}
