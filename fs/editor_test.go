package fs

import (
	"strings"
	"syscall"
	"testing"
)

// What the server refuses after write has returned is told at the next fsync or close of that descriptor, until it is
// written to again, and at no other.
func TestRefusedAfterWrite(t *testing.T) {
	m := newMount(t, Options{})
	m.put("t/s/v", strings.Repeat("x", int(m.c.MaxValue())-1))
	a, b := m.opened("t/s/v", wr|syscall.O_APPEND), m.opened("t/s/v", wr)
	m.ok("append", a.write(0, "1"))
	m.ok("write", b.write(0, "y"))
	m.ok("append too much", a.write(0, "2"))
	m.ok("write", b.write(1, "y"))
	m.ok("fsync of the other", b.fsync())
	m.want("fsync", a.fsync(), syscall.EFBIG)
	m.want("fsync again", a.fsync(), syscall.EFBIG)
	m.ok("write", b.write(2, "y"))
	m.ok("close of the other", b.close())
	m.ok("append too much again", a.write(0, "3"))
	m.want("close", a.close(), syscall.EFBIG)
	if got := m.get("t/s/v"); !strings.HasPrefix(got, "yyyx") {
		t.Errorf("value %.10q", got)
	}
}

// What was written is there when close returns, also right after the write.
func TestCloseRightAfterWrite(t *testing.T) {
	m := newMount(t, Options{})
	m.put("t/s/v", "....")
	f := m.opened("t/s/v", wr)
	for i, c := range "abcd" {
		m.ok("write", f.write(uint64(i), string(c)))
	}
	m.ok("close", f.close())
	m.wantStored("v", "abcd")
}
