package fs

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

func failing(t *testing.T) *mount {
	t.Helper()
	return newMount(t, Options{Conflict: ConflictFail})
}

// What this mount does to a file itself is no conflict for who has it open and knows what was there.
func TestConflict_OwnChanges(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(m *mount, f *file)
		file string // where it is then
		want string
	}{
		{"rename", func(m *mount, f *file) { m.ok("rename", m.rename("t/s/v", "t/s/w", 0)) }, "w", "Jello"},
		{"rename over another", func(m *mount, f *file) {
			m.put("t/s/w", "another")
			m.put("t/s/w", "another one")
			m.ok("rename", m.rename("t/s/v", "t/s/w", 0))
		}, "w", "Jello"},
		{"rename to where another was", func(m *mount, f *file) {
			m.put("t/s/w", "another")
			m.put("t/s/w", "another one")
			m.ok("unlink", m.unlink("t/s/w"))
			m.ok("rename", m.rename("t/s/v", "t/s/w", 0))
		}, "w", "Jello"},
		{"exchange of its directory", func(m *mount, f *file) {
			m.mkdir(m.id("t/s"), "a")
			m.mkdir(m.id("t/s"), "b")
			m.put("t/s/b/v", "another")
			m.put("t/s/b/v", "another one")
			m.ok("rename", m.rename("t/s/v", "t/s/a/v", 0))
			m.ok("exchange", m.rename("t/s/a", "t/s/b", unix.RENAME_EXCHANGE))
		}, "b/v", "Jello"},
		{"rename to another service", func(m *mount, f *file) {
			m.mkdir(m.id("t"), "other")
			m.id("t/other")
			m.ok("rename", m.rename("t/s/v", "t/other/v", 0))
			m.ok("rename", m.rename("t/other/v", "t/s/v", 0))
		}, "v", "Jello"},
		{"truncate by name", func(m *mount, f *file) {
			_, status := m.truncateBy(os.Getppid(), f.node, 3)
			m.ok("truncate", status)
		}, "v", "Jel"},
		{"chmod and times", func(m *mount, f *file) {
			m.chmod(f.node, 0o600)
			m.utimes(f.node, time.Unix(1, 0))
		}, "v", "Jello"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := failing(t)
			m.put("t/s/v", "hello")
			f := m.opened("t/s/v", rdwr)
			tt.do(m, f)
			m.ok("write", f.write(0, "J"))
			m.ok("close", f.close())
			m.wantStored(tt.file, tt.want)
		})
	}
}

// A truncation by name is part of what is being gathered, and no conflict with it unless somebody else was there before.
func TestConflict_TruncateWhileGathering(t *testing.T) {
	m := failing(t)
	m.put("t/s/v", "hello")
	f, _ := m.emptied("t/s/v", rdwr)
	m.ok("write", f.write(0, "abcdef"))
	_, status := m.truncateBy(os.Getppid(), f.node, 3)
	m.ok("truncate", status)
	m.ok("close", f.close())
	m.wantStored("v", "abc")

	f, _ = m.emptied("t/s/v", rdwr)
	m.ok("write", f.write(0, "abcdef"))
	m.put("t/s/v", "theirs")
	_, status = m.truncateBy(os.Getppid(), f.node, 3)
	m.ok("truncate", status)
	m.want("close", f.close(), syscall.ESTALE)
	m.wantStored("v", "the")
}

// Each state of a descriptor keeps to what it has seen, and what is refused is not published by release either.
func TestConflict_States(t *testing.T) {
	for _, tt := range []struct {
		name  string
		flags uint32
		do    func(m *mount, f *file) fuse.Status
	}{
		{"replace", trunc, func(m *mount, f *file) fuse.Status { f.write(0, "mine"); return f.fsync() }},
		{"replace with nothing", trunc, func(m *mount, f *file) fuse.Status { return f.fsync() }},
		{"replace at close", trunc, func(m *mount, f *file) fuse.Status { f.write(0, "mine"); return f.flush() }},
		{"append after O_TRUNC", trunc | syscall.O_APPEND, func(m *mount, f *file) fuse.Status { f.write(0, "mine"); return f.flush() }},
		{"write", wr, func(m *mount, f *file) fuse.Status { return f.write(0, "m") }},
		{"a large value", wr, func(m *mount, f *file) fuse.Status { return f.write(0, strings.Repeat("m", 5000)) }},
		{"ftruncate", wr, func(m *mount, f *file) fuse.Status { return f.truncate(2) }},
		{"ftruncate to nothing", wr, func(m *mount, f *file) fuse.Status { f.truncate(0); return f.flush() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := failing(t)
			theirs := strings.Repeat("theirs", 1000)
			m.put("t/s/v", strings.Repeat("before", 1000))
			f := m.opened("t/s/v", tt.flags)
			m.put("t/s/v", theirs)
			m.want(tt.name, tt.do(m, f), syscall.ESTALE)
			m.want("again", tt.do(m, f), syscall.ESTALE)
			f.release()
			m.wantStored("v", theirs)
		})
	}
}

// A new name that somebody else takes first is theirs.
func TestConflict_NewNames(t *testing.T) {
	h := newHost(t)
	a, b := h.mount(t, Options{Conflict: ConflictFail}), h.mount(t, Options{Conflict: ConflictFail})
	a.mkdir(rootID, "t")
	a.mkdir(a.id("t"), "s")
	eventually(t, "b has the service", func() bool { id, _ := b.lookup(rootID, "t"); return id != 0 })
	fa, fb := a.made("t/s/v", trunc), b.made("t/s/v", trunc)
	fa.write(0, "first")
	a.ok("close", fa.close())
	fb.write(0, "second")
	b.want("close", fb.close(), syscall.ESTALE)
	a.wantStored("v", "first")
	f := b.opened("t/s/v", trunc)
	f.write(0, "third")
	b.ok("close", f.close())
	a.wantStored("v", "third")
}

// What is kept of processes is bounded, and that of those that have ended is forgotten.
func TestSightings(t *testing.T) {
	var s sightings
	s.init()
	alive := map[int]bool{}
	s.exists = func(pid int) bool { return alive[pid] }
	for id := range uint64(2 * maxSightings) {
		s.note(1, id, id+1)
	}
	s.note(2, 5, 7)
	s.note(2, 5, 8)
	for _, tt := range []struct {
		pid     int
		id      uint64
		version uint64
		ok      bool
	}{
		{1, 0, 0, false}, {1, maxSightings, maxSightings + 1, true}, {1, 2*maxSightings - 1, 2 * maxSightings, true}, {2, 5, 8, true}, {2, 6, 0, false}, {3, 5, 0, false},
	} {
		if version, ok := s.of(tt.pid, tt.id); version != tt.version || ok != tt.ok {
			t.Errorf("process %d has seen %d in version %d (%v), want %d (%v)", tt.pid, tt.id, version, ok, tt.version, tt.ok)
		}
	}
	for pid := range 10 * firstSweep {
		alive[pid+1] = pid < firstSweep/2
		s.note(pid+1, 1, 1)
	}
	if n := len(s.m); n > firstSweep+1 {
		t.Errorf("%d processes are known of which %d are alive", n, firstSweep/2)
	}
	if _, ok := s.of(2, 5); !ok {
		t.Error("a process that is alive was forgotten")
	}
	s.note(0, 1, 1)
	if _, ok := s.of(0, 1); ok {
		t.Error("something was noted of a process that cannot be seen")
	}
}
