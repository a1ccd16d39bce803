package fs

import (
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"

	varsync "github.com/commy-project/commyfs/sync"
)

// A file that is removed while it is open works until it is closed, in its mount (S24).
func TestRemovedWhileOpen(t *testing.T) {
	for _, tt := range []struct {
		name  string
		made  bool
		flags uint32
		do    func(m *mount, f *file) // before the removal
		want  string                  // what the descriptor sees after it
	}{
		{"nothing written", false, rdwr, func(*mount, *file) {}, "hello"},
		{"edited", false, rdwr, func(m *mount, f *file) { f.write(0, "J"); f.write(1, "u"); f.write(5, "!") }, "Jullo!"},
		{"read and edited", false, rdwr, func(m *mount, f *file) { f.read(0); f.write(0, "J"); f.truncate(4) }, "Jell"},
		{"appended", false, rdwr | syscall.O_APPEND, func(m *mount, f *file) { f.write(0, "!"); f.write(0, "!") }, "hello!!"},
		{"replaced", false, rdwr | syscall.O_TRUNC, func(m *mount, f *file) { f.write(0, "new") }, "new"},
		{"replaced and synced", false, rdwr | syscall.O_TRUNC, func(m *mount, f *file) { f.write(0, "new"); f.fsync(); f.write(3, "er") }, "newer"},
		{"made O_EXCL", true, rdwr | syscall.O_EXCL, func(*mount, *file) {}, ""},
		{"made O_EXCL, synced", true, rdwr | syscall.O_EXCL, func(m *mount, f *file) { f.write(0, "new"); f.fsync() }, "new"},
		{"made", true, rdwr, func(m *mount, f *file) { f.write(0, "new") }, "new"},
	} {
		for _, elsewhere := range []bool{false, true} {
			if elsewhere && tt.made && tt.flags&syscall.O_EXCL == 0 {
				continue // a draft is nowhere else
			}
			t.Run(tt.name, func(t *testing.T) {
				h := newHost(t)
				m, by := h.mount(t, Options{}), h.mount(t, Options{})
				m.mkdir(rootID, "t")
				m.mkdir(m.id("t"), "s")
				var f *file
				if tt.made {
					f = m.made("t/s/v", tt.flags)
				} else {
					m.put("t/s/v", "hello")
					f = m.opened("t/s/v", tt.flags)
				}
				tt.do(m, f)
				if elsewhere {
					eventually(t, "the other mount has it", func() bool {
						dir, status := by.lookup(rootID, "t")
						if status == 0 {
							dir, status = by.lookup(dir, "s")
						}
						if status == 0 {
							_, status = by.lookup(dir, "v")
						}
						return status == 0
					})
					by.ok("unlink", by.unlink("t/s/v"))
				} else {
					m.ok("unlink", m.unlink("t/s/v"))
				}
				check := func(want string) {
					t.Helper()
					f.wantRead(0, want)
					if len(want) > 1 {
						f.wantRead(1, want[1:])
					}
					if got := f.size(); got != uint64(len(want)) {
						t.Errorf("size %d, want %d", got, len(want))
					}
				}
				if tt.name != "nothing written" || !elsewhere { // there it may not be known yet
					check(tt.want)
				}
				m.ok("write", f.write(0, "AB"))
				m.ok("fsync", f.fsync())
				want := tt.want
				if tt.flags&syscall.O_APPEND != 0 {
					want += "AB"
				} else {
					want = "AB" + want[min(2, len(want)):]
				}
				check(want)
				m.ok("ftruncate", f.truncate(1))
				check(want[:1])
				m.ok("ftruncate", f.truncate(3))
				check(want[:1] + "\x00\x00")
				m.ok("close", f.close())
				m.wantStored("v", "-")
				if n := len(m.handles.m) + len(m.handles.nodes); n != 0 {
					t.Errorf("%d handles are left over", n)
				}
			})
		}
	}
}

// The descriptors of a removed file see each other, those of one that was renamed over another are on that one.
func TestDescriptorsFollowTheirFile(t *testing.T) {
	m := newMount(t, Options{})
	m.put("t/s/v", "hello")
	a, b := m.opened("t/s/v", rdwr), m.opened("t/s/v", syscall.O_RDONLY)
	m.ok("unlink", m.unlink("t/s/v"))
	m.put("t/s/v", "another")
	m.ok("write", a.write(0, "J"))
	b.wantRead(0, "Jello")
	m.ok("close", a.close())
	b.wantRead(0, "Jello")
	b.release()
	m.wantStored("v", "another")

	m.put("t/s/w", "w")
	e := m.opened("t/s/w", rdwr)
	m.ok("rename", m.rename("t/s/w", "t/s/v", 0))
	m.ok("write", e.write(1, "v"))
	e.wantRead(0, "wv")
	m.ok("close", e.close())
	m.wantStored("v", "wv")
	m.wantStored("w", "-")
}

// A descriptor that takes its file for removed while that is moved over another leaves the other as it is.
func TestMovedWhileTakenForRemoved(t *testing.T) {
	for _, early := range []bool{true, false} {
		m := newMount(t, Options{})
		m.put("t/s/v", "hello")
		m.put("t/s/w", "w")
		e := m.opened("t/s/w", rdwr)
		w, v := m.node(e.node).(*varsync.Variable), m.node(m.id("t/s/v")).(*varsync.Variable)
		none := func() []byte { return nil }
		if early {
			m.handles.orphaned(e.node, w, none)
		}
		m.ok("rename", m.rename("t/s/w", "t/s/v", 0))
		if !early {
			m.handles.orphaned(e.node, w, none)
		}
		if m.handles.orphan(v.ID()) != nil {
			t.Errorf("early %v: the other has been removed", early)
		}
		in := &fuse.SetAttrIn{}
		in.InHeader, in.Valid, in.Size = m.header(v.ID()), fuse.FATTR_SIZE, 0
		m.ok("truncate", m.SetAttr(nil, in, &fuse.AttrOut{}))
		m.wantStored("v", "")
		e.release()
		if n := len(m.handles.m) + len(m.handles.nodes); n != 0 {
			t.Errorf("%d handles are left over", n)
		}
	}
}
