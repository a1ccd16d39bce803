package fs

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

func (m *mount) openDir(path string) (node, fh uint64) {
	m.t.Helper()
	node = m.id(path)
	var out fuse.OpenOut
	m.ok("opendir", m.OpenDir(nil, &fuse.OpenIn{InHeader: m.header(node)}, &out))
	m.t.Cleanup(func() { m.ReleaseDir(&fuse.ReleaseIn{InHeader: m.header(node), Fh: out.Fh}) })
	return node, out.Fh
}

func TestReadDir(t *testing.T) {
	m := newMount(t, Options{})
	want := []string{".", ".."}
	for i := range 50 {
		name := fmt.Sprintf("v%02d", i)
		m.put("t/s/"+name, "x")
		want = append(want, name)
	}
	m.mkdir(m.id("t/s"), "sub")
	m.made("t/s/tmp~", wr).close()
	m.made("t/s/draft", trunc) // stays open
	m.put("t/s/parked", "x")
	m.ok("rename", m.rename("t/s/parked", "t/s/parked~", 0))
	want = append(want, "sub", "tmp~", "draft", "parked~")
	slices.Sort(want[2:])

	for _, plus := range []bool{false, true} {
		node, fh := m.openDir("t/s")
		var got []string
		for off := uint64(0); ; {
			names, nodes, next := m.readdir(node, fh, off, 1000, plus)
			if len(names) == 0 {
				break
			}
			for name, id := range nodes {
				if isDot := name == "." || name == ".."; isDot != (id == 0) {
					t.Errorf("%s is node %d", name, id)
				}
			}
			got, off = append(got, names...), next
		}
		if !slices.Equal(got, want) {
			t.Errorf("plus %v: %v\nwant %v", plus, got, want)
		}
		// From an offset that was given it goes on, from the beginning it is read anew.
		if names, _, _ := m.readdir(node, fh, 2, 1000, plus); names[0] != want[2] {
			t.Errorf("plus %v: from 2 %v", plus, names)
		}
		if names, _, _ := m.readdir(node, fh, 1<<62, 1000, plus); len(names) != 0 {
			t.Errorf("plus %v: behind the end %v", plus, names)
		}
	}
	m.want("readdir", m.ReadDir(nil, &fuse.ReadIn{InHeader: m.header(m.id("t/s")), Fh: 12345}, fuse.NewDirEntryList(nil, 0)), syscall.EBADF)
}

// A listing is as old as its beginning. A name that went since is not given to the kernel, which would keep it.
func TestReadDirPlusGivesNoNameThatWent(t *testing.T) {
	m := newMount(t, Options{})
	for _, name := range []string{"a", "b", "c", "d"} {
		m.put("t/s/"+name, name)
	}
	node, fh := m.openDir("t/s")
	_, _, next := m.readdir(node, fh, 0, 500, true)
	m.ok("rename", m.rename("t/s/b", "t/s/z", 0))
	m.ok("unlink", m.unlink("t/s/c"))
	seen := map[string]uint64{}
	for {
		names, nodes, off := m.readdir(node, fh, next, 500, true)
		if len(names) == 0 {
			break
		}
		for name, id := range nodes {
			seen[name] = id
		}
		next = off
	}
	if seen["b"] != 0 || seen["c"] != 0 || seen["d"] == 0 {
		t.Errorf("nodes %v", seen)
	}
}

// What the kernel is given is what it gives back.
func TestLookupsAreCounted(t *testing.T) {
	m := newMount(t, Options{})
	m.put("t/s/v", "x")
	node := m.id("t/s/v")
	m.Forget(node, 2) // of the creation, and the lookup
	if m.kernel.Knows(node) {
		t.Error("not forgotten")
	}
	m.id("t/s/v")
	m.opened("t/s/v", syscall.O_RDONLY).release()
	m.Forget(node, 1)
	if !m.kernel.Knows(node) {
		t.Error("forgotten too early")
	}
	m.Forget(node, 1)
	if m.kernel.Knows(node) {
		t.Error("not forgotten")
	}
}

// A service stays watched as long as the kernel holds something of it, whatever that is.
func TestServiceIsHeldByTheKernel(t *testing.T) {
	h := newHost(t)
	first := h.mount(t, Options{})
	first.mkdir(rootID, "t")
	first.mkdir(first.id("t"), "s")
	first.put("t/s/v", "x")
	by := h.options()
	by.Idle = 10 * time.Millisecond
	m := h.mountBy(t, by, Options{})
	node := m.id("t/s/v")
	service := m.id("t/s")
	s := m.c.Tenant("t").Service("s")
	for _, id := range []uint64{service, node} {
		time.Sleep(3 * by.Idle)
		if !s.Watched() {
			t.Fatal("not watched")
		}
		m.Forget(id, 1<<40)
	}
	eventually(t, "the service is let go", func() bool { return !s.Watched() })
	if m.id("t/s/v") != node || !s.Watched() {
		t.Error("not watched again")
	}
}

func TestDirectories(t *testing.T) {
	m := newMount(t, Options{})
	s := m.id("t/s")
	m.mkdir(s, "d")
	m.put("t/s/d/v", "x")
	made := func(parent uint64, name string) fuse.Status {
		return m.Mkdir(nil, &fuse.MkdirIn{InHeader: m.header(parent)}, name, &fuse.EntryOut{})
	}
	rmdir := func(parent uint64, name string) fuse.Status {
		h := m.header(parent)
		return m.Rmdir(nil, &h, name)
	}
	m.want("mkdir", made(s, "d"), syscall.EEXIST)
	m.want("mkdir", made(rootID, "t"), syscall.EEXIST)
	m.want("mkdir", made(m.id("t/s/d/v"), "x"), syscall.ENOTDIR)
	m.want("mkdir", made(1<<40, "x"), syscall.ESTALE)
	m.want("mkdir", made(s, strings.Repeat("x", 256)), syscall.ENAMETOOLONG)
	m.want("rmdir", rmdir(s, "d"), syscall.ENOTEMPTY)
	m.want("rmdir", rmdir(s, "none"), syscall.ENOENT)
	m.want("unlink", m.unlink("t/s/d"), syscall.EISDIR)
	m.want("unlink", m.unlink("t/s/none"), syscall.ENOENT)
	m.ok("unlink", m.unlink("t/s/d/v"))
	m.made("t/s/d/x~", wr).close()
	m.want("rmdir", rmdir(s, "d"), syscall.ENOTEMPTY)
	m.ok("unlink", m.unlink("t/s/d/x~"))
	m.ok("rmdir", rmdir(s, "d"))
	_, status := m.create("t/v", wr)
	m.want("create", status, syscall.EPERM)
}

func TestReadOnly(t *testing.T) {
	h := newHost(t)
	w, r := h.mount(t, Options{}), h.mount(t, Options{ReadOnly: true})
	w.mkdir(rootID, "t")
	w.mkdir(w.id("t"), "s")
	w.put("t/s/v", "x")
	eventually(t, "r has it", func() bool { id, _ := r.lookup(rootID, "t"); return id != 0 })
	r.wantValue("t/s/v", "x")
	_, status := r.create("t/s/w", wr)
	r.want("create", status, syscall.EROFS)
	r.want("unlink", r.unlink("t/s/v"), syscall.EROFS)
	r.want("rename", r.rename("t/s/v", "t/s/w", 0), syscall.EROFS)
	for _, uid := range []uint32{0, 1000} {
		in := &fuse.AccessIn{InHeader: r.header(r.id("t/s/v")), Mask: 2}
		in.Uid = uid
		r.want("access", r.Access(nil, in), syscall.EROFS)
	}
}

func TestXAttrs(t *testing.T) {
	m := newMount(t, Options{})
	m.put("t/s/v", "four")
	h := m.header(m.id("t/s/v"))
	buf := make([]byte, 1000)
	n, status := m.ListXAttr(nil, &h, buf)
	m.ok("listxattr", status)
	if n != 0 {
		t.Errorf("names %q", buf[:n])
	}
	for name, want := range map[string]string{"version": "1", "size": "4", "stale": "0"} {
		n, status := m.GetXAttr(nil, &h, "user.commy."+name, buf)
		if m.ok("getxattr", status); string(buf[:n]) != want {
			t.Errorf("%s is %q, want %q", name, buf[:n], want)
		}
	}
	for _, tt := range []struct {
		name        string
		get, remove syscall.Errno
	}{
		{"user.commy.version", 0, syscall.ENOTSUP}, {"user.commy.no", syscall.ENODATA, syscall.ENOTSUP},
		{"user.mine", syscall.ENODATA, syscall.ENODATA}, {"security.selinux", syscall.ENODATA, syscall.ENODATA},
	} {
		_, status := m.GetXAttr(nil, &h, tt.name, buf)
		m.want("get "+tt.name, status, tt.get)
		m.want("set "+tt.name, m.SetXAttr(nil, &fuse.SetXAttrIn{InHeader: h}, tt.name, []byte("1")), syscall.ENOTSUP)
		m.want("remove "+tt.name, m.RemoveXAttr(nil, &h, tt.name), tt.remove)
	}
	n, status = m.GetXAttr(nil, &h, "user.commy.size", nil)
	if m.want("getxattr without room", status, syscall.ERANGE); n != 1 {
		t.Errorf("needs %d bytes, want 1", n)
	}
	dir := m.header(m.id("t/s"))
	_, status = m.GetXAttr(nil, &dir, "user.commy.version", buf)
	m.want("getxattr of a directory", status, syscall.ENODATA)
}

// A signal ends the wait of who looks for something, though not at once, and not that of who has changed something.
func TestInterrupts(t *testing.T) {
	h := newHost(t)
	first := h.mount(t, Options{})
	first.mkdir(rootID, "t")
	first.mkdir(first.id("t"), "s")
	by := h.options()
	by.Timeout = 20 * time.Second
	m := h.mountBy(t, by, Options{})
	tenant := m.id("t")
	h.srv.Close()
	interrupt := make(chan struct{})
	close(interrupt)
	header := m.header(tenant)
	began := time.Now()
	if status := m.Lookup(interrupt, &header, "s", &fuse.EntryOut{}); status != fuse.Status(syscall.EINTR) {
		t.Errorf("lookup: %v", status)
	}
	if took := time.Since(began); took < interruptAfter || took > by.Timeout/2 {
		t.Errorf("took %v", took)
	}
	made := make(chan fuse.Status, 1)
	go func() {
		made <- m.Mkdir(interrupt, &fuse.MkdirIn{InHeader: header, Mode: 0o777}, "new", &fuse.EntryOut{})
	}()
	time.Sleep(2 * interruptAfter)
	h.start()
	if status := <-made; status != fuse.OK {
		t.Errorf("mkdir: %v", status)
	}
}
