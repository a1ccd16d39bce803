package locks

import (
	"fmt"
	"testing"
	"time"
)

// A server's other work waits while the table is asked: with very many locks of a file, and with many who wait and have others, no
// single request takes long.
func TestManyLocks(t *testing.T) {
	const many, bound = 3000, 250 * time.Millisecond
	for _, kind := range []Kind{Flock, Posix} {
		var worst time.Duration
		timed := func(what string, fn func()) {
			t.Helper()
			start := time.Now()
			fn()
			took := time.Since(start)
			if worst = max(worst, took); took > bound {
				t.Fatalf("kind %d: %s took %v", kind, what, took)
			}
		}
		lock := func(owner uint64, mode bool) Lock {
			return Lock{Kind: kind, Owner: Owner{fmt.Sprint("client", owner%4), owner}, Exclusive: mode, End: MaxOffset, Pid: int(owner), Since: int64(owner)}
		}
		tb := New(Limits{Client: 1 << 14, Total: 1 << 18})
		get := func(id, owner uint64, mode bool) (w *Waiter) {
			timed(fmt.Sprint("lock by ", owner), func() {
				var err error
				if w, _, err = tb.Acquire(id, lock(owner, mode), true, owner); err != nil {
					t.Fatal(err)
				}
			})
			return w
		}
		release := func(id, owner uint64) (granted []*Waiter) {
			timed(fmt.Sprint("unlock by ", owner), func() { granted, _ = tb.Release(id, lock(owner, shared)) })
			return granted
		}
		// All wait for one, and get a shared lock together.
		get(1, 1, exclusive)
		for i := uint64(2); i < many; i++ {
			get(1, i, shared)
		}
		if granted := release(1, 1); len(granted) != many-2 {
			t.Fatalf("%d got a lock", len(granted))
		}
		get(1, 1, exclusive) // behind all of them
		for i := uint64(2); i < many; i++ {
			release(1, i)
		}
		// Each has a lock of its own, and waits for the same one.
		for i := uint64(2); i < many; i++ {
			get(i, i, exclusive)
			get(1, i, exclusive)
		}
		// Each waits for the next one as well.
		for i := uint64(2); i < many-1; i++ {
			l := lock(i, exclusive)
			l.Owner.ID += many // another thread of it
			timed(fmt.Sprint("second wait of ", i), func() { _, _, _ = tb.Acquire(i+1, l, true, i) })
		}
		for i := uint64(1); i < 100; i++ {
			if granted := release(1, i); len(granted) != 1 || granted[0].Owner.ID != i+1 {
				t.Fatalf("after %d: %d got a lock", i, len(granted))
			}
		}
		t.Logf("kind %d: at most %v", kind, worst)
		// One has very many ranges.
		if kind == Posix {
			tb = New(Limits{})
			start := time.Now()
			for i := uint64(0); i < many; i++ {
				l := lock(1, exclusive)
				l.Start, l.End = 2*i, 2*i
				timed("range", func() { _, _, _ = tb.Acquire(1, l, true, 1) })
			}
			if tb.Len() != many || time.Since(start) > 5*bound {
				t.Errorf("%d ranges took %v", tb.Len(), time.Since(start))
			}
			t.Logf("%d ranges took %v", many, time.Since(start))
		}
	}
}
