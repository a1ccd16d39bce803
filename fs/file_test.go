package fs

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
)

const (
	wr    = syscall.O_WRONLY
	trunc = syscall.O_WRONLY | syscall.O_TRUNC
)

// What a descriptor publishes, and when (S9).
func TestReplacingDescriptor(t *testing.T) {
	for _, tt := range []struct {
		name     string
		do       func(m *mount, f *file)
		before   string // at the server before the last close
		released string // and after it
	}{
		{"nothing but close", func(m *mount, f *file) { m.ok("flush", f.flush()) }, "old", ""},
		{"write and close", func(m *mount, f *file) { f.write(0, "new"); m.ok("flush", f.flush()) }, "new", "new"},
		{"write, no close", func(m *mount, f *file) { f.write(0, "new") }, "old", "new"},
		{"fsync of nothing", func(m *mount, f *file) { m.ok("fsync", f.fsync()) }, "", ""},
		{"fsync", func(m *mount, f *file) { f.write(0, "new"); m.ok("fsync", f.fsync()) }, "new", "new"},
		{"write after fsync", func(m *mount, f *file) { f.write(0, "new"); f.fsync(); f.write(1, "ot"); f.flush() }, "not", "not"},
		{"with a hole", func(m *mount, f *file) { f.write(2, "x"); f.flush() }, "\x00\x00x", "\x00\x00x"},
		{"ftruncate edits what is gathered", func(m *mount, f *file) {
			f.write(0, "abcdef")
			m.ok("ftruncate", f.truncate(3))
			m.ok("ftruncate", f.truncate(5))
		}, "old", "abc\x00\x00"},
		{"beyond every value", func(m *mount, f *file) {
			f.write(0, "a")
			m.want("write", f.write(1<<62, "b"), syscall.EFBIG)
			m.want("write", f.write(1<<63-1, "b"), syscall.EFBIG)
			m.want("write after it", f.write(0, "b"), syscall.EFBIG)
			m.want("flush", f.flush(), syscall.EFBIG)
			m.want("fsync", f.fsync(), syscall.EFBIG)
		}, "old", "old"},
		{"begun anew after a refusal", func(m *mount, f *file) {
			m.want("write", f.write(1<<62, "b"), syscall.EFBIG)
			m.ok("ftruncate", f.truncate(0))
			m.ok("write", f.write(0, "again"))
			m.ok("flush", f.flush())
		}, "again", "again"},
		{"ftruncate beyond every value", func(m *mount, f *file) {
			m.want("ftruncate", f.truncate(1<<62), syscall.EFBIG)
			m.want("ftruncate", f.truncate(1<<63), syscall.EINVAL)
			m.ok("write", f.write(0, "x"))
		}, "old", "x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMount(t, Options{})
			m.put("t/s/v", "old")
			f := m.opened("t/s/v", trunc)
			tt.do(m, f)
			m.wantStored("v", tt.before)
			f.release()
			m.wantStored("v", tt.released)
		})
	}
}

// The descriptor sees its own writes, everybody else the value that is committed.
func TestReplacingDescriptorReadsItsOwn(t *testing.T) {
	m := newMount(t, Options{})
	m.put("t/s/v", "old")
	f := m.opened("t/s/v", syscall.O_RDWR|syscall.O_TRUNC)
	m.ok("write", f.write(0, "new"))
	if got, _ := f.read(1); got != "ew" {
		t.Errorf("own %q", got)
	}
	m.wantValue("t/s/v", "old")
	f.close()
	m.wantValue("t/s/v", "new")
}

func TestKilledWriterPublishesNothing(t *testing.T) {
	m := newMount(t, Options{})
	m.put("t/s/v", "old")
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }() // until then it can be seen in /proc
	_ = cmd.Process.Kill()
	pid := uint32(cmd.Process.Pid)
	eventually(t, "the process is dying", func() bool { return m.callers.dying(pid) })

	f := m.opened("t/s/v", trunc)
	f.write(0, "half")
	m.ok("flush", f.flushAs(pid))
	f.release()
	m.wantStored("v", "old")

	f = m.opened("t/s/v", trunc)
	f.write(0, "ha")
	m.ok("flush", f.flushAs(pid))
	f.write(2, "lf") // another process has the descriptor too and goes on
	m.ok("flush", f.flush())
	f.release()
	m.wantStored("v", "half")

	f = m.made("t/s/draft", trunc)
	f.write(0, "half")
	m.ok("flush", f.flushAs(pid))
	f.release()
	m.wantNone("t/s/draft")
}

func TestEditingDescriptor(t *testing.T) {
	m := newMount(t, Options{})
	m.put("t/s/v", "hello")
	f := m.opened("t/s/v", syscall.O_RDWR)
	m.ok("write", f.write(1, "a"))
	m.wantStored("v", "hallo") // the first one waits
	for range 3 {
		m.ok("write", f.write(4, "!"))
	}
	if got, _ := f.read(0); got != "hall!" {
		t.Errorf("own %q", got)
	}
	m.want("write", f.write(1<<62, "x"), syscall.EFBIG)
	m.ok("ftruncate", f.truncate(2))
	m.wantStored("v", "ha")
	m.ok("close", f.close())

	a := m.opened("t/s/v", wr|syscall.O_APPEND)
	m.ok("append", a.write(0, "1"))
	m.ok("append", a.write(0, "2"))
	m.ok("close", a.close())
	m.wantStored("v", "ha12")

	r := m.opened("t/s/v", syscall.O_RDONLY)
	defer r.release()
	m.want("write", r.write(0, "x"), syscall.EBADF)
}

func TestDraft(t *testing.T) {
	m := newMount(t, Options{})
	other := &mount{m.FS, t}

	f := m.made("t/s/v", wr|syscall.O_TRUNC)
	m.wantStored("v", "-") // others see it at its first commit
	m.ok("write", f.write(0, "x"))
	m.ok("flush", f.flush())
	m.wantStored("v", "x")
	if now := m.id("t/s/v"); now != f.node {
		t.Errorf("created as %d, committed as %d", f.node, now)
	}
	f.release()

	m.ok("touch", m.made("t/s/empty", wr).close())
	m.wantStored("empty", "")

	a := m.made("t/s/log", wr|syscall.O_APPEND)
	m.ok("append", a.write(0, "1"))
	m.wantStored("log", "1")
	m.ok("close", a.close())

	e := m.made("t/s/lock", wr|syscall.O_EXCL)
	m.wantStored("lock", "") // the server has decided
	_, status := other.create("t/s/lock", wr|syscall.O_EXCL)
	m.want("create", status, syscall.EEXIST)
	e.close()

	d := m.made("t/s/gone", trunc)
	m.ok("unlink", m.unlink("t/s/gone"))
	m.ok("write", d.write(0, "x"))
	m.ok("close", d.close())
	m.wantStored("gone", "-")

	if n := len(m.unshared.ids); n != 0 {
		t.Errorf("%d files of the mount are left over", n)
	}
	if n := len(m.handles.m) + len(m.handles.nodes); n != 0 {
		t.Errorf("%d handles are left over", n)
	}
}

// A draft that was given up leaves nothing behind, also when somebody had it open for reading.
func TestAbandonedDraftIsForgotten(t *testing.T) {
	m := newMount(t, Options{})
	f := m.made("t/s/v", trunc)
	r := m.opened("t/s/v", syscall.O_RDONLY)
	if got, status := r.read(0); got != "" || status != fuse.OK {
		t.Errorf("read %q, %v", got, status)
	}
	m.want("write", f.write(1<<62, "x"), syscall.EFBIG)
	f.close()
	r.release()
	m.wantNone("t/s/v")
	if n := len(m.unshared.ids); n != 0 {
		t.Errorf("%d files of the mount are left over", n)
	}
}

// Two mounts create the same name: the second one's number goes on standing for the variable until the kernel lets go,
// and the kernel must not keep attributes that nobody invalidates.
func TestDraftThatCameSecond(t *testing.T) {
	h := newHost(t)
	a, b := h.mount(t, Options{}), h.mount(t, Options{})
	a.mkdir(rootID, "t")
	a.mkdir(a.id("t"), "s")
	eventually(t, "b has the service", func() bool { id, _ := b.lookup(rootID, "t"); return id != 0 })
	fa, fb := a.made("t/s/v", trunc), b.made("t/s/v", trunc)
	fa.write(0, "first")
	a.ok("close", fa.close())
	fb.write(0, "second")
	b.ok("close", fb.close())
	a.wantStored("v", "second")
	if fa.node == fb.node {
		t.Fatalf("both are number %d", fa.node)
	}
	var out fuse.AttrOut
	b.ok("getattr", b.GetAttr(nil, &fuse.GetAttrIn{InHeader: b.header(fb.node)}, &out))
	if out.Size != 6 || out.Ino != fb.node || out.AttrValid != 0 {
		t.Errorf("size %d, ino %d, valid for %d s", out.Size, out.Ino, out.AttrValid)
	}
	if now := b.id("t/s/v"); now != fa.node {
		t.Errorf("looked up again it is %d, want %d", now, fa.node)
	}
	b.Forget(fb.node, 1<<20)
	if n := len(b.unshared.ids); n != 0 {
		t.Errorf("%d numbers are left over", n)
	}
}

func TestTemporary(t *testing.T) {
	m := newMount(t, Options{})
	f := m.made("t/s/v~", syscall.O_RDWR)
	m.ok("write", f.write(2, "x"))
	if got, _ := f.read(1); got != "\x00x" {
		t.Errorf("read %q", got)
	}
	m.want("ftruncate", f.truncate(1<<40), syscall.EFBIG)
	m.want("write", f.write(1<<62, "x"), syscall.EFBIG)
	m.ok("ftruncate", f.truncate(1))
	m.wantValue("t/s/v~", "\x00")
	m.wantStored("v~", "-")
	m.ok("close", f.close())
	m.ok("unlink", m.unlink("t/s/v~"))
	m.wantNone("t/s/v~")
}

// A descriptor on a temporary stays on the file when that is renamed to its real name.
func TestTemporaryThatBecameAVariableIsStillWritten(t *testing.T) {
	for _, over := range []bool{false, true} {
		m := newMount(t, Options{})
		if over {
			m.put("t/s/v", "old")
		}
		f := m.made("t/s/v~", syscall.O_RDWR)
		f.write(0, "one ")
		m.ok("rename", m.rename("t/s/v~", "t/s/v", 0))
		m.wantStored("v", "one ")
		m.ok("write", f.write(4, "two"))
		if got, _ := f.read(0); got != "one two" {
			t.Errorf("own %q", got)
		}
		m.ok("ftruncate", f.truncate(6))
		m.ok("close", f.close())
		m.wantStored("v", "one tw")
		m.wantNone("t/s/v~")
	}
}

// With --sync=always the write that was refused is the last that counts.
func TestSyncAlways(t *testing.T) {
	m := newMount(t, Options{Sync: SyncAlways})
	m.put("t/s/v", "old")
	f := m.opened("t/s/v", trunc)
	m.ok("write", f.write(0, "new"))
	m.wantStored("v", "new")
	m.ok("write", f.write(3, "er"))
	m.wantStored("v", "newer")
	f.release()

	f = m.opened("t/s/v", trunc)
	m.want("write", f.write(1<<62, "x"), syscall.EFBIG)
	m.want("write", f.write(0, "x"), syscall.EFBIG)
	m.want("flush", f.flush(), syscall.EFBIG)
	f.release()
	m.wantStored("v", "newer")
}

func TestSyncNeverLosesNothingAtTheEnd(t *testing.T) {
	h := newHost(t)
	m := h.mount(t, Options{Sync: SyncNever})
	m.mkdir(rootID, "t")
	m.mkdir(m.id("t"), "s")
	m.put("t/s/log", "")
	f := m.opened("t/s/log", wr|syscall.O_APPEND)
	for range 500 {
		m.ok("append", f.write(0, "x"))
	}
	m.c.Flush()
	m.wantStored("log", strings.Repeat("x", 500))
	f.close()
}

// A descriptor sees its own writes also when nothing waits for the server (S6).
func TestSyncNeverSeesItsOwn(t *testing.T) {
	m := newMount(t, Options{Sync: SyncNever})
	m.put("t/s/v", "old")
	f := m.opened("t/s/v", rdwr|syscall.O_TRUNC)
	for i := range 200 {
		want := fmt.Sprintf("value %d", i)
		m.ok("ftruncate", f.truncate(0))
		m.ok("write", f.write(0, want))
		m.ok("fsync", f.fsync())
		f.wantRead(0, want)
	}
	m.ok("close", f.close())
}

// A stat does not wait for a commit that waits for the server (S19).
func TestStatWhileACommitWaits(t *testing.T) {
	m := newMount(t, Options{})
	m.put("t/s/v", "committed")
	f := m.opened("t/s/v", trunc)
	f.write(0, "abc")
	h := m.handles.get(f.fh)
	h.mu.Lock() // as Flush holds it
	for pid, want := range map[uint32]uint64{uint32(os.Getpid()): 3, 1: 9} {
		in := &fuse.GetAttrIn{InHeader: m.header(f.node)}
		in.Pid = pid
		var out fuse.AttrOut
		m.ok("getattr", m.GetAttr(nil, in, &out))
		if out.Size != want || out.AttrValid != 0 {
			t.Errorf("process %d: size %d valid for %d s, want %d", pid, out.Size, out.AttrValid, want)
		}
	}
	h.mu.Unlock()
	f.close()
	var out fuse.AttrOut
	m.ok("getattr", m.GetAttr(nil, &fuse.GetAttrIn{InHeader: m.header(f.node)}, &out))
	if out.Size != 3 || out.AttrValid == 0 {
		t.Errorf("at the end: size %d valid for %d s", out.Size, out.AttrValid)
	}
}
