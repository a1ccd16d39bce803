package fs

import (
	"fmt"
	"runtime"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	varsync "github.com/commy-project/commyfs/sync"
)

// matrix has a fresh service with one of everything to rename: to and from.
func matrix(t *testing.T) *mount {
	m := newMount(t, Options{})
	s := m.id("t/s")
	m.put("t/s/var", "var")
	m.put("t/s/var2", "var2")
	m.mkdir(s, "dir")
	m.mkdir(s, "empty")
	m.mkdir(s, "full")
	m.put("t/s/full/x", "x")
	for _, name := range []string{"tmp~", "tmp2~"} {
		f := m.made("t/s/"+name, wr)
		m.ok("write", f.write(0, name))
		m.ok("close", f.close())
	}
	draft, other := m.made("t/s/draft", trunc), m.made("t/s/draft2", trunc)
	draft.write(0, "draft")
	other.write(0, "draft2")
	m.put("t/s/saved", "saved")
	m.ok("rename", m.rename("t/s/saved", "t/s/saved~", 0)) // a parked variable's backup
	t.Cleanup(func() { draft.release(); other.release() })
	return m
}

func TestRenameMatrix(t *testing.T) {
	const none = syscall.Errno(0)
	type result struct {
		errno  syscall.Errno
		value  string // through the mount, of the new name
		stored string // at the server under the new name; "" to leave out
	}
	dir := result{}
	var walked [len(renames)][len(renames[0])]bool
	for _, tt := range []struct {
		from, to string
		want     result
	}{
		{"tmp~", "new~", result{none, "tmp~", "-"}},
		{"tmp~", "new", result{none, "tmp~", "tmp~"}},
		{"tmp~", "tmp2~", result{none, "tmp~", "-"}},
		{"tmp~", "var", result{none, "tmp~", "tmp~"}},
		{"tmp~", "draft", result{none, "tmp~", "tmp~"}},
		{"tmp~", "saved~", result{none, "tmp~", "-"}},
		{"tmp~", "saved", result{none, "tmp~", "tmp~"}},
		{"tmp~", "dir", result{errno: syscall.EISDIR}},

		{"draft", "new", result{stored: "-"}},
		{"draft", "draft2", result{stored: "-"}},
		{"draft", "tmp~", result{stored: "-"}},
		{"draft", "var", result{none, "var", "var"}}, // until it is committed
		{"draft", "dir", result{errno: syscall.EISDIR}},

		{"var", "new", result{none, "var", "var"}},
		{"var", "new~", result{none, "var", "-"}}, // parked
		{"var", "tmp~", result{none, "var", "-"}},
		{"var", "saved~", result{none, "var", "-"}},
		{"var", "saved", result{none, "var", "var"}},
		{"var", "var2", result{none, "var", "var"}},
		{"var", "draft", result{none, "var", "var"}},
		{"var", "dir", result{errno: syscall.EISDIR}},
		{"var", "full/y", result{none, "var", "var"}},

		{"saved~", "saved", result{none, "saved", "saved"}},
		{"saved~", "new", result{none, "saved", "saved"}},
		{"saved~", "new~", result{none, "saved", "saved"}},
		{"saved~", "var", result{none, "saved", "saved"}},
		{"saved~", "tmp~", result{none, "saved", "saved"}},
		{"saved~", "dir", result{errno: syscall.EISDIR}},

		{"dir", "new", dir},
		{"dir", "new~", dir},
		{"dir", "empty", dir},
		{"dir", "saved", dir}, // the parked variable makes way first
		{"dir", "full", result{errno: syscall.ENOTEMPTY}},
		{"dir", "var", result{errno: syscall.ENOTDIR}},
		{"dir", "tmp~", result{errno: syscall.ENOTDIR}},
		{"dir", "dir/below", result{errno: syscall.EINVAL}},

		{"nothing", "new", result{errno: syscall.ENOENT}},
	} {
		t.Run(tt.from+" to "+tt.to, func(t *testing.T) {
			m := matrix(t)
			if src, dst := m.found("t/s/"+tt.from), m.found("t/s/"+tt.to); src != nil {
				mv := move{src: src, dst: dst}
				walked[mv.source()][mv.destination()] = true
			}
			m.want("rename", m.rename("t/s/"+tt.from, "t/s/"+tt.to, 0), tt.want.errno)
			if tt.want.errno != 0 {
				if tt.from != "nothing" {
					m.id("t/s/" + tt.from) // it is where it was
				}
				return
			}
			m.wantNone("t/s/" + tt.from)
			if tt.want.value != "" {
				m.wantValue("t/s/"+tt.to, tt.want.value)
			} else {
				m.id("t/s/" + tt.to)
			}
			if tt.want.stored != "" {
				m.wantStored(tt.to, tt.want.stored)
			}
		})
	}
	for src, row := range walked {
		for dst, ok := range row {
			if !ok {
				t.Errorf("nothing tests a rename of kind %d over kind %d", src, dst)
			}
		}
	}
}

// found is what a path stands for, nil for nothing.
func (m *mount) found(path string) varsync.Node {
	m.t.Helper()
	dir, name := m.split(path)
	n, err := m.find(dir, name)
	if err != nil {
		m.t.Fatal(err)
	}
	return n
}

func TestRenameNoReplace(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		want     syscall.Errno
	}{
		{"tmp~", "var", syscall.EEXIST}, {"tmp~", "tmp2~", syscall.EEXIST}, {"tmp~", "new", 0}, {"tmp~", "saved", 0},
		{"var", "var2", syscall.EEXIST}, {"var", "draft", syscall.EEXIST}, {"var", "new", 0}, {"var", "saved", 0},
		{"dir", "empty", syscall.EEXIST}, {"dir", "new", 0},
		{"saved~", "var", syscall.EEXIST}, {"saved~", "saved", 0},
	} {
		t.Run(tt.from+" to "+tt.to, func(t *testing.T) {
			m := matrix(t)
			m.want("rename", m.rename("t/s/"+tt.from, "t/s/"+tt.to, unix.RENAME_NOREPLACE), tt.want)
		})
	}
}

func TestExchange(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		flags    uint32
		want     syscall.Errno
	}{
		{"var", "var2", 0, 0},
		{"var", "dir", 0, 0},
		{"full", "dir", 0, 0},
		{"full/x", "var", 0, 0},
		{"var", "full", 0, 0},
		{"var", "new", 0, syscall.ENOENT},
		{"var", "saved", 0, syscall.ENOENT}, // it is parked
		{"full/x", "full", 0, syscall.EINVAL},
		{"full", "full/x", 0, syscall.EINVAL},
		{"var", "draft", 0, syscall.EBUSY},
		{"draft", "draft2", 0, syscall.EBUSY},
		{"tmp~", "tmp2~", 0, syscall.EINVAL},
		{"var", "tmp~", 0, syscall.EINVAL},
		{"var", "saved~", 0, syscall.EINVAL},
		{"var", "var2", unix.RENAME_NOREPLACE, syscall.EINVAL},
		{"var", "var2", unix.RENAME_WHITEOUT, syscall.EINVAL},
	} {
		t.Run(tt.from+" and "+tt.to, func(t *testing.T) {
			m := matrix(t)
			id := func(name string) (id uint64) {
				if n := m.found("t/s/" + name); n != nil {
					id = n.ID()
				}
				return id
			}
			from, to := id(tt.from), id(tt.to)
			m.want("exchange", m.rename("t/s/"+tt.from, "t/s/"+tt.to, unix.RENAME_EXCHANGE|tt.flags), tt.want)
			if tt.want == 0 {
				from, to = to, from
			}
			if id(tt.from) != from || id(tt.to) != to {
				t.Errorf("they are %d and %d, want %d and %d", id(tt.from), id(tt.to), from, to)
			}
		})
	}
}

func TestRenameAcrossLevels(t *testing.T) {
	m := matrix(t)
	for _, tt := range []struct {
		from, to string
		want     syscall.Errno
	}{
		{"t/s/dir", "t/dir", syscall.EXDEV},
		{"t/s/var", "t/var", syscall.EXDEV},
		{"t/s/tmp~", "t/tmp", syscall.EPERM},
		{"t/s/saved~", "t/saved~", syscall.EPERM},
		{"t/s", "s", syscall.EXDEV},
		{"t/s", "t/z", 0},
		{"t", "u", 0},
	} {
		m.want(fmt.Sprintf("rename %s %s", tt.from, tt.to), m.rename(tt.from, tt.to, 0), tt.want)
	}
	m.wantValue("u/z/var", "var")
}

// A draft that was renamed is committed under the name that it has by then.
func TestRenamedDraftIsCommitted(t *testing.T) {
	m := newMount(t, Options{})
	f := m.made("t/s/a", trunc)
	f.write(0, "x")
	m.ok("rename", m.rename("t/s/a", "t/s/b", 0))
	m.ok("close", f.close())
	m.wantStored("a", "-")
	m.wantStored("b", "x")
}

// What is written to a draft before and after it was moved over a variable is that variable's next value, once.
func TestDraftOverVariable(t *testing.T) {
	m := newMount(t, Options{})
	m.put("t/s/var", "old")
	id := m.id("t/s/var")
	f := m.made("t/s/draft", trunc)
	m.ok("write", f.write(0, "ne"))
	m.ok("rename", m.rename("t/s/draft", "t/s/var", 0))
	m.wantNone("t/s/draft")
	m.wantStored("var", "old")
	m.ok("write", f.write(2, "w"))
	m.ok("close", f.close())
	m.wantStored("var", "new")
	m.wantStored("draft", "-")
	m.wantValue("t/s/var", "new")
	if now := m.id("t/s/var"); now != id {
		t.Errorf("number %d, it was %d", now, id)
	}
	f = m.made("t/s/log", wr|syscall.O_APPEND)
	m.want("rename of what would edit the old value", m.rename("t/s/log", "t/s/var", 0), syscall.EBUSY)
	m.ok("close", f.close())
}

// A draft's first commit and what happens to its name at the same moment come one after the other, whichever is first.
func TestDraftNamedWhileItIsCommitted(t *testing.T) {
	m := newMount(t, Options{})
	for _, tt := range []struct {
		name          string
		op            func(m *mount, a, b string) fuse.Status
		wantA, wantB  string
		otherVariable bool // b exists
	}{
		{"unlink", func(m *mount, a, _ string) fuse.Status { return m.unlink(a) }, "-", "-", false},
		{"rename", func(m *mount, a, b string) fuse.Status { return m.rename(a, b, 0) }, "-", "x", false},
		{"over a variable", func(m *mount, a, b string) fuse.Status { return m.rename(a, b, 0) }, "-", "x", true},
		{"a variable over it", func(m *mount, a, b string) fuse.Status { return m.rename(b, a, 0) }, "var", "-", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := &mount{m.FS, t}
			for n := range 50 {
				a, b := fmt.Sprintf("a%d", n), fmt.Sprintf("b%d", n)
				m.mkdir(m.id("t"), tt.name+a)
				s := "t/" + tt.name + a + "/"
				if tt.otherVariable {
					m.put(s+b, "var")
				}
				f := m.made(s+a, trunc)
				m.ok("write", f.write(0, "x"))
				done := make(chan fuse.Status, 1)
				go func() { done <- f.close() }()
				runtime.Gosched()
				status := tt.op(m, s+a, s+b)
				if status == fuse.Status(syscall.ESTALE) { // the kernel tries once more
					status = tt.op(m, s+a, s+b)
				}
				m.ok(tt.name, status)
				m.ok("close", <-done)
				for name, want := range map[string]string{a: tt.wantA, b: tt.wantB} {
					if got := m.storedIn(tt.name+a, name); got != want {
						t.Fatalf("round %d: the server has %q as %s, want %q", n, got, name, want)
					}
				}
			}
		})
	}
}

// A descriptor follows its variable to another service.
func TestDescriptorFollowsAcrossServices(t *testing.T) {
	m := newMount(t, Options{})
	m.mkdir(m.id("t"), "other")
	m.id("t/other")
	m.put("t/s/v", "one")
	f := m.opened("t/s/v", syscall.O_RDWR)
	m.ok("rename", m.rename("t/s/v", "t/other/v", 0))
	m.wantNone("t/s/v")
	m.ok("write", f.write(0, "two"))
	if got, status := f.read(0); got != "two" || status != 0 {
		t.Errorf("read %q, %v", got, status)
	}
	m.ok("close", f.close())
	m.wantValue("t/other/v", "two")
}
