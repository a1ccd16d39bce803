package kernel

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
)

func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// What the kernel has takes little memory, and none once it has forgotten it.
func TestMemoryOfWhatTheKernelHas(t *testing.T) {
	const dir, many, most = 7, 100_000, 180
	tree := fakeTree{}
	names := make([]string, many)
	for i := range names {
		names[i] = fmt.Sprintf("v%06d", i)
		tree[name{dir, names[i]}] = uint64(100 + i)
	}
	c := newCache(tree)
	tell(c, 0, 1, "dir", dir)
	before := heap()
	for i, file := range names {
		tell(c, 0, dir, file, uint64(100+i))
	}
	if each := (heap() - before) / many; each > most {
		t.Errorf("%d bytes for each name, want at most %d", each, most)
	}
	for i := range names {
		c.Forget(uint64(100+i), 1)
	}
	if left := heap() - before; left > many {
		t.Errorf("%d bytes are left", left)
	}
	runtime.KeepAlive(tree)
	runtime.KeepAlive(names)
	runtime.KeepAlive(c)
}

// A node keeps all its names but the one that is taken away, whichever that is.
func TestNamesOfANode(t *testing.T) {
	all := []name{{7, "a"}, {7, "b"}, {8, "a"}}
	for _, gone := range append(slices.Clone(all), name{9, "none"}) {
		n := &node{}
		for _, k := range all {
			n.addName(k)
		}
		n.removeName(gone)
		want := slices.DeleteFunc(slices.Clone(all), func(k name) bool { return k == gone })
		if got := n.names(); !slices.Equal(got, want) {
			t.Errorf("without %v: %v, want %v", gone, got, want)
		}
		for _, k := range want {
			n.removeName(k)
		}
		if got := n.names(); len(got) > 0 {
			t.Errorf("left: %v", got)
		}
	}
}
