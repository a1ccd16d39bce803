package kernel

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hanwen/go-fuse/v2/fuse"

	varsync "github.com/commy-project/commyfs/sync"
)

// fakeDevice takes notifications; it returns what the kernel was asked to drop since, nil for nothing.
func fakeDevice(t *testing.T, c *Cache) (dropped func() []uint64) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(pipe[0]); unix.Close(pipe[1]) })
	c.Connect(pipe[1])
	return func() (ids []uint64) {
		buf := make([]byte, 1<<16)
		n, err := unix.Read(pipe[0], buf)
		if errors.Is(err, unix.EAGAIN) {
			return nil
		}
		if err != nil || n < 32 || int(binary.NativeEndian.Uint32(buf)) != n || binary.NativeEndian.Uint32(buf[4:]) != uint32(-fuse.NOTIFY_PRUNE) {
			t.Fatalf("%d bytes, %v", n, err)
		}
		if count := binary.NativeEndian.Uint32(buf[16:]); int(count) != (n-32)/8 {
			t.Fatalf("%d ids in %d bytes", count, n)
		}
		for b := buf[32:n]; len(b) > 0; b = b[8:] {
			ids = append(ids, binary.NativeEndian.Uint64(b))
		}
		return ids
	}
}

// The kernel is asked to drop a directory with what is in it, each thing behind what it has below; less and less often if it
// does not.
func TestAskedToDrop(t *testing.T) {
	const dir, sub, a, b, c1 = 3, 4, 7, 8, 9
	tree := fakeTree{{dir, "a"}: a, {dir, "sub"}: sub, {sub, "b"}: b, {1, "c"}: c1, {1, "dir"}: dir}
	c := newCache(tree)
	dropped := fakeDevice(t, c)
	for k, id := range tree {
		tell(c, 1, k.dir, k.file, id)
	}
	var asked []int
	for i := range 8192 {
		c.announced(a, dir)
		ids := dropped()
		if ids == nil {
			continue
		}
		asked = append(asked, i+1)
		slices.Sort(ids[:len(ids)-2]) // but for what matters
		if at := slices.Index(ids, dir); at != len(ids)-1 || !slices.Contains(ids, a) || !slices.Contains(ids, b) || slices.Contains(ids, c1) {
			t.Fatalf("dropped %v", ids)
		}
	}
	if !slices.Equal(asked[:5], []int{1, 2, 4, 8, 16}) || len(asked) > 20 || len(asked) < 15 {
		t.Errorf("asked after %v events", asked)
	}

	// It has dropped some: it is asked at once for more.
	c.Forget(b, 1)
	c.Forget(sub, 1)
	c.quiet[dir] = quiet{every: 4, names: 2, events: 3}
	if c.announced(a, dir); !slices.Equal(dropped(), []uint64{a, a, dir}) {
		t.Error("not asked")
	}
	if every := c.quiet[dir].every; every != 4 {
		t.Errorf("asked again after %d", every)
	}
	c.Forget(a, 1)
	c.Forget(dir, 1)
	if len(c.names) != 1 || len(c.quiet) != 0 {
		t.Errorf("left over: %v, %v", c.names, c.quiet)
	}

	// A file whose directory the kernel does not have; the root, which it never drops.
	c.Learn(0, a, nil)
	if c.announced(a, dir); !slices.Equal(dropped(), []uint64{a, a}) {
		t.Error("not asked")
	}
	if c.announced(c1, fuse.FUSE_ROOT_ID); dropped() != nil {
		t.Error("asked to drop the root")
	}
}

// A large directory is dropped in steps, and one that the kernel has below itself, by an old name, ends.
func TestAskedToDropALot(t *testing.T) {
	const dir = 3
	c := newCache(fakeTree{})
	dropped := fakeDevice(t, c)
	c.Learn(0, dir, nil)
	for i := range uint64(5000) {
		id := 100 + i
		c.Learn(0, id, nil)
		c.tell(name{dir, string(rune('a'+i%26)) + string(rune('a'+i/26))}, id)
	}
	steps := 0
	for c.Knows(dir) && steps < 20 {
		c.announced(100, dir)
		ids := dropped()
		if len(ids) > maxPruned+2 {
			t.Fatalf("%d at once", len(ids))
		}
		if ids != nil {
			steps++
		}
		for _, id := range ids {
			if id != dir || len(c.names[dir]) == 0 {
				c.Forget(id, 1)
			}
		}
	}
	if steps > 12 || c.Knows(dir) {
		t.Errorf("%d steps, %d left", steps, len(c.names[dir]))
	}
	c.Learn(0, dir, nil)
	c.Learn(0, 4, nil)
	c.tell(name{dir, "a"}, 4)
	c.tell(name{4, "a"}, dir)
	c.announced(4, dir)
	if ids := dropped(); len(ids) > 2*maxPruned+2 {
		t.Errorf("%d at once", len(ids))
	}
}

// A kernel that cannot is asked once.
func TestOldKernelDropsNothing(t *testing.T) {
	c := newCache(fakeTree{})
	c.Connect(-1)
	c.Learn(0, 3, nil)
	c.kept = true
	c.announced(4, 3)
	if len(c.quiet) != 0 {
		t.Error("counted")
	}
}

// The service of what was dropped stays for an hour from the last time, as if the kernel had it still.
func TestLingering(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := newCache(fakeTree{}), &varsync.Service{}
		lingers := func() bool {
			synctest.Wait()
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.lingers[s] != nil
		}
		for range 3 {
			c.Learn(0, 3, s)
			c.announced(4, 3)
			c.Forget(3, 1)
			time.Sleep(lingering - time.Second)
			if !lingers() {
				t.Fatal("not held")
			}
		}
		time.Sleep(2 * time.Second)
		if lingers() {
			t.Error("held for ever")
		}
	})
}
