package fs

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/transport"
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
	change := func(op transport.Op) {
		t.Helper()
		if _, err := m.c.Report(t.Context(), transport.Change{Op: op, Tenant: "t", Service: "s", Name: "d"}); err != nil {
			t.Fatal(err)
		}
	}
	change(transport.OpMkdir)
	m.want("fsync", f.fsync(), retry)
	m.want("fsync again", f.fsync(), retry)
	m.want("close", f.flush(), retry)
	change(transport.OpRmdir)
	f.release()
	m.wantStored("d", "-")

	f = m.made("t/s/d", trunc)
	m.ok("write", f.write(0, "new"))
	change(transport.OpMkdir)
	m.want("fsync", f.fsync(), retry)
	change(transport.OpRmdir)
	m.ok("fsync again", f.fsync())
	m.wantStored("d", "new")
	f.close()
}

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
		h := m.handles.get(r.fh)
		spare := h.spare[:cap(h.spare)]
		copy(spare, bytes.Repeat([]byte("?"), len(spare))) // as a failing Load leaves it
		r.wantRead(1, want[1:])
		if i > 0 && len(spare) == 0 {
			t.Error("no memory is used again")
		}
	}
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
		h.idle.Stop()
		h.wrote = time.Now().Add(-d)
		h.mu.Unlock()
		m.rested(h)
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
	m.handles.get(f.fh).ended.at = time.Now().Add(-comesBack)
	f.wantRead(14, ", and longer\n")
	f.wantRead(0, "something else, and longer\n")
	m.put("t/s/log", "short")
	m.handles.get(f.fh).ended.at = time.Now().Add(-comesBack)
	f.wantRead(27, "")
	if got := f.size(); got != 5 {
		t.Errorf("size %d", got)
	}
	f.wantRead(0, "short")
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
		m.notes.pokeAttr(f.node, &out)
		if out.Size != off+1 {
			t.Fatalf("size %d after a write to %d", out.Size, off)
		}
	}
}

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

// Who reads through the page cache to copy is refused; a private mapping gets what is committed.
func TestReadsThroughThePageCache(t *testing.T) {
	m := newMount(t, Options{})
	m.put("t/s/v", "hello")
	f := m.opened("t/s/v", syscall.O_RDONLY)
	defer f.release()
	read := func() (string, fuse.Status) {
		buf := make([]byte, blockSize)
		res, status := m.Read(nil, &fuse.ReadIn{InHeader: m.header(f.node), Fh: f.fh, Size: blockSize}, buf)
		if status != 0 {
			return "", status
		}
		data, _ := res.Bytes(buf)
		return string(data), status
	}
	for _, tt := range []struct {
		syscall string
		err     error
		want    fuse.Status
	}{
		{strconv.Itoa(unix.SYS_SENDFILE) + " 0x4 0x3", nil, fuse.EINVAL},
		{strconv.Itoa(unix.SYS_SPLICE) + " 0x4 0x3", nil, fuse.EINVAL},
		{strconv.Itoa(unix.SYS_COPY_FILE_RANGE) + " 0x4 0x3", nil, fuse.EINVAL},
		{"-1 0x7fff 0x7f", nil, fuse.OK}, // a fault
		{"running\n", nil, fuse.OK},
		{"", os.ErrPermission, fuse.OK},
	} {
		m.callers.open = func(string) ([]byte, error) { return []byte(tt.syscall), tt.err }
		if got, status := read(); status != tt.want || status == 0 && got != "hello" {
			t.Errorf("%q: %q, %v", tt.syscall, got, status)
		}
	}
	if !m.kernel.hasPages(f.node) {
		t.Error("its pages are not dropped at the next change")
	}
}

func TestCopyFileRange(t *testing.T) {
	m := newMount(t, Options{})
	m.put("t/s/v", "0123456789")
	m.put("t/s/w", "abcdef")
	from, to := m.opened("t/s/v", syscall.O_RDONLY), m.opened("t/s/w", wr)
	defer from.release()
	cp := func(off, n, at uint64) (uint32, fuse.Status) {
		return m.CopyFileRange(nil, &fuse.CopyFileRangeIn{InHeader: m.header(from.node), FhIn: from.fh, OffIn: off, Len: n,
			NodeIdOut: to.node, FhOut: to.fh, OffOut: at})
	}
	if n, status := cp(2, 3, 1); n != 3 || status != 0 {
		t.Errorf("copied %d, %v", n, status)
	}
	m.ok("fsync", to.fsync())
	m.wantStored("w", "a234ef")
	if n, status := cp(8, 100, 5); n != 2 || status != 0 {
		t.Errorf("copied %d, %v", n, status)
	}
	m.ok("fsync", to.fsync())
	m.wantStored("w", "a234e89")
	// A length that ends where an older, shorter value did can be what the kernel has made of a longer one.
	m.kernel.sized(from.node, 4, false)
	if _, status := cp(0, 4, 0); status != fuse.EINVAL {
		t.Errorf("copied a part: %v", status)
	}
	m.ok("close", to.close())
	to = m.opened("t/s/w", apnd)
	if _, status := cp(0, 4, 0); status != fuse.EBADF {
		t.Errorf("copied to the end: %v", status)
	}
	m.ok("close", to.close())
}
