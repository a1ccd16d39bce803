package kernel

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	varsync "github.com/commy-project/commyfs/sync"
)

// fakeTree is a tree whose names a test sets.
type fakeTree map[name]uint64

func (t fakeTree) Find(dir uint64, file string) (uint64, error) { return t[name{dir, file}], nil }
func (t fakeTree) Attr(uint64, bool, *fuse.Attr) bool           { return true }
func (t fakeTree) Value(uint64) (varsync.Notice, bool)          { return varsync.Notice{}, false }
func (t fakeTree) Written(uint64) bool                          { return false }
func (t fakeTree) Searchable(uint64) bool                       { return true }
func (t fakeTree) Lives(uint64) bool                            { return false }
func (t fakeTree) Service(uint64) *varsync.Service              { return nil }
func (t fakeTree) SameRights(_, _ *varsync.Service) bool        { return true }

func newCache(tree Tree) *Cache {
	return New(tree, nil, 0, slog.New(slog.NewTextHandler(io.Discard, nil)))
}

// tell answers a lookup.
func tell(c *Cache, thread uint32, dir uint64, file string, id uint64) bool {
	c.Learn(thread, id, nil)
	return c.Told(thread, dir, file, id)
}

func created(dir uint64, file string, id uint64) varsync.Notice {
	return varsync.Notice{Kind: varsync.Created, ID: id, Parent: dir, Path: []string{"t", "s", file}}
}

func deleted(dir uint64, file string, id uint64) varsync.Notice {
	return varsync.Notice{Kind: varsync.Deleted, ID: id, Parent: dir, Path: []string{"t", "s", file}}
}

func renamed(dir uint64, old, file string, id uint64) varsync.Notice {
	return varsync.Notice{Kind: varsync.Renamed, ID: id, Parent: dir, OldParent: dir, Path: []string{"t", "s", file}, OldPath: []string{"t", "s", old}}
}

// wantStale fails unless these names, and no others, are to be invalidated.
func wantStale(t *testing.T, c *Cache, want ...name) {
	t.Helper()
	got := maps.Clone(c.staleNames)
	for _, k := range want {
		if _, ok := got[k]; !ok {
			t.Errorf("%v is not stale", k)
		}
		delete(got, k)
	}
	if len(got) > 0 {
		t.Errorf("stale without need: %v", got)
	}
}

// What the kernel has is compared with the tree, whichever changes first.
func TestStaleNames(t *testing.T) {
	const dir, a, b = 3, 7, 8
	tree := fakeTree{{dir, "a"}: a}
	c := newCache(tree)
	c.Learn(0, dir, nil)
	if !tell(c, 1, dir, "a", a) {
		t.Error("a right name is not kept")
	}
	tree[name{dir, "a"}], tree[name{dir, "z"}] = b, a
	if !c.Stale(dir, "a", b) || c.Stale(dir, "z", a) {
		t.Error("removals go by what the kernel has")
	}
	c.Changed([]varsync.Notice{renamed(dir, "a", "z", a), created(dir, "a", b)})
	wantStale(t, c, name{dir, "a"})

	// An answer that was on its way while the tree changed.
	c = newCache(tree)
	c.Learn(0, dir, nil)
	if tell(c, 1, dir, "a", a) {
		t.Error("an old name is kept")
	}
	wantStale(t, c, name{dir, "a"})

	// The kernel's own changes; a rename over a variable leaves the other node under its name.
	c = newCache(tree)
	c.Learn(0, dir, nil)
	tell(c, 1, dir, "a", b)
	tell(c, 1, dir, "z", a)
	own := renamed(dir, "a", "c", b)
	own.Own = true
	delete(tree, name{dir, "a"})
	tree[name{dir, "c"}] = b
	c.Changed([]varsync.Notice{own})
	c.Renamed(b, dir, "a", dir, "c")
	wantStale(t, c)
	c.Renamed(b, dir, "c", dir, "z")
	wantStale(t, c, name{dir, "z"})
	if !c.Stale(dir, "z", a) || c.Stale(dir, "c", 0) {
		t.Error("what the kernel renamed is not known")
	}
	c.Removed(dir, "z")
	if len(c.names) != 0 {
		t.Errorf("names %v are left", c.names)
	}
}

// What is invalidated is not known to the kernel any more, unless it was told anew meanwhile.
func TestInvalidated(t *testing.T) {
	c := newCache(fakeTree{})
	c.Learn(0, 3, nil)
	tell(c, 1, 3, "a", 7)
	c.forgetName(name{3, "a"})
	if c.Stale(3, "a", 8) || c.Leaving(7) {
		t.Error("the name is still there")
	}
	tell(c, 1, 3, "a", 7)
	c.tree.(fakeTree)[name{3, "a"}] = 8
	tell(c, 1, 3, "a", 8)
	c.forgetName(name{3, "a"}) // which was right
	if c.Lost(1, 8) {
		t.Error("lost although it is right")
	}
	tell(c, 1, 3, "a", 7)
	c.Changed([]varsync.Notice{deleted(3, "a", 7)})
	for c.invalidate() {
	}
	if !c.Leaving(7) {
		t.Error("gone before its event")
	}
	c.Forget(7, 3)
	if len(c.names) != 0 || c.Knows(7) {
		t.Errorf("left over: %v", c.names)
	}
}

// Who opens a node that has lost a name has to look it up first, also a moment after the kernel knows: the path can have
// been walked before.
func TestLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const one, two = 1, 2 // threads
		tree := fakeTree{{3, "a"}: 7, {7, "x"}: 9, {1, "s"}: 3}
		c := newCache(tree)
		lost := func(want bool, thread uint32, ids ...uint64) {
			t.Helper()
			if got := c.Lost(thread, ids...); got != want {
				t.Errorf("thread %d, nodes %d: lost %v, want %v", thread, ids, got, want)
			}
		}
		rename := func(from, to string) {
			delete(tree, name{3, from})
			tree[name{3, to}] = 7
		}
		tell(c, one, 1, "s", 3)
		tell(c, one, 3, "a", 7)
		tell(c, one, 7, "x", 9)
		lost(false, one, 7, 3)
		rename("a", "b")
		lost(true, one, 7, 3)
		lost(false, one, 7, 3) // the kernel has asked for the path again, or the thread is in the directory
		lost(true, one, 7, 3)
		c.Misses(one)
		lost(true, one, 7, 3) // the path does not lead there
		lost(true, one, 9, 7) // another node, below it
		c.Misses(one)
		lost(false, one, 9, 3)
		tell(c, one, 3, "b", 7)
		lost(true, two, 7, 3)
		lost(false, one, 7, 3)
		lost(true, one, 7, 3) // one look, one open

		c.Changed([]varsync.Notice{renamed(3, "a", "b", 7)})
		c.invalidate()
		c.Misses(two)
		lost(true, two, 7, 3)
		lost(false, two, 7, 3) // has been told to look again
		lost(true, two, 7, 3)

		time.Sleep(lostTime / 2)
		tell(c, one, 3, "b", 7)
		rename("b", "c") // once more
		c.Misses(one)
		lost(true, one, 7, 3)
		c.Changed([]varsync.Notice{renamed(3, "b", "c", 7)})
		c.invalidate()
		time.Sleep(lostTime * 3 / 4)
		c.Misses(one)
		lost(true, one, 7, 3)
		time.Sleep(lostTime)
		lost(false, two, 7, 3)
		if c.nodes[7].lost != nil {
			t.Errorf("kept: %v", c.nodes[7].lost)
		}

		tell(c, one, 3, "c", 7)
		rename("c", "d")
		c.Renamed(7, 3, "c", 3, "d") // by the kernel
		lost(false, one, 7, 3)
	})
}

// A rename over a node shows two links until it is over: for all when it is carried out, for its thread when that asks.
func TestKeptLinks(t *testing.T) {
	c := newCache(fakeTree{})
	c.Learn(0, 7, nil)
	first, second := &keeping{thread: 1}, &keeping{thread: 2}
	c.keep(7, first)
	c.keep(7, second)
	c.Learn(1, 7, nil)
	if got := c.Links(7); got != 2 {
		t.Errorf("%d links, want 2", got)
	}
	for range 2 {
		if !c.Settled(7) {
			t.Error("it has been told of two links")
		}
	}
	if c.Links(7) != 1 || c.Settled(7) {
		t.Error("it has been told of one link since")
	}
	third := &keeping{thread: 3}
	c.keep(7, third)
	c.renamedOver(7, second, name{3, "v"}, false)
	if got := c.Links(7); got != 2 {
		t.Errorf("%d links during the third, want 2", got)
	}
	c.renamedOver(7, third, name{3, "v"}, false)
	if got := c.Links(7); got != 1 {
		t.Errorf("%d links, want 1", got)
	}
}

func (e *event) String() string { return fmt.Sprintf("kind %d of %d at %v", e.Kind, e.ID, e.Path) }
