package integration

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/testenv"
)

// TestS23_Cached: descriptors and mappings that read by way of the page cache go on when the process of the mount is killed, and
// find what has changed meanwhile, also if the size has.
func TestS23_Cached(t *testing.T) {
	h, a, b := cachingMounts(t, often)
	values := []string{"one", "two", "three", "3", strings.Repeat("x", 4000), "last"}
	a.Write("t/s/v", values[0])
	a.Write("t/s/gone", "gone")
	b.WaitFor("t/s/v")
	b.WaitFor("t/s/gone")
	d, gone := b.open(t, "t/s/v", unix.O_RDONLY), b.open(t, "t/s/gone", unix.O_RDONLY)
	d.want(values[0], "before")
	gone.want("gone", "before")
	mapped := d.mmap()
	defer func() { _ = unix.Munmap(mapped) }()
	for i, value := range values[1:] {
		pid := h.serving(b.Dir)
		if i%2 == 0 { // changed while nobody serves the mount, or afterwards
			h.kill9At(b.Dir, func() { a.Write("t/s/v", value) })
		} else {
			h.kill9(b.Dir)
			d.want(values[i], "after a kill")
			a.Write("t/s/v", value)
		}
		if h.serving(b.Dir) == pid {
			t.Fatal("it was not killed")
		}
		testenv.Eventually(t, slower(10*time.Second), func() error {
			if got := d.read(); got != value {
				if got != values[i] {
					t.Fatalf("%q is neither the old value nor the new one", got)
				}
				return fmt.Errorf("read %q, want %q", got, value)
			}
			return nil
		})
		if !d.cached() {
			t.Error("it is not read by way of the page cache any more")
		}
		if got := string(mapped[:len(value)]); got != value {
			t.Errorf("the mapping has %q, want %q", got, value)
		}
	}
	// The server asks again: who writes finds what he has written everywhere.
	for i := range 100 {
		value := fmt.Sprintf("%04d", i)
		a.Write("t/s/v", value)
		d.want(value, "acknowledged")
	}
	if err := os.Remove(a.Path("t/s/gone")); err != nil {
		t.Fatal(err)
	}
	gone.want("gone", "removed")
}

// TestS23_CachedUnderLoad has the processes of [TestS7_NeverStale] go on while the processes of both mounts are killed.
func TestS23_CachedUnderLoad(t *testing.T) {
	h := NewHost(t)
	mounts := []*Mount{h.Mount("--cache", cachePattern, often), h.Mount("--cache", cachePattern, often)}
	w := h.cacheWork(mounts, [2]string{"edit", "replace"}, 1)
	w.read(1 << 40)
	kills := 6
	if s := os.Getenv("COMMYFS_TEST_KILLS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		kills = n
	}
	testenv.Eventually(t, slower(20*time.Second), func() error {
		if a, b := w.shared.seen[0].Load(), w.shared.seen[1].Load(); a == 0 || b == 0 {
			return fmt.Errorf("the readers have seen %d and %d", a, b)
		}
		return nil
	})
	var longest time.Duration
	for i := range kills {
		w.shared.kills.Add(1)
		longest = max(longest, h.kill9(mounts[i%2].Dir))
		acked := w.shared.acked.Load()
		testenv.Eventually(t, slower(20*time.Second), func() error {
			if n := w.shared.acked.Load(); n < acked+5 {
				return fmt.Errorf("%d writes since a kill", n-acked)
			}
			return nil
		})
	}
	t.Logf("%d kills, the longest took %v", kills, longest)
	w.shared.stop.Store(true)
	for _, p := range w.readers {
		got := w.sum(p)
		t.Logf("%+v", got)
		if got.backwards+got.torn+got.empty > 0 || got.reads == 0 {
			t.Errorf("reader: %+v\n%s", got, p.logs())
		}
	}
	w.end()
}
