package kernel

import (
	"testing"
	"time"

	varsync "github.com/commy-project/commyfs/sync"
)

func modified(id uint64, mtime int64) varsync.Notice {
	return varsync.Notice{Kind: varsync.Modified, ID: id, Parent: 3, MTime: mtime}
}

// A burst is one event, of the last value, when its while is over; and so is the next.
func TestGather(t *testing.T) {
	q := newQueue()
	q.gathering.delay = time.Hour
	for i := range int64(1000) {
		q.add(modified(1, i))
		q.add(modified(2, i))
	}
	q.ripe(time.Now())
	if e := q.next(); e != nil {
		t.Fatalf("too early: %+v", e)
	}
	if at, ok := q.due(time.Now().Add(2 * time.Hour)); !ok || time.Until(at) > time.Hour || time.Until(at) < time.Minute {
		t.Errorf("due at %v, %v", at, ok)
	}
	q.ripe(time.Now().Add(time.Hour))
	q.add(modified(1, 1000)) // while it waits in the list
	for _, want := range []varsync.Notice{modified(1, 1000), modified(2, 999)} {
		if e := q.next(); e == nil || e.ID != want.ID || e.MTime != want.MTime || e.ownValue {
			t.Errorf("%+v, want %+v", e, want)
		}
	}
	q.add(modified(1, 1001))
	q.ripe(time.Now())
	if e := q.next(); e != nil {
		t.Errorf("not gathered: %+v", e)
	}
	if len(q.gathering.list) != 1 || q.merged != 1999 {
		t.Errorf("%d are gathered, %d merged", len(q.gathering.list), q.merged)
	}
}

// What is gathered of a file comes before it is renamed or removed.
func TestGatherInOrder(t *testing.T) {
	q := newQueue()
	q.gathering.delay = time.Hour
	q.add(modified(1, 1))
	q.add(modified(2, 2))
	q.add(varsync.Notice{Kind: varsync.Deleted, ID: 1, Parent: 3})
	q.add(varsync.Notice{Kind: varsync.Created, ID: 4, Parent: 3})
	q.add(modified(4, 5))
	for _, want := range []varsync.NoticeKind{varsync.Modified, varsync.Deleted, varsync.Created} {
		if e := q.next(); e == nil || e.Kind != want {
			t.Fatalf("%+v, want %d", e, want)
		}
	}
	if e := q.next(); e != nil {
		t.Errorf("%+v", e)
	}
	// A value that this mount writes, and then another: gathered from then on.
	own := modified(5, 1)
	own.Own = true
	q.add(own)
	q.add(modified(5, 2))
	if got := q.nextOwn(10); len(got) != 0 {
		t.Errorf("announced as ours: %+v", got[0])
	}
	q.ripe(time.Now().Add(time.Hour))
	for _, id := range []uint64{2, 5} {
		if e := q.next(); e == nil || e.ID != id || e.ownValue {
			t.Errorf("%+v, want %d", e, id)
		}
	}
	if len(q.values) != 0 || len(q.gathering.list) != 0 || q.gathering.hurried != 0 {
		t.Errorf("left: %+v", q)
	}
}

func TestGatherIsBounded(t *testing.T) {
	q := newQueue()
	q.gathering.delay = time.Hour
	for i := range int64(10 * manyHurried) {
		q.add(modified(1, i))
		q.add(varsync.Notice{Kind: varsync.Deleted, ID: 1, Parent: 3})
		q.next()
		q.next()
	}
	if n := len(q.gathering.list); n > 2*manyHurried {
		t.Errorf("%d", n)
	}
}
