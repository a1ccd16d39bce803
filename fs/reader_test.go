package fs

import (
	"bytes"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A snapshot is never in the memory that the next one is read into: reading can fail half way.
func TestSnapshotIsNotOverwritten(t *testing.T) {
	m := newMount(t, Options{})
	r := (*file)(nil)
	for i, c := range []string{"a", "b", "c", "d"} {
		want := strings.Repeat(c, 100*(1+i%3))
		m.put("t/s/v", want)
		if r == nil {
			r = m.opened("t/s/v", syscall.O_RDONLY)
			defer r.release()
		}
		r.wantRead(0, want)
		spare := m.handles.get(r.fh).state.view().spare
		spare = spare[:cap(spare)]
		copy(spare, bytes.Repeat([]byte("?"), len(spare))) // as a failing Load leaves it
		r.wantRead(1, want[1:])
		if i > 0 && len(spare) == 0 {
			t.Error("no memory is used again")
		}
	}
}

// A read at the end of a snapshot goes on in a value that has grown (S5).
func TestFollowing(t *testing.T) {
	m := newMount(t, Options{})
	m.put("t/s/log", "one\n")
	f := m.opened("t/s/log", syscall.O_RDONLY)
	defer f.release()
	grow := func(s string) {
		t.Helper()
		a := m.opened("t/s/log", apnd)
		m.ok("append", a.write(0, s))
		m.ok("close", a.close())
	}
	f.wantRead(0, "one\n")
	grow("two\n")
	f.wantRead(4, "two\n")
	f.wantRead(8, "")
	grow("three\n")
	f.wantRead(8, "three\n")
	f.wantRead(2, "e\ntwo\nthree\n")

	// One that was replaced ends where its snapshot does, for a reader that makes sure of the end;
	m.put("t/s/log", "something else, and longer\n")
	f.wantRead(14, "")
	f.wantRead(14, "")
	f.wantRead(4, "two\nthree\n")
	// who comes back later reads on, as in a file that was truncated.
	m.handles.get(f.fh).state.view().ended.at = time.Now().Add(-comesBack)
	f.wantRead(14, ", and longer\n")
	f.wantRead(0, "something else, and longer\n")
	m.put("t/s/log", "short")
	m.handles.get(f.fh).state.view().ended.at = time.Now().Add(-comesBack)
	f.wantRead(27, "")
	if got := f.size(); got != 5 {
		t.Errorf("size %d", got)
	}
	f.wantRead(0, "short")
}
