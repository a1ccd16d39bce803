package locks

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

const (
	shared    = false
	exclusive = true
)

// owner n is one of client n%10.
func owner(n uint64) Owner { return Owner{fmt.Sprint("c", n%10), n} }

func flock(n uint64, mode bool) Lock {
	return Lock{Kind: Flock, Owner: owner(n), Exclusive: mode, Pid: int(n)}
}

func posix(n uint64, mode bool, start, end uint64) Lock {
	return Lock{Kind: Posix, Owner: owner(n), Exclusive: mode, Start: start, End: end, Pid: int(n)}
}

type tester struct {
	*testing.T
	*Table
}

func newTester(t *testing.T) *tester { return &tester{t, New(Limits{})} }

func ids(list []*Waiter) (ids []uint64) {
	for _, w := range list {
		ids = append(ids, w.Owner.ID)
	}
	return ids
}

// get acquires at once; want are the others who get something.
func (t *tester) get(file uint64, l Lock, want ...uint64) {
	t.Helper()
	w, granted, err := t.Acquire(file, l, false, 0)
	if w != nil || err != nil || !slices.Equal(ids(granted), want) {
		t.Errorf("%+v: waits %v, %v, granted %v, want %v", l, w != nil, err, ids(granted), want)
	}
}

func (t *tester) refused(file uint64, l Lock, want error, wait bool, others ...uint64) {
	t.Helper()
	w, granted, err := t.Acquire(file, l, wait, 0)
	if w != nil || !errors.Is(err, want) || !slices.Equal(ids(granted), others) {
		t.Errorf("%+v: waits %v, %v, want %v; granted %v, want %v", l, w != nil, err, want, ids(granted), others)
	}
}

func (t *tester) waits(file uint64, l Lock) *Waiter {
	t.Helper()
	w, granted, err := t.Acquire(file, l, true, 0)
	if w == nil || err != nil || len(granted) > 0 {
		t.Fatalf("%+v: waits %v, %v, granted %v", l, w != nil, err, ids(granted))
	}
	return w
}

func (t *tester) release(file uint64, l Lock, want ...uint64) {
	t.Helper()
	if granted, err := t.Release(file, l); err != nil || !slices.Equal(ids(granted), want) {
		t.Errorf("released %+v: %v, granted %v, want %v", l, err, ids(granted), want)
	}
}

func (t *tester) empty() {
	t.Helper()
	if t.Len() != 0 || len(t.files)+len(t.clients)+len(t.waiting)+len(t.acting) != 0 {
		t.Errorf("left: %d locks, %d files, %d clients, %d that wait, %d processes", t.Len(), len(t.files), len(t.clients), len(t.waiting), len(t.acting))
	}
}

func TestFlock(t *testing.T) {
	x := newTester(t)
	x.get(1, flock(1, shared))
	x.get(1, flock(2, shared))
	x.get(1, flock(2, shared))
	x.refused(1, flock(3, exclusive), ErrHeld, false)
	x.get(2, flock(3, exclusive))
	x.get(1, posix(3, exclusive, 0, MaxOffset)) // another kind
	x.release(1, flock(1, shared))
	x.get(1, flock(2, exclusive)) // alone
	x.refused(1, flock(1, shared), ErrHeld, false)
	x.get(1, flock(2, shared))
	x.get(1, flock(1, shared))
	// Who wants another mode loses what it has, as on Linux.
	x.refused(1, flock(2, exclusive), ErrHeld, false)
	x.get(1, flock(1, exclusive))
	x.release(1, flock(1, shared))
	x.release(1, flock(1, shared))
	x.release(1, posix(3, shared, 0, MaxOffset))
	x.release(2, flock(3, shared))
	x.empty()
}

func TestFlock_InOrder(t *testing.T) {
	x := newTester(t)
	x.get(1, flock(1, exclusive))
	for n := uint64(2); n < 66; n++ {
		x.waits(1, flock(n, exclusive))
	}
	x.refused(1, flock(99, exclusive), ErrHeld, false)
	for n := uint64(1); n < 65; n++ {
		x.release(1, flock(n, shared), n+1)
	}
	x.release(1, flock(65, shared))
	x.empty()
}

// Who comes later does not go by who waits, and readers that come together get it together.
func TestFlock_Fair(t *testing.T) {
	x := newTester(t)
	x.get(1, flock(1, shared))
	x.waits(1, flock(2, exclusive))
	x.refused(1, flock(3, shared), ErrHeld, false)
	x.waits(1, flock(3, shared))
	x.waits(1, flock(4, shared))
	x.waits(1, flock(5, exclusive))
	x.get(1, flock(1, shared)) // has it
	x.release(1, flock(1, shared), 2)
	x.release(1, flock(2, shared), 3, 4)
	x.release(1, flock(3, shared))
	x.release(1, flock(4, shared), 5)
	x.release(1, flock(5, shared))
	x.empty()
}

// A shared lock that is to become exclusive goes behind who waits already, and lets them in.
func TestFlock_Upgrade(t *testing.T) {
	x := newTester(t)
	x.get(1, flock(1, shared))
	x.waits(1, flock(2, exclusive))
	w, granted, err := x.Acquire(1, flock(1, exclusive), true, 0)
	if w == nil || err != nil || !slices.Equal(ids(granted), []uint64{2}) {
		t.Fatalf("waits %v, %v, granted %v", w != nil, err, ids(granted))
	}
	x.release(1, flock(2, shared), 1)
	x.release(1, flock(1, shared))
	x.empty()
}

func TestCancel(t *testing.T) {
	x := newTester(t)
	x.get(1, flock(1, shared))
	w := x.waits(1, flock(2, exclusive))
	x.waits(1, flock(3, shared))
	if granted, ok := x.Cancel(w); !ok || !slices.Equal(ids(granted), []uint64{3}) {
		t.Errorf("%v, granted %v", ok, ids(granted))
	}
	if _, ok := x.Cancel(w); ok {
		t.Error("cancelled twice")
	}
	x.release(1, flock(1, shared))
	x.release(1, flock(3, shared))
	x.empty()
}

func ranges(list []Entry) (s string) {
	for _, e := range list {
		mode := "r"
		if e.Exclusive {
			mode = "w"
		}
		s += fmt.Sprintf("%s%d-%d ", mode, e.Start, e.End)
	}
	return s
}

func TestPosix_Ranges(t *testing.T) {
	for _, tt := range []struct {
		ops  []Lock // Since < 0: to be released
		want string
	}{
		{[]Lock{posix(1, exclusive, 0, 9), posix(1, exclusive, 10, 19)}, "w0-19 "},
		{[]Lock{posix(1, exclusive, 10, 19), posix(1, exclusive, 0, 9)}, "w0-19 "},
		{[]Lock{posix(1, exclusive, 0, 9), posix(1, shared, 10, 19)}, "w0-9 r10-19 "},
		{[]Lock{posix(1, exclusive, 0, 29), posix(1, shared, 10, 19)}, "w0-9 r10-19 w20-29 "},
		{[]Lock{posix(1, exclusive, 0, 29), posix(1, shared, 10, 19), posix(1, exclusive, 10, 19)}, "w0-29 "},
		{[]Lock{posix(1, shared, 0, 9), posix(1, shared, 20, 29), posix(1, shared, 5, 24)}, "r0-29 "},
		{[]Lock{posix(1, shared, 0, 9), posix(1, shared, 20, 29), posix(1, exclusive, 5, 24)}, "r0-4 w5-24 r25-29 "},
		{[]Lock{posix(1, shared, 5, 9), posix(1, shared, 20, 29), posix(1, exclusive, 0, MaxOffset)}, "w0-9223372036854775807 "},
		{[]Lock{posix(1, shared, 5, 9), released(posix(1, shared, 7, 7))}, "r5-6 r8-9 "},
		{[]Lock{posix(1, shared, 5, 9), released(posix(1, shared, 0, 7))}, "r8-9 "},
		{[]Lock{posix(1, shared, 5, 9), released(posix(1, shared, 7, MaxOffset))}, "r5-6 "},
		{[]Lock{posix(1, shared, 0, MaxOffset), released(posix(1, shared, MaxOffset, MaxOffset))}, "r0-9223372036854775806 "},
		{[]Lock{posix(1, shared, 5, 9), released(posix(1, shared, 10, 20)), released(posix(2, shared, 0, MaxOffset))}, "r5-9 "},
	} {
		x := newTester(t)
		for _, l := range tt.ops {
			if l.Since < 0 {
				x.release(1, l)
			} else {
				x.get(1, l)
			}
		}
		if got := ranges(x.Of(1)); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.ops, got, tt.want)
		}
		x.release(1, posix(1, shared, 0, MaxOffset))
		x.empty()
	}
}

func released(l Lock) Lock { l.Since = -1; return l }

func TestPosix_Conflicts(t *testing.T) {
	x := newTester(t)
	x.get(1, posix(1, exclusive, 10, 19))
	x.get(1, posix(2, exclusive, 20, 29))
	x.refused(1, posix(2, shared, 19, 19), ErrHeld, false)
	x.refused(1, posix(3, exclusive, 0, MaxOffset), ErrHeld, false)
	if l, ok := x.Conflict(1, posix(3, shared, 15, 25)); !ok || l.Owner != owner(1) || l.Start != 10 || l.End != 19 || !l.Exclusive {
		t.Errorf("conflict with %+v, %v", l, ok)
	}
	if _, ok := x.Conflict(1, posix(1, shared, 15, 19)); ok {
		t.Error("conflict with itself")
	}
	if !x.Holds(1, posix(1, exclusive, 12, 13)) || x.Holds(1, posix(1, exclusive, 12, 20)) || x.Holds(1, posix(1, shared, 12, 13)) {
		t.Error("what it holds")
	}
	x.waits(1, posix(3, shared, 15, 25))
	x.get(1, posix(1, shared, 12, 19))        // all but 10 and 11 is open to readers now
	x.release(1, posix(2, shared, 20, 29), 3) // both are
	x.refused(1, posix(1, exclusive, 15, 15), ErrHeld, false)
	x.release(1, posix(3, shared, 0, MaxOffset))
	x.release(1, posix(1, shared, 0, MaxOffset))
	x.empty()
}

// An owner that waits is not in its own way, nor in that of who it waits for.
func TestPosix_Own(t *testing.T) {
	x := newTester(t)
	x.get(1, posix(1, exclusive, 0, 0))
	x.waits(1, posix(2, exclusive, 0, 9))
	x.get(1, posix(1, exclusive, 5, 5)) // 2 waits for 1
	x.refused(1, posix(3, shared, 7, 7), ErrHeld, false)
	x.get(1, posix(2, exclusive, 7, 7))
	x.release(1, posix(1, shared, 0, 9), 2)
	x.release(1, posix(2, shared, 0, 9))
	x.empty()
}

func TestPosix_Deadlock(t *testing.T) {
	x := newTester(t)
	x.get(1, posix(1, exclusive, 1, 1))
	x.get(2, posix(2, exclusive, 2, 2))
	x.get(3, posix(3, exclusive, 3, 3))
	x.waits(2, posix(1, exclusive, 0, 9))
	x.waits(3, posix(2, shared, 0, 9))
	x.refused(1, posix(3, shared, 0, 9), ErrDeadlock, true)
	x.refused(1, posix(3, shared, 0, 9), ErrHeld, false)
	described := posix(3, shared, 0, 9)
	described.Described = true
	w := x.waits(1, described) // somebody else can unlock what it has
	x.Cancel(w)
	x.waits(1, posix(4, shared, 0, 9)) // has nothing
	x.release(3, posix(3, shared, 3, 3), 2)
	x.release(2, posix(2, shared, 2, 2), 1)
	x.release(1, posix(1, shared, 0, 9), 4)
	for n := range uint64(5) {
		for f := range uint64(4) {
			x.release(f, posix(n, shared, 0, MaxOffset))
		}
	}
	x.empty()
}

// Two readers that would both write: the second one is told.
func TestPosix_DeadlockOfUpgrades(t *testing.T) {
	x := newTester(t)
	x.get(1, posix(1, shared, 0, 9))
	x.get(1, posix(2, shared, 0, 9))
	x.waits(1, posix(1, exclusive, 0, 9))
	x.refused(1, posix(2, exclusive, 0, 9), ErrDeadlock, true)
	x.release(1, posix(2, shared, 0, 9), 1)
	x.release(1, posix(1, shared, 0, 9))
	x.empty()
}

// A place in a line alone is no reason for a circle: on Linux 3 would have got its lock at once.
func TestTied(t *testing.T) {
	for _, lock := range []func(n uint64, mode bool) Lock{flock, func(n uint64, mode bool) Lock { return posix(n, mode, 0, 9) }} {
		x := newTester(t)
		second := lock(1, exclusive) // the same process by another description
		second.Owner.ID = 101
		if second.Kind == Posix {
			second.Owner.ID = 1
		}
		x.get(1, lock(1, shared))
		x.get(2, lock(3, exclusive))
		x.waits(1, lock(2, exclusive))
		w := x.waits(1, lock(3, shared)) // behind 2
		_, granted, err := x.Acquire(2, second, true, 0)
		if err != nil || !slices.Equal(ids(granted), []uint64{3}) || granted[0] != w {
			t.Errorf("granted %v, %v", ids(granted), err)
		}
		x.release(2, lock(3, shared), second.Owner.ID)
		x.release(1, lock(3, shared))
		x.release(1, lock(1, shared), 2)
		x.release(1, lock(2, shared))
		x.release(2, second)
		x.empty()
	}
}

func TestReleaseClient(t *testing.T) {
	x := newTester(t)
	x.get(1, flock(1, exclusive))
	x.get(1, posix(11, exclusive, 0, 9))
	x.waits(1, flock(2, shared))
	x.waits(1, flock(21, exclusive))
	x.waits(1, flock(3, shared))
	x.get(2, flock(2, exclusive))
	x.waits(2, flock(31, exclusive))
	if got := len(x.OfClient("c1")); got != 4 {
		t.Errorf("%d of the client's", got)
	}
	if granted := ids(x.ReleaseClient("c1")); !slices.Equal(granted, []uint64{2, 3}) {
		t.Errorf("granted %v", granted)
	}
	if x.LenOf("c1") != 0 || x.Len() != 3 {
		t.Errorf("left %d, %d", x.LenOf("c1"), x.Len())
	}
	x.ReleaseClient("c2")
	x.ReleaseClient("c3")
	x.empty()
}

func TestRestore(t *testing.T) {
	x := newTester(t)
	if !x.Restore(1, flock(1, exclusive)) || x.Restore(1, flock(2, shared)) || !x.Restore(1, posix(2, shared, 3, 4)) || x.Restore(1, posix(1, exclusive, 4, 3)) {
		t.Error("restored")
	}
	early, late := flock(5, exclusive), flock(6, exclusive)
	early.Since, late.Since = 10, 20
	x.waits(1, late)
	x.waits(1, early)
	x.release(1, flock(1, shared), 5)
}

func TestFreeze(t *testing.T) {
	x := newTester(t)
	x.Freeze()
	early, late := flock(2, exclusive), flock(3, exclusive)
	early.Since, late.Since = 10, 20
	x.waits(1, late)
	x.waits(1, early)
	try := flock(4, shared)
	try.Since = 30
	w, _, err := x.Acquire(1, try, false, 0)
	if w == nil || !w.Try || err != nil {
		t.Fatalf("%v, %v", w, err)
	}
	if _, _, err := x.Acquire(2, flock(4, shared), false, 0); err != nil {
		t.Fatal(err)
	}
	if !x.Restore(1, flock(1, shared)) {
		t.Error("not restored")
	}
	x.get(1, flock(1, shared))
	granted, refused := x.Thaw()
	if !slices.Equal(ids(granted), []uint64{4}) || !slices.Equal(ids(refused), []uint64{4}) || granted[0].File != 2 {
		t.Errorf("granted %v, refused %v", ids(granted), ids(refused))
	}
	x.release(1, flock(1, shared), 2)
	x.release(1, flock(2, shared), 3)
	x.release(1, flock(3, shared))
	x.release(2, flock(4, shared))
	x.empty()
}

func TestLimits(t *testing.T) {
	x := &tester{t, New(Limits{Client: 3, Total: 4})}
	x.get(1, posix(1, exclusive, 0, 9))
	x.get(1, posix(1, exclusive, 20, 29))
	x.get(1, posix(1, exclusive, 40, 49))
	x.refused(1, posix(1, exclusive, 60, 60), ErrTooMany, false)
	x.refused(2, flock(11, shared), ErrTooMany, false)
	if _, err := x.Release(1, posix(1, shared, 5, 5)); !errors.Is(err, ErrTooMany) {
		t.Errorf("cut in two: %v", err)
	}
	x.get(1, posix(1, exclusive, 0, 49)) // makes less
	x.get(1, flock(2, shared))
	x.waits(1, flock(3, exclusive))
	x.waits(1, flock(4, exclusive))
	x.refused(1, flock(5, exclusive), ErrTooMany, true)
	x.refused(9, flock(5, exclusive), ErrTooMany, false)
	x.release(1, flock(2, shared), 3) // also when there is no room: it has one already
	x.refused(1, Lock{Kind: Posix, Start: 2, End: 1}, ErrRange, false)
	x.refused(1, Lock{Kind: Posix, End: MaxOffset + 1}, ErrRange, false)
	x.refused(1, Lock{Kind: kinds}, ErrRange, false)
}

func BenchmarkFlock(b *testing.B) {
	t := New(Limits{Client: 1 << 14, Total: 1 << 18})
	l := flock(1, exclusive)
	b.ReportAllocs()
	for b.Loop() {
		_, _, _ = t.Acquire(1, l, true, 1)
		_, _ = t.Release(1, l)
	}
}

// BenchmarkManyWaiters hands a lock to one of very many.
func BenchmarkManyWaiters(b *testing.B) {
	t := New(Limits{})
	const n = 10_000
	for i := range uint64(n) {
		_, _, _ = t.Acquire(1, flock(i+1, exclusive), true, 0)
	}
	next := uint64(0)
	for b.Loop() {
		_, _ = t.Release(1, flock(next%n+1, shared))
		_, _, _ = t.Acquire(1, flock(next%n+1, exclusive), true, 0)
		next++
	}
}
