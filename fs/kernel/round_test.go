package kernel

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	varsync "github.com/commy-project/commyfs/sync"
)

func written(id uint64, own bool) varsync.Notice {
	return varsync.Notice{Kind: varsync.Modified, Own: own, ID: id, Parent: 3, MTime: int64(id), Path: []string{"t", "s", "v"}}
}

func ids(events []*event) (out []uint64) {
	for _, e := range events {
		out = append(out, e.ID)
	}
	return out
}

// What is written here is announced at once, then not again for a while, however often it is written; what waits has its
// turn then.
func TestRounds(t *testing.T) {
	synctest.Test(t, testRounds) // five milliseconds pass at once on a busy machine
}

func testRounds(t *testing.T) {
	q, r := newQueue(), &round{}
	add := func(in varsync.Notice) { q.add(in) }
	add(written(100, true))
	if got := ids(r.take(&q)); !slices.Equal(got, []uint64{100}) {
		t.Fatalf("announced %v", got)
	}
	r.next = time.Now().Add(time.Hour)
	for i := range 3000 {
		add(written(uint64(200+i%40), true))
	}
	if got := r.take(&q); got != nil || len(q.own) != 40 {
		t.Fatalf("announced %v, %d wait", ids(got), len(q.own))
	}
	r.next = time.Now()
	var got []uint64
	for range 3 {
		events := r.take(&q)
		if len(events) > roundStep {
			t.Errorf("%d in one step", len(events))
		}
		got = append(got, ids(events)...)
		add(written(100, true)) // not of this round
	}
	slices.Sort(got)
	if len(got) != 40 || len(slices.Compact(got)) != 40 || slices.Contains(got, 100) {
		t.Errorf("announced %v", got)
	}
	if !r.next.After(time.Now()) || len(q.own) != 1 || len(q.values) != 1 {
		t.Errorf("next round %v, %d wait", r.next, len(q.own))
	}
}

// A change made elsewhere waits for no round, and takes what waits of the variable with it, in order.
func TestOthersWaitForNoRound(t *testing.T) {
	q, r := newQueue(), &round{next: time.Now().Add(time.Hour)}
	q.add(written(100, true))
	q.add(written(101, true))
	q.add(written(100, false))
	q.add(deleted(3, "v", 101))
	for i, want := range []struct {
		kind varsync.NoticeKind
		id   uint64
		own  bool
	}{{varsync.Modified, 100, false}, {varsync.Modified, 101, true}, {varsync.Deleted, 101, false}} {
		e := q.next()
		if e == nil || e.Kind != want.kind || e.ID != want.id || e.ownValue != want.own {
			t.Fatalf("event %d: %+v", i, e)
		}
	}
	if e := q.next(); e != nil || len(q.values) != 0 {
		t.Errorf("left over: %+v, %v", e, q.values)
	}
	r.next = time.Now()
	if got := r.take(&q); got != nil || len(q.own) != 0 || r.left != 0 {
		t.Errorf("announced %v, %d left", ids(got), r.left)
	}
	q.add(written(102, true))
	r.next = time.Now()
	if got := ids(r.take(&q)); !slices.Equal(got, []uint64{102}) {
		t.Errorf("announced %v", got)
	}

	// What is merged for want of space leaves alone what was written here.
	q.add(written(103, true))
	for i := range uint64(10) {
		q.add(written(200+i, false))
	}
	q.compact()
	q.add(written(103, true))
	if got := q.nextOwn(10); !slices.Equal(ids(got), []uint64{103}) || len(q.values) != 10 {
		t.Errorf("announced %v", ids(got))
	}
}

// What was written here to a file that the kernel has forgotten since is announced to who watches its directory, without
// waiting for anything else to happen.
func TestForgottenIsAnnounced(t *testing.T) {
	c := newCache(fakeTree{})
	c.Learn(0, 3, nil)
	c.Changed([]varsync.Notice{written(100, true)})
	select {
	case <-c.wake:
	default:
		t.Error("nobody is woken")
	}
}
