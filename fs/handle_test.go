package fs

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/model"
)

const (
	rdwr  = syscall.O_RDWR
	apnd  = syscall.O_WRONLY | syscall.O_APPEND
	retry = syscall.EISDIR // what a draft is refused with whose name has become a directory elsewhere
)

func (f *file) wantRead(off uint64, want string) {
	f.m.t.Helper()
	got, status := f.read(off)
	f.m.ok("read", status)
	if got != want {
		f.m.t.Errorf("read at %d: %.40q, want %.40q", off, got, want)
	}
}

func (f *file) size() uint64 {
	f.m.t.Helper()
	var out fuse.AttrOut
	f.m.ok("getattr", f.m.GetAttr(nil, &fuse.GetAttrIn{InHeader: f.m.header(f.node)}, &out))
	return out.Size
}

// A descriptor sees its own writes at any offset, whatever it has read before (S6).
func TestOwnWritesAreSeen(t *testing.T) {
	for _, tt := range []struct {
		name  string
		flags uint32
		do    func(f *file)
		want  string
	}{
		{"read, write", rdwr, func(f *file) { f.read(0); f.write(2, "XY") }, "heXYo"},
		{"read, two writes on their way", rdwr, func(f *file) { f.read(0); f.write(1, "A"); f.write(2, "BC"); f.write(5, "!") }, "hABCo!"},
		{"read, ftruncate", rdwr, func(f *file) { f.read(0); f.truncate(3) }, "hel"},
		{"read, ftruncate to grow", rdwr, func(f *file) { f.read(0); f.truncate(7) }, "hello\x00\x00"},
		{"read, append", rdwr | syscall.O_APPEND, func(f *file) { f.read(0); f.write(0, "!") }, "hello!"},
		{"ftruncate to nothing, write", rdwr, func(f *file) { f.read(0); f.truncate(0); f.write(0, "xyz") }, "xyz"},
		{"O_TRUNC, read, write, fsync", rdwr | syscall.O_TRUNC, func(f *file) { f.read(0); f.write(0, "xyz"); f.fsync() }, "xyz"},
		{"O_TRUNC, fsync, write", rdwr | syscall.O_TRUNC, func(f *file) { f.write(0, "xyz"); f.fsync(); f.read(0); f.write(1, "Y") }, "xYz"},
		{"O_TRUNC, fsync, ftruncate", rdwr | syscall.O_TRUNC, func(f *file) { f.write(0, "xyz"); f.fsync(); f.read(0); f.truncate(4) }, "xyz\x00"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMount(t, Options{})
			m.put("t/s/v", "hello")
			f := m.opened("t/s/v", tt.flags)
			tt.do(f)
			f.wantRead(1, tt.want[1:])
			f.wantRead(0, tt.want)
			m.ok("close", f.close())
			m.wantStored("v", tt.want)
		})
	}
}

// An O_TRUNC descriptor through which nothing is written publishes the empty value only if nobody was faster (S9).
func TestIdleReplacerDestroysNothing(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(m *mount, f *file)
	}{
		{"close", func(m *mount, f *file) { m.ok("close", f.close()) }},
		{"fsync", func(m *mount, f *file) { m.ok("fsync", f.fsync()); m.ok("close", f.close()) }},
	} {
		for _, there := range []bool{true, false} {
			t.Run(tt.name, func(t *testing.T) {
				m := newMount(t, Options{})
				var f *file
				if there {
					m.put("t/s/v", "old")
					f = m.opened("t/s/v", trunc)
				} else {
					f = m.made("t/s/v", trunc)
				}
				a := m.opened("t/s/v", apnd)
				m.ok("append", a.write(0, "a"))
				m.ok("append", a.write(0, "b"))
				m.ok("close", a.close())
				want := m.stored("v")
				tt.end(m, f)
				m.wantStored("v", want)
			})
		}
	}
}

// What is written after the first commit is an edit, as on a disk (S9).
func TestReplacerEditsAfterItsFirstCommit(t *testing.T) {
	m := newMount(t, Options{})
	m.put("t/s/v", "old")
	f := m.opened("t/s/v", trunc)
	f.write(0, "one ")
	m.ok("fsync", f.fsync())
	a := m.opened("t/s/v", apnd)
	m.ok("append", a.write(0, "by another"))
	m.ok("close", a.close())
	m.ok("write", f.write(0, "two "))
	m.ok("fsync", f.fsync())
	m.wantStored("v", "two by another")
	m.ok("close", f.close())
	m.wantStored("v", "two by another")
}

// A commit that was refused is refused again when the caller tries again, and is not made behind his back.
func TestRefusedFsyncIsNotForgotten(t *testing.T) {
	m := newMount(t, Options{})
	f := m.made("t/s/d", trunc)
	m.ok("write", f.write(0, "new"))
	change := func(op model.Op) {
		t.Helper()
		if _, err := m.c.Report(t.Context(), model.Change{Op: op, Tenant: "t", Service: "s", Name: "d"}); err != nil {
			t.Fatal(err)
		}
	}
	change(model.OpMkdir)
	m.want("fsync", f.fsync(), retry)
	m.want("fsync again", f.fsync(), retry)
	m.want("close", f.flush(), retry)
	change(model.OpRmdir)
	f.release()
	m.wantStored("d", "-")

	f = m.made("t/s/d", trunc)
	m.ok("write", f.write(0, "new"))
	change(model.OpMkdir)
	m.want("fsync", f.fsync(), retry)
	change(model.OpRmdir)
	m.ok("fsync again", f.fsync())
	m.wantStored("d", "new")
	f.close()
}

// A descriptor that has emptied its file is published when it rests, but not between the pieces of one write.
func TestClearedDescriptorRests(t *testing.T) {
	m := newMount(t, Options{})
	m.put("t/s/v", "old")
	f := m.opened("t/s/v", wr)
	defer f.close()
	h := m.handles.get(f.fh)
	since := func(d time.Duration) {
		h.mu.Lock()
		r := h.state.(*replacer)
		r.rest.end()
		r.rest.wrote = time.Now().Add(-d)
		h.mu.Unlock()
		r.rested()
	}
	m.ok("ftruncate", f.truncate(0))
	piece := strings.Repeat("x", blockSize)
	m.ok("write", f.write(0, piece))
	since(0)
	m.wantStored("v", "old")
	since(clearTime) // more of it is to be expected
	m.wantStored("v", "old")
	m.ok("write", f.write(blockSize, "end"))
	since(0)
	m.wantStored("v", "old")
	since(clearTime)
	m.wantStored("v", piece+"end")

	m.ok("ftruncate", f.truncate(0))
	m.ok("write", f.write(0, piece))
	since(partTime)
	m.wantStored("v", piece)
}

// A commit that was refused while a descriptor rested does not keep what it gathers later from being published when it
// rests: some keep such a descriptor open for ever.
func TestClearedDescriptorRestsAgain(t *testing.T) {
	m := newMount(t, Options{})
	m.put("t/s/v", "old")
	f := m.opened("t/s/v", wr)
	defer f.close()
	m.ok("ftruncate", f.truncate(0))
	h := m.handles.get(f.fh)
	h.mu.Lock()
	h.state.(*replacer).refused = true // as by a server that was away
	h.mu.Unlock()
	time.Sleep(2 * clearTime) // nothing is to happen
	m.wantStored("v", "old")
	m.ok("ftruncate", f.truncate(0))
	m.ok("write", f.write(0, "new"))
	eventually(t, "published", func() bool { return m.stored("v") == "new" })
	m.ok("ftruncate", f.truncate(0))
	h.mu.Lock()
	h.state.(*replacer).refused = true
	h.mu.Unlock()
	time.Sleep(2 * clearTime)
	m.ok("write", f.write(0, "newer"))
	eventually(t, "published", func() bool { return m.stored("v") == "newer" })
}

// The size that a descriptor's process is shown is that of what it has gathered, from the open on.
func TestSizeOfWhatIsGathered(t *testing.T) {
	m := newMount(t, Options{})
	m.put("t/s/v", "hello")
	f := m.opened("t/s/v", rdwr|syscall.O_TRUNC)
	defer f.close()
	if got := f.size(); got != 0 {
		t.Errorf("size %d after the open", got)
	}
	f.truncate(9)
	if got := f.size(); got != 9 {
		t.Errorf("size %d after ftruncate", got)
	}
	in := &fuse.GetAttrIn{InHeader: m.header(f.node)}
	in.Pid = uint32(os.Getppid())
	var out fuse.AttrOut
	m.ok("getattr", m.GetAttr(nil, in, &out))
	if out.Size != 5 {
		t.Errorf("size %d for others", out.Size)
	}
	e := m.opened("t/s/v", rdwr)
	defer e.close()
	e.truncate(0)
	m.ok("close", f.flush())
	if got := e.size(); got != 0 {
		t.Errorf("size %d after ftruncate to nothing", got)
	}
}

// A lookup tells a process the size of what it gathers, but nobody makes the kernel take a file for shorter than the
// committed value is.
func TestSizeAtALookup(t *testing.T) {
	m := newMount(t, Options{})
	m.put("t/s/v", "hello")
	draft, f := m.made("t/s/new", trunc), m.opened("t/s/v", trunc)
	defer draft.close()
	defer f.close()
	size := func(name string, pid int) uint64 {
		t.Helper()
		h := m.header(m.id("t/s"))
		h.Pid = uint32(pid)
		var out fuse.EntryOut
		m.ok("lookup", m.Lookup(nil, &h, name, &out))
		if out.AttrValid != 0 {
			t.Errorf("%s: kept for %d s", name, out.AttrValid)
		}
		return out.Size
	}
	check := func(name string, own, others uint64) {
		t.Helper()
		if got := size(name, os.Getpid()); got != own {
			t.Errorf("%s: size %d, want %d", name, got, own)
		}
		if got := size(name, os.Getppid()); got != others {
			t.Errorf("%s: size %d for others, want %d", name, got, others)
		}
	}
	check("new", 0, 0)
	check("v", 5, 5)
	m.ok("write", draft.write(0, "abc"))
	m.ok("write", f.write(0, "abc"))
	check("new", 3, 0)
	check("v", 5, 5)
	m.ok("write", f.write(3, "defg"))
	check("v", 7, 5)
}

// The kernel takes the size that a poke is answered with as it is, also when it has counted more that was written.
func TestPokeDoesNotTakeBackWhatWasWritten(t *testing.T) {
	m := newMount(t, Options{})
	m.put("t/s/v", "hello")
	f := m.opened("t/s/v", rdwr)
	defer f.close()
	m.ok("write", f.write(0, "J"))
	for off := uint64(10); off < 1000; off += 10 {
		m.ok("write", f.write(off, "x"))
		var out fuse.AttrOut
		m.kernel.PokeAttr(f.node, &out)
		if out.Size != off+1 {
			t.Fatalf("size %d after a write to %d", out.Size, off)
		}
	}
}

// The kernel takes the link that a poke is answered with as it is: of a file that it has just removed it must not hear of one.
func TestPokeDoesNotBringBackWhatWasRemoved(t *testing.T) {
	m := newMount(t, Options{})
	m.put("t/s/v", "hello")
	node := m.id("t/s/v")
	m.ok("stat", m.kernel.PokeAttr(node, &fuse.AttrOut{}))
	m.ok("unlink", m.unlink("t/s/v"))
	m.want("stat", m.kernel.PokeAttr(node, &fuse.AttrOut{}), syscall.ESTALE)
}
