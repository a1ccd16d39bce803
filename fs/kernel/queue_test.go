package kernel

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	varsync "github.com/commy-project/commyfs/sync"
)

// What nobody can be watching raises no event, and a value written elsewhere to a file made here is no second creation.
func TestQueue(t *testing.T) {
	c := newCache(fakeTree{})
	const dir = 3
	c.Learn(0, dir, nil)
	c.Changed([]varsync.Notice{
		{Kind: varsync.Created, ID: 1 << 40, Parent: 1 << 41, Path: []string{"t", "s", "v"}},
		{Kind: varsync.Renamed, Path: []string{"t", "s", "w"}, OldPath: []string{"t", "s", "old"}, ID: 1 << 40, Parent: 1 << 41, OldParent: 1 << 42},
	})
	if e := c.queue.next(); e != nil {
		t.Fatalf("queued %v", e)
	}
	c.Changed([]varsync.Notice{
		{Kind: varsync.Created, ID: 1 << 40, Parent: dir, Own: true},
		{Kind: varsync.Modified, ID: 1 << 40, Parent: dir, MTime: 7},
		{Kind: varsync.Deleted, ID: 1 << 40, Parent: dir, Path: []string{"t", "s", "v"}},
		{Kind: varsync.Modified, ID: 1 << 40, Parent: dir},
		{Kind: varsync.Created, Dir: true, ID: 1 << 40, Path: []string{"tenant"}},
	})
	e := c.queue.next()
	if e.Kind != varsync.Modified || e.ownValue || e.MTime != 7 {
		t.Errorf("first %+v", e)
	}
	for _, want := range []varsync.NoticeKind{varsync.Deleted, varsync.Modified, varsync.Created} {
		if e := c.queue.next(); e == nil || e.Kind != want {
			t.Fatalf("%v, want kind %d", e, want)
		}
	}
	if e := c.queue.next(); e != nil || len(c.queue.values) != 0 {
		t.Errorf("left over: %v, %v", e, c.queue.values)
	}
}

// A value that is changed after this mount has renamed the file has an event under the new name, whatever waits for the old one.
func TestQueueAfterOwnRename(t *testing.T) {
	c := newCache(fakeTree{})
	const dir, id = 3, 100
	a, b := []string{"t", "s", "a"}, []string{"t", "s", "b"}
	c.Learn(0, dir, nil)
	c.Changed([]varsync.Notice{
		{Kind: varsync.Modified, ID: id, Parent: dir, Path: a},
		{Kind: varsync.Renamed, Own: true, ID: id, Parent: dir, OldParent: dir, Path: b, OldPath: a},
		{Kind: varsync.Modified, ID: id, Parent: dir, Path: b},
	})
	for _, want := range [][]string{a, b} {
		if e := c.queue.next(); e == nil || e.Kind != varsync.Modified || !slices.Equal(e.Path, want) {
			t.Errorf("%+v, want one of %v", e, want)
		}
	}
}

// An exchange is one event, also of nodes of which only the second is known, and whatever comes between in the queue.
func TestQueueOfExchanges(t *testing.T) {
	const dir, other, id, with = 3, 4, 100, 101
	a, b := []string{"t", "s", "a"}, []string{"t", "s", "d", "b"}
	notices := []varsync.Notice{
		{Kind: varsync.Modified, ID: with, Parent: other, Path: b},
		{Kind: varsync.Renamed, ID: id, Parent: other, OldParent: dir, Path: b, OldPath: a},
		{Kind: varsync.Renamed, ID: with, Parent: dir, OldParent: other, Path: a, OldPath: b, Dir: true},
		{Kind: varsync.Modified, ID: with, Parent: dir, Path: a},
	}
	for _, known := range []uint64{dir, other, id, with} {
		for _, compact := range []bool{false, true} {
			c := newCache(fakeTree{})
			c.Learn(0, known, nil)
			c.Changed(notices)
			if compact {
				c.queue.compact()
			}
			var events []*event
			for e := c.queue.next(); e != nil; e = c.queue.next() {
				events = append(events, e)
			}
			i := slices.IndexFunc(events, func(e *event) bool { return e.Kind == varsync.Renamed })
			if i < 0 {
				t.Fatalf("node %d known: %v", known, events)
			}
			if e := events[i]; e.ID != id || e.with == nil || e.with.ID != with || !e.with.Dir {
				t.Errorf("node %d known: %+v", known, e)
			}
			if slices.ContainsFunc(events[i+1:], func(e *event) bool { return e.Kind == varsync.Renamed }) {
				t.Errorf("node %d known: renamed twice: %v", known, events)
			}
		}
	}
}

// While nothing can be announced the queue stays bounded, however many changes there are, and what is left of them leads
// from what was announced to how things are.
func TestQueueIsBounded(t *testing.T) {
	const dir, changes = 3, 200_000
	tree := fakeTree{}
	c := newCache(tree)
	c.Learn(0, dir, nil)
	seen := map[string]uint64{} // what a watcher of the directory knows
	file := func(i int) string { return fmt.Sprintf("f%d", i) }
	for i := range 100 { // some that the kernel has, and are changed again and again
		tree[name{dir, file(i)}], seen[file(i)] = uint64(1000+i), uint64(1000+i)
		tell(c, 1, dir, file(i), uint64(1000+i))
	}
	next := uint64(10_000)
	values := map[uint64]int64{}
	most := 0
	for i := range changes / 10 {
		at := i % 100
		id := tree[name{dir, file(at)}]
		was, to := file(at), fmt.Sprintf("g%d", at)
		notices := []varsync.Notice{
			renamed(dir, was, to, id), renamed(dir, to, was, id), renamed(dir, was, to, id),
			{Kind: varsync.Modified, ID: id, Parent: dir, Path: []string{"t", "s", to}, MTime: int64(i)},
			renamed(dir, to, was, id),
			{Kind: varsync.MetaChanged, ID: id, Parent: dir, Path: []string{"t", "s", was}, MTime: int64(i)},
			created(dir, "short", next), renamed(dir, "short", "brief", next), deleted(dir, "brief", next),
			{Kind: varsync.Modified, ID: id, Parent: dir, Path: []string{"t", "s", was}, MTime: int64(i)},
		}
		values[id] = int64(i)
		next++
		if i%1000 == 0 { // it is replaced by another
			notices = append(notices, deleted(dir, was, id), created(dir, was, next))
			delete(values, id)
			tree[name{dir, was}] = next
			next++
		}
		c.Changed(notices)
		most = max(most, len(c.queue.list))
	}
	if limit := maxQueued + 1; most > limit || len(c.staleNames) > 100 || len(c.staleNodes) > 101 || len(c.names[dir]) > 100 {
		t.Errorf("%d events waited, want at most %d; %d names and %d nodes are stale", most, limit, len(c.staleNames), len(c.staleNodes))
	}

	told := map[uint64]int64{}
	for e := c.queue.next(); e != nil; e = c.queue.next() {
		at := e.Path[2]
		switch e.Kind {
		case varsync.Modified:
			told[e.ID] = e.MTime
		case varsync.Created:
			seen[at] = e.ID
		case varsync.Deleted:
			if seen[at] != e.ID {
				t.Fatalf("%v: a watcher knows %d there", e, seen[at])
			}
			delete(seen, at)
			delete(told, e.ID)
		case varsync.Renamed:
			if seen[e.OldPath[2]] != e.ID {
				t.Fatalf("%v: a watcher knows %d as %s", e, seen[e.OldPath[2]], e.OldPath[2])
			}
			delete(seen, e.OldPath[2])
			seen[at] = e.ID
		}
	}
	want := map[string]uint64{}
	for k, id := range tree {
		want[k.file] = id
	}
	if !maps.Equal(seen, want) {
		t.Errorf("a watcher knows %v, want %v", seen, want)
	}
	if !maps.Equal(told, values) {
		t.Errorf("last values announced: %v, want %v", told, values)
	}
}
