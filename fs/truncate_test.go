package fs

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"

	varsync "github.com/commy-project/commyfs/sync"
)

// truncateBy is truncate(2) of a path by a process.
func (m *mount) truncateBy(pid int, node, size uint64) (fuse.AttrOut, fuse.Status) {
	in := &fuse.SetAttrIn{}
	in.InHeader, in.Valid, in.Size = m.header(node), fuse.FATTR_SIZE, size
	in.Pid = uint32(pid)
	var out fuse.AttrOut
	return out, m.SetAttr(nil, in, &out)
}

// A truncation that was acknowledged is part of what a descriptor publishes that was gathering meanwhile, whoever made it.
func TestTruncateWhileGathering(t *testing.T) {
	for _, tt := range []struct {
		name string
		size uint64
		old  string // what the server has after the truncation, where there was a value
		want string
	}{
		{"shorter", 3, "hel", "abc"},
		{"to nothing", 0, "", ""},
		{"longer", 8, "hello\x00\x00\x00", "abcdef\x00\x00"},
	} {
		for _, there := range []bool{true, false} {
			for _, by := range []int{os.Getpid(), os.Getppid()} {
				t.Run(tt.name, func(t *testing.T) {
					m := newMount(t, Options{})
					var f *file
					before := "-"
					if there {
						m.put("t/s/v", "hello")
						f, _ = m.emptied("t/s/v", rdwr)
						before = tt.old
					} else {
						f = m.made("t/s/v", rdwr)
					}
					m.ok("write", f.write(0, "abcdef"))
					_, status := m.truncateBy(by, f.node, tt.size)
					m.ok("truncate", status)
					m.wantStored("v", before)
					if got := f.size(); got != uint64(len(tt.want)) {
						t.Errorf("size %d, want %d", got, len(tt.want))
					}
					f.wantRead(0, tt.want)
					m.ok("close", f.close())
					m.wantStored("v", tt.want)
				})
			}
		}
	}
}

// A new file that was moved over a variable while it is open is truncated by the variable's name.
func TestTruncateWhatWasMovedOverAVariable(t *testing.T) {
	m := newMount(t, Options{})
	m.put("t/s/v", "hello")
	old := m.opened("t/s/v", syscall.O_RDONLY)
	f := m.made("t/s/new", rdwr)
	m.ok("write", f.write(0, "abcdef"))
	m.ok("rename", m.rename("t/s/new", "t/s/v", 0))
	node := m.id("t/s/v")
	if node == f.node {
		t.Fatal("the variable has the number of the new file")
	}
	_, status := m.truncateBy(os.Getppid(), node, 3)
	m.ok("truncate", status)
	m.wantStored("v", "hel")
	f.wantRead(0, "abc")
	m.ok("close", f.close())
	m.wantStored("v", "abc")
	old.release()
	if n := len(m.handles.m) + len(m.handles.nodes); n != 0 {
		t.Errorf("%d handles are left over", n)
	}
}

// A truncation makes no descriptor publish that must not: not after a refusal, nor of what was committed already.
func TestTruncateBesideDescriptors(t *testing.T) {
	m := newMount(t, Options{})
	m.put("t/s/v", "hello")
	f := m.opened("t/s/v", trunc)
	m.want("write", f.write(1<<62, "x"), syscall.EFBIG)
	_, status := m.truncateBy(os.Getpid(), f.node, 2)
	m.ok("truncate", status)
	m.want("close", f.close(), syscall.EFBIG)
	m.wantStored("v", "he")

	f = m.opened("t/s/v", trunc)
	m.ok("write", f.write(0, "new"))
	m.ok("fsync", f.fsync())
	_, status = m.truncateBy(os.Getpid(), f.node, 1)
	m.ok("truncate", status)
	m.wantStored("v", "n")
	m.ok("close", f.close())
	m.wantStored("v", "n")

	f = m.opened("t/s/v", trunc)
	m.ok("write", f.write(0, "new"))
	in := &fuse.SetAttrIn{}
	in.InHeader, in.Valid, in.Size = m.header(f.node), fuse.FATTR_SIZE, 1<<62
	m.want("truncate", m.SetAttr(nil, in, &fuse.AttrOut{}), syscall.EFBIG)
	m.ok("close", f.close())
	m.wantStored("v", "new")
}

// The kernel is told the size of the variable that a draft becomes by being truncated.
func TestTruncateMakesADraftAVariable(t *testing.T) {
	m := newMount(t, Options{})
	f := m.made("t/s/v", apnd)
	out, status := m.truncateBy(os.Getpid(), f.node, 4)
	m.ok("truncate", status)
	if out.Size != 4 {
		t.Errorf("size %d", out.Size)
	}
	m.wantStored("v", strings.Repeat("\x00", 4))
	m.ok("close", f.close())
}

// What changes a draft that another descriptor commits meanwhile changes the value of that, and does not replace it.
func TestDraftCommittedMeanwhile(t *testing.T) {
	m := newMount(t, Options{})
	for name, tt := range map[string]struct {
		e    varsync.Edit
		want string
	}{
		"write":    {varsync.Edit{Kind: varsync.EditWrite, Off: 1, Data: []byte("u")}, "hullo"},
		"truncate": {varsync.Edit{Kind: varsync.EditTruncate, Size: 2}, "he"},
	} {
		f := m.made("t/s/"+name, trunc)
		e := m.opened("t/s/"+name, wr)
		h := m.handles.get(e.fh)
		m.ok("write", f.write(0, "hello"))
		m.ok("fsync", f.fsync())
		h.mu.Lock()
		if err := m.commitDraft(h.l, &tt.e, nil); err != nil { // it has seen the draft before the fsync
			t.Error(err)
		}
		h.unlock()
		m.wantStored(name, tt.want)
		m.ok("close", e.close())
		m.ok("close", f.close())
		m.wantStored(name, tt.want)
	}
}
