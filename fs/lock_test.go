package fs

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// That a file has had fcntl locks is known as long as somebody has it open: then processes that close it say so.
func TestRanged(t *testing.T) {
	m := newMount(t, Options{})
	m.put("t/s/v", "x")
	f, other := m.opened("t/s/v", rdwr), m.opened("t/s/v", rdwr)
	m.FS.locks.some.Store(true)
	m.FS.locks.ranges(f.node)
	m.ok("close", f.close())
	f.release()
	if !m.FS.locks.isRanged(f.node) {
		t.Error("forgotten while somebody has it open")
	}
	m.ok("close", other.close())
	other.release()
	if m.FS.locks.isRanged(f.node) {
		t.Error("known when nobody has it open")
	}
}

// Whether threads are of one process costs a few looks, however many are asked about.
func TestProcessMates(t *testing.T) {
	var c callers
	c.init()
	reads := 0
	c.open = func(name string) ([]byte, error) { reads++; return readFile(name) }
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	tid := uint32(unix.Gettid())
	var mate uint32
	for id := range c.threads(tid) {
		if id != tid {
			mate = id
		}
	}
	for _, many := range []uint32{0, 1000} {
		same := c.processMates(tid)
		for i := range many {
			if same(1<<23 + i) { // there are no such threads
				t.Errorf("thread %d is of this process", i)
			}
		}
		if !same(tid) || mate == 0 || !same(mate) || same(1) {
			t.Errorf("after %d others: itself %v, thread %d %v, process 1 %v", many, same(tid), mate, same(mate), same(1))
		}
	}
	if reads > 3*(fewThreads+1) {
		t.Errorf("%d reads", reads)
	}
}
