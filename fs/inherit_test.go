package fs

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/fs/estate"
	varsync "github.com/commy-project/commyfs/sync"
)

// newMortal is a mount of a new host, with the empty service t/s, that leaves an estate.
func newMortal(t *testing.T) (*host, *mount) {
	t.Helper()
	h := newHost(t)
	m := h.mount(t, Options{Heirs: true})
	m.mkdir(rootID, "t")
	m.mkdir(m.id("t"), "s")
	return h, m
}

// heir is what takes m over, whose process has died: from here on m must not be used.
func (h *host) heir(t *testing.T, m *mount) *mount {
	t.Helper()
	fd, err := syscall.Dup(int(m.estate.File().Fd()))
	if err != nil {
		t.Fatal(err)
	}
	e, err := estate.Open(os.NewFile(uintptr(fd), "estate"))
	if err != nil {
		t.Fatal(err)
	}
	e.TakeOver()
	f := newFS(Options{Conflict: m.o.Conflict})
	f.has(e)
	f.kernel.Adopt(nil)
	if err := f.connect(t.Context(), h.options()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.cancel()
		f.c.Close()
		_ = e.Close()
	})
	if _, err := f.inheritServices(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.inherit(t.Context(), e)
	return &mount{f, t}
}

// of is the descriptor in another process.
func (f *file) of(m *mount) *file { return &file{m, f.node, f.fh} }

// resent makes a request again that the process before has read.
func resent(h fuse.InHeader, unique uint64) fuse.InHeader {
	h.Unique = unique | resendBit
	return h
}

// TestInheritWriters: what descriptors have to commit goes on, or fails; nothing is lost without a word.
func TestInheritWriters(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before func(m *mount) *file
		after  func(f *file) fuse.Status // nil: close
		status syscall.Errno
		want   string
	}{
		{name: "O_TRUNC, nothing written", before: func(m *mount) *file { return m.opened("t/s/v", wronly|syscall.O_TRUNC) }, want: ""},
		{name: "O_TRUNC, then written", before: func(m *mount) *file { return m.opened("t/s/v", wronly|syscall.O_TRUNC) },
			after: func(f *file) fuse.Status { f.write(0, "new"); return f.close() }, want: "new"},
		{name: "gathered", before: func(m *mount) *file {
			f := m.opened("t/s/v", wronly|syscall.O_TRUNC)
			m.ok("write", f.write(0, "one "))
			m.ok("write", f.write(4, "two"))
			return f
		}, after: func(f *file) fuse.Status { f.write(7, " three"); return f.close() }, want: "one two three"},
		{name: "gathered, much", before: func(m *mount) *file {
			f := m.opened("t/s/v", wronly|syscall.O_TRUNC)
			for i := range 40 {
				m.ok("write", f.write(uint64(i*1000), strings.Repeat("x", 1000)))
			}
			m.ok("truncate", f.truncate(30_000))
			m.ok("truncate", f.truncate(30_010))
			return f
		}, want: strings.Repeat("x", 30_000) + strings.Repeat("\x00", 10)},
		{name: "more than is kept", before: func(m *mount) *file {
			for { // others have filled the memory
				rec := m.estate.AddHandle(estate.Opened{Fh: 1 << 40})
				if !m.estate.Keep(rec, estate.Kept, 0, make([]byte, 4<<20), 0, 4<<20, 0) {
					break
				}
			}
			f := m.opened("t/s/v", wronly|syscall.O_TRUNC)
			m.ok("write", f.write(0, strings.Repeat("x", 100)))
			return f
		}, status: syscall.EIO, want: "old"},
		{name: "committed", before: func(m *mount) *file {
			f := m.opened("t/s/v", wronly|syscall.O_TRUNC)
			m.ok("write", f.write(0, "new"))
			m.ok("flush", f.flush())
			return f
		}, after: func(f *file) fuse.Status { f.write(3, "er"); return f.close() }, want: "newer"},
		{name: "by a writer that was killed", before: func(m *mount) *file {
			f := m.opened("t/s/v", wronly|syscall.O_TRUNC)
			m.ok("write", f.write(0, "half"))
			h := m.handles.get(f.fh)
			h.mu.Lock()
			h.state.(*replacer).killed = true
			h.unlock()
			return f
		}, status: syscall.EIO, want: "old"},
		{name: "edited", before: func(m *mount) *file {
			f := m.opened("t/s/v", wronly)
			m.ok("write", f.write(0, "O"))
			m.ok("fsync", f.fsync())
			return f
		}, after: func(f *file) fuse.Status { f.write(1, "L"); return f.close() }, want: "OLd"},
		{name: "a new file", before: func(m *mount) *file {
			f := m.made("t/s/n", wronly)
			m.ok("write", f.write(0, "value"))
			return f
		}, want: "old"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, m := newMortal(t)
			m.put("t/s/v", "old")
			f := tt.before(m).of(h.heir(t, m))
			if tt.after == nil {
				tt.after = (*file).close
			}
			f.m.want("close", tt.after(f), tt.status)
			f.m.wantStored("v", tt.want)
			if tt.name == "a new file" {
				f.m.wantStored("n", "value")
			}
			f.release()
			f.m.handles.remove(1 << 40) // what has filled the memory
			if n := len(f.m.handles.m); n != 0 {
				t.Errorf("%d handles are left", n)
			}
		})
	}
}

const wronly = syscall.O_WRONLY

// TestInheritReaders: a descriptor goes on in the value that it was reading, or in one that came after its end, and never in
// the middle of another.
func TestInheritReaders(t *testing.T) {
	for _, tt := range []struct {
		name   string
		read   []uint64 // offsets, before
		change string
		off    uint64
		want   string
		status syscall.Errno
	}{
		{"the same value", []uint64{0}, "", 2, "llo", 0},
		{"nothing read yet", nil, "other!", 2, "her!", 0},
		{"from the start", []uint64{0}, "other!", 0, "other!", 0},
		{"in the middle of another", []uint64{0}, "other!", 2, "", syscall.EIO},
		{"in the middle of one that has grown", []uint64{0}, "hello world", 2, "llo world", 0},
		{"at the end of one that has grown", []uint64{0}, "hello world", 5, " world", 0},
		{"at the end of another, for the first time", []uint64{0}, "other world", 5, "", 0},
		{"at the end of another, again", []uint64{0, 5}, "other world", 5, " world", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, m := newMortal(t)
			m.put("t/s/v", "hello")
			f := m.opened("t/s/v", syscall.O_RDONLY)
			for _, off := range tt.read {
				if _, status := f.read(off); status != 0 {
					t.Fatal(status)
				}
			}
			if tt.change != "" {
				h.mount(t, Options{}).put("t/s/v", tt.change)
			}
			f = f.of(h.heir(t, m))
			got, status := f.read(tt.off)
			if status != fuse.Status(tt.status) || got != tt.want {
				t.Errorf("read at %d: %q, %v", tt.off, got, status)
			}
			if tt.status != 0 { // it can begin anew
				f.wantRead(0, tt.change)
			}
		})
	}
}

// TestInheritEdits: changes that were acknowledged to who made them, and not sent, are made; those that the server has are not
// made again.
func TestInheritEdits(t *testing.T) {
	h, m := newMortal(t)
	m.put("t/s/v", "..........")
	f := m.opened("t/s/v", syscall.O_WRONLY)
	m.ok("write", f.write(0, "a"))
	rec := m.handles.get(f.fh).record
	fh := rec.Opened().Fh
	v := m.found("t/s/v").(*varsync.Variable)
	// One is under way, and is stored; one was never sent; a third was refused.
	one := m.estate.AddEdit(fh, 102, uint32(varsync.EditWrite), 1, 0, 0, []byte("b"))
	if _, err := v.Commit(t.Context(), varsync.Edit{Kind: varsync.EditWrite, Off: 1, Data: []byte("b"), Journal: &one.Report}); err != nil {
		t.Fatal(err)
	}
	m.estate.AddEdit(fh, 104, uint32(varsync.EditWrite), 2, 0, 0, []byte("c"))
	m.estate.AddEdit(fh, 106, uint32(varsync.EditWrite), 3, 0, 0, []byte("d")).Report.Answered(false)
	other := h.mount(t, Options{}).opened("t/s/v", syscall.O_WRONLY)
	m.ok("write", other.write(1, "X")) // over what is stored
	m.ok("close", other.close())

	g := f.of(h.heir(t, m))
	g.m.ok("fsync", g.fsync())
	g.m.wantStored("v", "aXcd......")
	// The requests that made them are made again, and change nothing more.
	for _, unique := range []uint64{102, 104, 106} {
		in := &fuse.WriteIn{InHeader: resent(g.m.header(g.node), unique), Fh: g.fh, Size: 1}
		if n, status := g.m.Write(nil, in, []byte("z")); n != 1 || status != 0 {
			t.Errorf("write %d again: %d, %v", unique, n, status)
		}
	}
	g.m.ok("close", g.close())
	g.m.wantStored("v", "aXcd......")
	if left := g.m.estate.OrderedEdits(); len(left) != 0 {
		t.Errorf("%d edits are left", len(left))
	}
}

// TestInheritEditsUnderLocks: what was acknowledged while the mount had locks, and not carried out, is not made when others can have
// the locks. Who has made it is told.
func TestInheritEditsUnderLocks(t *testing.T) {
	h, m := newMortal(t)
	m.put("t/s/v", "..........")
	f := m.opened("t/s/v", syscall.O_WRONLY)
	m.ok("write", f.write(0, "a"))
	m.ok("fsync", f.fsync())
	m.estate.AddEdit(m.handles.get(f.fh).record.Opened().Fh, 104, uint32(varsync.EditWrite), 2, 0, 77, []byte("c"))
	g := f.of(h.heir(t, m))
	g.m.want("fsync", g.fsync(), syscall.EIO)
	g.m.wantStored("v", "a.........")
}

// TestInheritRequests: a request that the process before has carried out is answered and not carried out again; any other is.
func TestInheritRequests(t *testing.T) {
	h, m := newMortal(t)
	m.put("t/s/v", "v")
	m.put("t/s/gone", "1")
	s := m.id("t/s")
	header := func(m *mount, unique uint64) fuse.InHeader {
		h := m.header(s)
		h.Unique = unique
		return h
	}
	m.ok("mkdir", m.Mkdir(nil, &fuse.MkdirIn{InHeader: header(m, 10), Mode: 0o777}, "d", &fuse.EntryOut{}))
	unlink := header(m, 12)
	m.ok("unlink", m.Unlink(nil, &unlink, "gone"))
	m.ok("rename", m.Rename(nil, &fuse.RenameIn{InHeader: header(m, 14), Newdir: s}, "v", "w"))
	var created fuse.CreateOut
	m.ok("create", m.Create(nil, &fuse.CreateIn{InHeader: header(m, 16), Flags: syscall.O_WRONLY | syscall.O_CREAT | syscall.O_EXCL, Mode: 0o666}, "e", &created))
	log := m.made("t/s/log", syscall.O_WRONLY|syscall.O_APPEND)
	in := &fuse.WriteIn{InHeader: m.header(log.node), Fh: log.fh, Size: 1}
	in.Unique = 18
	if _, status := m.Write(nil, in, []byte("a")); status != 0 {
		t.Fatal(status)
	}
	// One died between the answer of the server and its own, one before it had sent anything, one did not hear of the answer.
	m.estate.Begin(20).Report.Answered(true)
	task := m.estate.Begin(22)
	for tk := range m.estate.Tasks() {
		if tk.Unique() == 20 {
			tk.Report.Sent(1 << 40)
			tk.Report.Answered(true)
		}
	}
	_ = task

	g := h.heir(t, m)
	g.ok("mkdir again", g.Mkdir(nil, &fuse.MkdirIn{InHeader: resent(g.header(s), 10), Mode: 0o777}, "d", &fuse.EntryOut{}))
	unlink = resent(g.header(s), 12)
	g.ok("unlink again", g.Unlink(nil, &unlink, "gone"))
	g.ok("rename again", g.Rename(nil, &fuse.RenameIn{InHeader: resent(g.header(s), 14), Newdir: s}, "v", "w"))
	g.wantValue("t/s/w", "v")
	var out fuse.CreateOut
	g.ok("create again", g.Create(nil, &fuse.CreateIn{InHeader: resent(g.header(s), 16), Flags: syscall.O_WRONLY | syscall.O_CREAT | syscall.O_EXCL,
		Mode: 0o666}, "e", &out))
	if out.Fh != created.Fh || out.NodeId != created.NodeId {
		t.Errorf("created again as %d, %d, was %d, %d", out.NodeId, out.Fh, created.NodeId, created.Fh)
	}
	in = &fuse.WriteIn{InHeader: resent(g.header(log.node), 18), Fh: log.fh, Size: 1}
	if n, status := g.Write(nil, in, []byte("a")); n != 1 || status != 0 {
		t.Errorf("write again: %d, %v", n, status)
	}
	g.wantStored("log", "a")
	g.ok("mkdir that was carried out", g.Mkdir(nil, &fuse.MkdirIn{InHeader: resent(g.header(s), 20), Mode: 0o777}, "d", &fuse.EntryOut{}))
	g.ok("mkdir that was not", g.Mkdir(nil, &fuse.MkdirIn{InHeader: resent(g.header(s), 22), Mode: 0o777}, "n", &fuse.EntryOut{}))
	g.want("mkdir that nobody has made", g.Mkdir(nil, &fuse.MkdirIn{InHeader: resent(g.header(s), 24), Mode: 0o777}, "d", &fuse.EntryOut{}), syscall.EEXIST)
}

// TestInheritTruncOpen: a process can die between the two requests of open(O_TRUNC).
func TestInheritTruncOpen(t *testing.T) {
	for _, after := range []bool{false, true} {
		h, m := newMortal(t)
		m.put("t/s/v", "old")
		f := m.opened("t/s/v", syscall.O_WRONLY|syscall.O_CREAT)
		if after {
			m.ok("setattr", m.emptying(f.node, &fuse.AttrOut{}))
		}
		g := f.of(h.heir(t, m))
		g.m.ok("setattr", g.m.emptying(g.node, &fuse.AttrOut{}))
		g.m.wantStored("v", "old")
		g.m.ok("write", g.write(0, "new"))
		g.m.ok("close", g.close())
		g.m.wantStored("v", "new")
	}
}

// TestInheritCondition: with conflict=fail a descriptor overwrites only what it has seen, whoever has the mount.
func TestInheritCondition(t *testing.T) {
	h := newHost(t)
	m := h.mount(t, Options{Heirs: true, Conflict: ConflictFail})
	m.mkdir(rootID, "t")
	m.mkdir(m.id("t"), "s")
	m.put("t/s/v", "old")
	replaces, edits := m.opened("t/s/v", syscall.O_WRONLY|syscall.O_TRUNC), m.opened("t/s/v", syscall.O_RDWR)
	m.ok("write", replaces.write(0, "new"))
	edits.read(0)
	h.mount(t, Options{}).put("t/s/v", "other")
	g := h.heir(t, m)
	replaces, edits = replaces.of(g), edits.of(g)
	g.want("close of what replaces another version", replaces.close(), syscall.ESTALE)
	g.want("write over another version", edits.write(0, "X"), syscall.ESTALE)
	edits.read(0)
	g.ok("write over what was read", edits.write(0, "X"))
	g.ok("close", edits.close())
	g.wantStored("v", "Xther")
}

// TestInheritLapsed: what only the process had that died is gone, and says so.
func TestInheritLapsed(t *testing.T) {
	h, m := newMortal(t)
	m.put("t/s/v", "1")
	swap := m.made("t/s/.v.swp", syscall.O_RDWR)
	m.ok("write", swap.write(0, "private"))
	orphan := m.opened("t/s/v", syscall.O_RDWR)
	orphan.read(0)
	m.ok("unlink", m.unlink("t/s/v"))
	g := h.heir(t, m)
	for name, f := range map[string]*file{"swap": swap.of(g), "orphan": orphan.of(g)} {
		if _, status := f.read(0); status != fuse.EIO {
			t.Errorf("%s: read: %v", name, status)
		}
		g.want(name+": write", f.write(0, "x"), syscall.EIO)
		g.want(name+": fsync", f.fsync(), syscall.EIO)
		g.want(name+": close", f.close(), syscall.EIO)
		var out fuse.AttrOut
		g.want(name+": stat", g.GetAttr(nil, &fuse.GetAttrIn{InHeader: g.header(f.node)}, &out), syscall.ESTALE)
	}
	g.wantNone("t/s/.v.swp")
}

// TestInheritDirs: a listing goes on if its directory is the same.
func TestInheritDirs(t *testing.T) {
	h, m := newMortal(t)
	for _, name := range []string{"a", "b", "c"} {
		m.put("t/s/"+name, name)
	}
	node, fh := m.openDir("t/s")
	first, _, off := m.readdir(node, fh, 0, 100, false)
	other, otherFh := m.openDir("t/s")
	_, _, otherOff := m.readdir(other, otherFh, 0, 100, false)
	g := h.heir(t, m)
	rest, _, _ := g.readdir(node, fh, off, 4096, false)
	if got := strings.Join(append(first, rest...), " "); got != ". .. a b c" {
		t.Errorf("listed %q", got)
	}
	h.mount(t, Options{}).put("t/s/d", "d")
	eventually(t, "the new file", func() bool { _, status := g.lookup(node, "d"); return status.Ok() })
	in := &fuse.ReadIn{InHeader: g.header(other), Fh: otherFh, Offset: otherOff, Size: 4096}
	if status := g.ReadDir(nil, in, fuse.NewDirEntryList(make([]byte, 4096), otherOff)); status != fuse.EIO {
		t.Errorf("the rest of a directory that has changed: %v", status)
	}
}

// TestInheritTime: the time that somebody has given what is written, and its mode, go with the value.
func TestInheritTime(t *testing.T) {
	h, m := newMortal(t)
	at := time.Unix(1_000_000_000, 0)
	f := m.made("t/s/n", syscall.O_WRONLY)
	m.ok("write", f.write(0, "1"))
	m.chmod(f.node, 0o640)
	m.utimes(f.node, at)
	g := f.of(h.heir(t, m))
	g.m.ok("close", g.close())
	if mode, mtime := g.m.kept("n"); mode != 0o640 || !mtime.Equal(at) {
		t.Errorf("mode %o, time %v", mode, mtime)
	}
}
