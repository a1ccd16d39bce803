package fs

import "testing"

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
