package fs

import (
	"syscall"
	"testing"
	"time"

	"github.com/commy-project/commyfs/model"
)

// parkedMount has a variable f that has just been renamed to the backup f~.
func parkedMount(t *testing.T) *mount {
	m := newMount(t, Options{})
	m.put("t/s/f", "old")
	m.ok("rename", m.rename("t/s/f", "t/s/f~", 0))
	m.wantNone("t/s/f")
	m.wantValue("t/s/f~", "old")
	m.wantStored("f", "old")
	m.wantStored("f~", "-")
	return m
}

func version(t *testing.T, m *mount, path string) string {
	t.Helper()
	h := m.header(m.id(path))
	buf := make([]byte, 100)
	n, status := m.GetXAttr(nil, &h, "user.commy.version", buf)
	m.ok("getxattr", status)
	return string(buf[:n])
}

func TestParkedNameMadeAgainIsOneUpdate(t *testing.T) {
	m := parkedMount(t)
	m.put("t/s/f", "new")
	m.wantStored("f", "new")
	if v := version(t, m, "t/s/f"); v != "2" {
		t.Errorf("version %s, want 2", v)
	}
	m.wantValue("t/s/f~", "old")
	m.unparkAll()
	m.wantStored("f~", "-") // the backup lives in the mount
}

func TestParkedIsMovedWhenItsTimeIsOver(t *testing.T) {
	m := parkedMount(t)
	began := time.Now()
	eventually(t, "moved", func() bool { return m.stored("f~") == "old" })
	if d := time.Since(began); d > parkTime+10*time.Second {
		t.Errorf("took %v", d)
	}
	m.unshared.backups.Wait()
	m.wantStored("f", "-")
	m.wantValue("t/s/f~", "old")
	m.wantNone("t/s/f")
}

func TestParkedBackup(t *testing.T) {
	write := func(m *mount) {
		f := m.opened("t/s/f~", wr)
		m.ok("write", f.write(0, "OLD"))
		m.ok("close", f.close())
	}
	for _, tt := range []struct {
		name           string
		do             func(m *mount)
		stored, backup string // of f and f~ at the server
	}{
		{"removed", func(m *mount) { m.ok("unlink", m.unlink("t/s/f~")) }, "-", "-"},
		{"at the end of the mount", func(m *mount) { m.unparkAll() }, "-", "old"},
		{"written, then the end", func(m *mount) { write(m); m.unparkAll() }, "-", "OLD"},
		{"written, then removed elsewhere, then the end", func(m *mount) {
			write(m)
			m.elsewhere(model.OpDelete, "f")
			m.unparkAll()
		}, "-", "OLD"},
		{"removed elsewhere, then the end", func(m *mount) { m.elsewhere(model.OpDelete, "f"); m.unparkAll() }, "-", "old"},
		{"removed elsewhere, then back", func(m *mount) {
			m.elsewhere(model.OpDelete, "f")
			m.ok("rename", m.rename("t/s/f~", "t/s/f", 0))
		}, "old", "-"},
		{"back", func(m *mount) { m.ok("rename", m.rename("t/s/f~", "t/s/f", 0)) }, "old", "-"},
		{"written, then back", func(m *mount) { write(m); m.ok("rename", m.rename("t/s/f~", "t/s/f", 0)) }, "OLD", "-"},
		{"a directory takes the name", func(m *mount) { m.mkdir(m.id("t/s"), "f") }, "dir", "old"},
		{"parked again over the backup", func(m *mount) {
			m.put("t/s/f", "new")
			m.ok("rename", m.rename("t/s/f", "t/s/f~", 0))
			m.unparkAll()
		}, "-", "new"},
		{"another is parked over the backup", func(m *mount) {
			m.put("t/s/g", "g")
			m.ok("rename", m.rename("t/s/g", "t/s/f~", 0))
			m.unparkAll()
		}, "-", "g"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := parkedMount(t)
			tt.do(m)
			if tt.stored == "dir" {
				m.id("t/s/f")
			} else {
				m.wantStored("f", tt.stored)
			}
			m.wantStored("f~", tt.backup)
			m.unparkAll()
			if n := len(m.unshared.hidden); n != 0 {
				t.Errorf("%d names are hidden still", n)
			}
		})
	}
}

// What was written to an open backup while it became the variable is not lost.
func TestParkedBackupIsWrittenAfterTheMove(t *testing.T) {
	m := parkedMount(t)
	f := m.opened("t/s/f~", syscall.O_RDWR)
	m.unparkAll()
	m.ok("write", f.write(3, "er"))
	m.ok("close", f.close())
	m.wantStored("f~", "older")
}

// elsewhere makes a change that others make.
func (m *mount) elsewhere(op model.Op, name string) {
	m.t.Helper()
	if _, err := m.c.Report(m.t.Context(), model.Change{Op: op, Tenant: "t", Service: "s", Name: name}); err != nil {
		m.t.Fatal(err)
	}
}

// What was written to a backup stays, whatever becomes of the rename that was acknowledged.
func TestParkedIsRefused(t *testing.T) {
	m := parkedMount(t)
	f := m.opened("t/s/f~", wr)
	m.ok("write", f.write(0, "OLD"))
	m.elsewhere(model.OpMkdir, "f~")
	m.unparkAll()
	m.wantValue("t/s/f", "old")
	m.wantValue("t/s/f~", "OLD")
	if got := m.privateFiles(); len(got) != 1 || got[0].Path != "t/s/f~" {
		t.Errorf("private: %v", got)
	}
	m.ok("rename", m.rename("t/s/f~", "t/s/f", 0))
	m.wantStored("f", "OLD")
	m.ok("close", f.close())
}

// While there is no server the backup stays; it becomes the variable when there is one.
func TestParkedWithoutServer(t *testing.T) {
	h := newHost(t)
	by := h.options()
	by.Timeout = 2 * time.Second // what succeeds before may take that long, too
	m := h.mountBy(t, by, Options{})
	m.mkdir(rootID, "t")
	m.mkdir(m.id("t"), "s")
	m.put("t/s/f", "old")
	m.ok("rename", m.rename("t/s/f", "t/s/f~", 0))
	h.srv.Close()
	f := m.opened("t/s/f~", wr)
	m.ok("write", f.write(0, "OLD"))
	m.ok("close", f.close())
	eventually(t, "tried", func() bool { l := m.unshared.parkedOf(m.id("t/s"), "f"); return l != nil && l.backup.warned.Load() })
	m.wantValue("t/s/f~", "OLD")
	m.want("unlink", m.unlink("t/s/f~"), syscall.EIO)
	m.want("rename", m.rename("t/s/f~", "t/s/g", 0), syscall.EIO)
	m.wantValue("t/s/f~", "OLD")
	h.start()
	other := h.mount(t, Options{})
	eventually(t, "moved", func() bool { return other.stored("f~") == "OLD" })
	other.wantStored("f", "-")
}

// A refusal comes to the one who removes the backup, and the variable is there again.
func TestParkedRefusal(t *testing.T) {
	m := parkedMount(t)
	m.elsewhere(model.OpDelete, "f")
	m.want("unlink", m.unlink("t/s/f~"), syscall.ENOENT)
	m.wantNone("t/s/f~")
	m.wantNone("t/s/f")
}
