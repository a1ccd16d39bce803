package sync

import (
	"fmt"
	"slices"
	"testing"

	"github.com/commy-project/commyfs/model"
)

// moveD moves D from S to U.
func (b *bench) moveD() {
	b.t.Helper()
	b.change(serviceS, 2, leaves(dirD, "d", serviceU))
	b.change(serviceU, 2, arrives("n", serviceS, 3)...)
	b.takeTold()
	b.wantIn(serviceU, "n")
}

// Edits that wait when a variable moves to another service are carried out before those that come after.
func TestEditsMoveAlong(t *testing.T) {
	b := newBench(t)
	b.loadS(serviceU)
	old := b.c.index.get(varX).(*Variable)
	out := old.outbox()
	out.busy = true
	first := &Ack{}
	out.queue = append(out.queue, first)
	out.mu.Unlock()
	b.moveD()
	now := old.Now()
	if !now.Dirty() {
		t.Error("nothing waits where it is now")
	}
	second := old.Enqueue(Edit{Kind: EditAppend, Data: []byte("x")}) // by who has not noticed
	third := now.Enqueue(Edit{Kind: EditAppend, Data: []byte("y")})
	if !slices.Equal(out.queue, []*Ack{first, second, third}) {
		t.Errorf("queued are %v", out.queue)
	}
	out.mu.Lock()
	old.endLocked(out)
	out.mu.Unlock()
	if next := now.outbox(); next == out || len(next.queue) > 0 {
		t.Error("what is over goes on")
	} else {
		next.mu.Unlock()
	}
}

// Changes of what is cached are told to make it old wherever it has gone.
func TestCachedMovesAlong(t *testing.T) {
	b := newBench(t)
	var old []uint64
	b.c.opts.OnCached = func(ids []uint64, confirm func()) {
		old = append(old, ids...)
		confirm()
	}
	b.loadS(serviceU)
	b.c.cached.of.add(serviceS, varY)
	b.sess.asks.add(serviceS, varY)
	b.change(serviceS, 2, leaves(dirD, "d", serviceU))
	if !slices.Equal(old, []uint64{varY}) {
		t.Errorf("old are %v when it leaves", old)
	}
	old = nil
	b.change(serviceU, 2, arrives("n", serviceS, 3)...)
	if !slices.Equal(old, []uint64{varY}) {
		t.Errorf("old are %v when it comes", old)
	}
	old = nil
	b.change(serviceU, 3, model.Event{Kind: model.EventSet, ID: varY, Name: "n/e/y", Version: 4, Size: 1, Data: []byte("z")})
	if !slices.Equal(old, []uint64{varY}) {
		t.Errorf("old are %v when it changes there", old)
	}
	if _, ok := b.sess.asks[serviceU][varY]; !ok {
		t.Error("a question would not be answered")
	}
	b.c.Uncache(t.Context(), serviceS, varY) // by who has not noticed
	if len(b.c.cached.of)+len(b.c.cached.carried) > 0 {
		t.Errorf("cached are %v, %v", b.c.cached.of, b.c.cached.carried)
	}
}

// A walk over a directory that moves to another service goes on with what is there.
func TestWalkOverWhatMoves(t *testing.T) {
	b := newBench(t)
	b.loadS(serviceU)
	c := b.c.index.get(dirD).(*Dir).Cursor()
	defer c.Close()
	dst := make([]Child, 1)
	if c.Next(dst) != 1 || dst[0].Name != "e" {
		t.Fatalf("first %v", dst)
	}
	b.moveD()
	if c.Next(dst) != 1 || dst[0].Name != "x" || dst[0].Node != b.c.index.get(varX) {
		t.Errorf("then %v", dst)
	}
	if c.Next(dst) != 0 {
		t.Errorf("and %v", dst)
	}
}

// Very many variables can move one by one, in one step of each service.
func TestManyMovedOneByOne(t *testing.T) {
	const many = 20_000
	b := newBench(t)
	var vars []model.Variable
	var left, come []model.Event
	left = append(left, model.Event{Kind: model.EventMkdir, ID: 5, Name: "new"})
	for i := range uint64(many) {
		v := model.Variable{ID: 1000 + i, Name: fmt.Sprintf("d/%06d", i), Version: 1, Size: 1, Data: []byte("x")}
		vars = append(vars, v)
		left = append(left, model.Event{Kind: model.EventDelete, ID: v.ID, Name: v.Name, Moved: serviceU})
		come = append(come, model.Event{Kind: model.EventSet, Created: true, ID: v.ID, Name: v.Name[2:], Version: 1, Size: 1, Data: v.Data, Moved: serviceS})
	}
	left = append(left, model.Event{Kind: model.EventRmdir, ID: dirD, Name: "d"})
	b.list(serviceS, 1, []model.Dir{{ID: dirD, Name: "d"}}, vars)
	b.list(serviceU, 1, nil, nil)
	b.change(serviceS, 2, left...)
	b.change(serviceU, 2, come...)
	got := b.takeTold()
	if len(got) != many+2 || got[0] != "created s/new" || got[1] != "renamed 1000 s/d/000000 u/000000" || got[many+1] != "deleted s/d" {
		t.Errorf("%d notices", len(got))
	}
	if m := &b.c.moves; len(m.left)+len(m.at)+len(m.under)+len(m.paused) > 0 {
		t.Errorf("left behind are %d, %d, %d, %d", len(m.left), len(m.at), len(m.under), len(m.paused))
	}
}

// One of the services goes while the other half is to come.
func TestServiceGoesBeforeTheOtherHalf(t *testing.T) {
	drop := func(b *bench, id uint64) {
		b.sess.TreeChanged(&model.TreeChanges{Changes: []model.TreeChange{{Gone: true, Service: model.Service{ID: id}}}})
		b.mu.Lock()
		defer b.mu.Unlock()
		if last := b.told[len(b.told)-1]; last.Kind != Deleted || last.ID != id {
			t.Errorf("last was told %+v", last)
		}
		b.told = b.told[:len(b.told)-1]
	}
	t.Run("that it was in", func(t *testing.T) {
		b := newBench(t)
		b.loadS(serviceU)
		b.change(serviceU, 2, arrives("n", serviceS, 3)...)
		drop(b, serviceS)
		b.want("created u/n", "created u/n/e", "created u/n/e/y", "created u/n/x")
		if n := b.c.index.get(varX); serviceID(n) != serviceU {
			t.Errorf("it is %v", n)
		}
	})
	t.Run("that it has come to", func(t *testing.T) {
		b := newBench(t)
		b.loadS(serviceU)
		b.change(serviceU, 2, arrives("n", serviceS, 3)...)
		drop(b, serviceU)
		b.want()
		if n := b.c.index.get(varX); serviceID(n) != serviceS {
			t.Errorf("it is %v", n)
		}
	})
}

// A service that is sent again as a whole does not say where something has gone: that comes behind it.
func TestMovedOutOfWhatIsSentAgain(t *testing.T) {
	t.Run("moved", func(t *testing.T) {
		b := newBench(t)
		b.loadS(serviceU)
		b.pinged = make(chan struct{})
		b.sess.Replaced(&model.Snapshot{Service: serviceS, Rev: 2})
		b.want()
		b.change(serviceU, 2, arrives("n", serviceS, 3)...)
		b.want() // more can come
		close(b.pinged)
		b.c.wg.Wait()
		b.want("renamed 10 s/d u/n 20:1-3 21:1-3")
		b.wantIn(serviceU, "n")
	})
	t.Run("gone", func(t *testing.T) {
		b := newBench(t)
		b.loadS(serviceU)
		b.pinged = make(chan struct{})
		b.sess.Replaced(&model.Snapshot{Service: serviceS, Rev: 2})
		b.want()
		close(b.pinged)
		b.c.wg.Wait()
		b.want("deleted s/d/e/y", "deleted s/d/e", "deleted s/d/x", "deleted s/d")
		b.wantIn(0, "")
		if b.c.moves.gathering != 0 {
			t.Error("it is waited for more")
		}
	})
}

// A service is gone after a time without a connection, and what was in it is in others.
func TestMovedOutOfWhatIsGone(t *testing.T) {
	b := newBench(t)
	b.loadS(serviceU)
	b.c.gather(true)
	b.c.changeTree(func() []Notice {
		return b.c.applyTree([]model.Tenant{{ID: tenantT, Name: "t"}}, []model.Service{{ID: serviceU, Tenant: tenantT, Name: "u"},
			{ID: serviceV, Tenant: tenantT, Name: "v"}, {ID: 5, Tenant: tenantT, Name: "s"}})
	})
	dirs, vars := content("n", 3)
	b.list(serviceU, 5, dirs, vars[:1])
	b.c.gather(false)
	b.mu.Lock()
	defer b.mu.Unlock()
	var got []string
	for _, n := range b.told {
		got = append(got, fmt.Sprint(n.Kind, n.ID, n.OldPath, n.Path))
	}
	want := []string{
		fmt.Sprint(Renamed, dirD, []string{"t", "s", "d"}, []string{"t", "u", "n"}),
		fmt.Sprint(Deleted, serviceS, []string{}, []string{"t", "s"}),
		fmt.Sprint(Created, 5, []string{}, []string{"t", "s"}),
		fmt.Sprint(Deleted, varY, []string{}, []string{"t", "u", "n", "e", "y"}),
	}
	if !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
}

// What came from a service that is not followed, and is back there, was told to be nowhere, and is so still.
func TestCameByAndIsNotFollowed(t *testing.T) {
	b := newBench(t)
	b.list(serviceS, 1, nil, nil)
	dirs, vars := content("d", 3)
	b.lists[serviceU] = &model.Snapshot{Service: serviceU, Rev: 3, Dirs: dirs, Vars: vars}
	b.c.gather(true)
	came := arrives("m", serviceU, 1)
	b.change(serviceS, 3, append(came[:1:1], leaves(dirD, "m", serviceU))...) // nothing is said of what is in it
	b.c.gather(false)
	b.c.wg.Wait()
	b.want()
	b.wantIn(serviceU, "d")
	b.change(serviceU, 4, leaves(dirD, "d", serviceS))
	b.change(serviceS, 4, arrives("n", serviceU, 3)...)
	b.want("renamed 10 u/d s/n")
}

// Edits that wait when a variable is found in another service, after a time without a connection, are carried out before those that come
// after, also before anybody is told where it is.
func TestEditsMoveAlongUntold(t *testing.T) {
	left := func(b *bench) { b.list(serviceS, 2, nil, nil) }
	come := func(b *bench) {
		dirs, vars := content("n", 3)
		b.list(serviceU, 2, dirs, vars)
	}
	gone := func(b *bench) {
		b.c.changeTree(func() []Notice {
			return b.c.applyTree([]model.Tenant{{ID: tenantT, Name: "t"}}, []model.Service{{ID: serviceU, Tenant: tenantT, Name: "u"}})
		})
	}
	for name, steps := range map[string][]func(*bench){
		"left first":             {left, come},
		"come first":             {come, left},
		"its service is gone":    {gone, come},
		"gone after it has come": {come, gone},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.loadS(serviceU)
			old := b.c.index.get(varX).(*Variable)
			waiting := old.outbox()
			waiting.busy = true
			waiting.mu.Unlock()
			b.c.gather(true)
			for _, step := range steps {
				step(b)
			}
			now := old.Now()
			if now == old || now.s.id != serviceU {
				t.Fatalf("it is %v", now)
			}
			out := now.outbox()
			out.mu.Unlock()
			if out != waiting {
				t.Error("what comes now does not wait for what was there")
			}
			b.takeTold() // nothing
			b.c.gather(false)
		})
	}
}
