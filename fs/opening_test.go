package fs

import (
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// emptied opens a file as open(O_TRUNC) does, in two requests.
func (m *mount) emptied(path string, flags uint32) (*file, fuse.AttrOut) {
	m.t.Helper()
	f := m.opened(path, flags)
	var out fuse.AttrOut
	m.ok("setattr", m.emptying(f.node, &out))
	return f, out
}

func (m *mount) emptying(node uint64, out *fuse.AttrOut) fuse.Status {
	in := &fuse.SetAttrIn{}
	in.InHeader, in.Valid = m.header(node), fuse.FATTR_SIZE|fuse.FATTR_LOCKOWNER
	return m.SetAttr(nil, in, out)
}

// open(O_TRUNC) commits nothing, and the kernel is not told that the file is empty; truncate commits at once.
func TestEmptyingOpen(t *testing.T) {
	m := newMount(t, Options{})
	m.put("t/s/v", "hello")
	f, out := m.emptied("t/s/v", rdwr)
	if out.Size != 5 || out.AttrValid != 0 {
		t.Errorf("the kernel is told size %d for %d s", out.Size, out.AttrValid)
	}
	f.wantRead(0, "")
	if got := f.size(); got != 0 {
		t.Errorf("its own size %d", got)
	}
	m.wantStored("v", "hello")
	m.ok("write", f.write(0, "new"))
	m.ok("close", f.close())
	m.wantStored("v", "new")

	f, _ = m.emptied("t/s/v", syscall.O_RDONLY)
	m.wantStored("v", "new")
	f.release()
	m.wantStored("v", "")

	m.put("t/s/v", "hello")
	f = m.opened("t/s/v", wr)
	m.id("t/s/v") // anything else that the thread asks for
	m.ok("truncate", m.emptying(f.node, &out))
	m.wantStored("v", "")
	m.ok("close", f.close())
	m.wantStored("v", "")
	if n := m.openings.n.Load(); n != 0 {
		t.Errorf("%d opens are remembered", n)
	}
}

// A file that somebody else has just renamed is opened by its new name, also with O_TRUNC.
func TestEmptyingOpenAfterARename(t *testing.T) {
	h := newHost(t)
	m, other := h.mount(t, Options{}), h.mount(t, Options{})
	m.mkdir(rootID, "t")
	m.mkdir(m.id("t"), "s")
	m.put("t/s/a", "hello")
	m.id("t/s/a")
	eventually(t, "there", func() bool { _, status := other.lookup(other.id("t/s"), "a"); return status == 0 })
	other.ok("rename", other.rename("t/s/a", "t/s/b", 0))
	f, _ := m.emptied("t/s/b", wr)
	m.ok("write", f.write(0, "new"))
	m.ok("close", f.close())
	m.wantStored("b", "new")
}
