package fs

import (
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/model"
)

// describeAs is chmod and utimensat by somebody.
func (m *mount) describeAs(uid uint32, node uint64, valid, mode uint32, mtime time.Time) fuse.Status {
	in := &fuse.SetAttrIn{}
	in.InHeader, in.Valid, in.Mode = m.header(node), valid, mode
	in.InHeader.Uid = uid
	in.Mtime, in.Mtimensec = uint64(mtime.Unix()), uint32(mtime.Nanosecond())
	return m.SetAttr(nil, in, &fuse.AttrOut{})
}

func (m *mount) chmod(node uint64, mode uint32) {
	m.t.Helper()
	m.ok("chmod", m.describeAs(0, node, fuse.FATTR_MODE, mode, time.Time{}))
}

func (m *mount) utimes(node uint64, mtime time.Time) {
	m.t.Helper()
	m.ok("utimes", m.describeAs(0, node, fuse.FATTR_MTIME, 0, mtime))
}

// kept is what the server has as mode and time of t/s/name.
func (m *mount) kept(name string) (mode uint32, mtime time.Time) {
	m.t.Helper()
	d, err := m.c.Read(m.t.Context(), &model.Read{Tenant: "t", Service: "s", Name: name, Stat: true})
	if err != nil {
		m.t.Fatal(err)
	}
	return d.Mode.Perm(false), time.Unix(0, d.MTime)
}

func TestModesAndTimesOfWriters(t *testing.T) {
	then := time.Unix(1e9, 7)
	for _, sync := range []SyncMode{SyncClose, SyncAlways, SyncNever} {
		shared := newMount(t, Options{Sync: sync})
		for i, c := range []struct {
			name  string
			do    func(m *mount, name string)
			mode  uint32
			dated bool
		}{
			{"created", func(m *mount, name string) { m.put(name, "x") }, 0o666, false},
			{"draft", func(m *mount, name string) {
				f := m.made(name, syscall.O_WRONLY|syscall.O_TRUNC)
				m.chmod(f.node, 0o600)
				m.ok("write", f.write(0, "x"))
				m.utimes(f.node, then)
				m.ok("close", f.close())
			}, 0o600, true},
			{"draft without a write", func(m *mount, name string) {
				f := m.made(name, syscall.O_WRONLY)
				m.utimes(f.node, then)
				m.chmod(f.node, 0o7711)
				m.ok("close", f.close())
			}, 0o711, true},
			{"draft written since", func(m *mount, name string) {
				f := m.made(name, syscall.O_WRONLY|syscall.O_TRUNC)
				m.utimes(f.node, then)
				m.ok("write", f.write(0, "x"))
				m.ok("close", f.close())
			}, 0o666, false},
			{"exclusive", func(m *mount, name string) {
				f := m.made(name, syscall.O_WRONLY|syscall.O_EXCL)
				if mode, _ := m.kept(name[len("t/s/"):]); mode != 0o666 {
					m.t.Errorf("made with mode %o", mode)
				}
				m.ok("write", f.write(0, "x"))
				m.utimes(f.node, then)
				m.chmod(f.node, 0)
				m.ok("close", f.close())
			}, 0, true},
			{"replaced", func(m *mount, name string) {
				m.put(name, "x")
				m.chmod(m.id(name), 0o640)
				f := m.opened(name, trunc)
				m.ok("write", f.write(0, "y"))
				m.utimes(f.node, then)
				m.ok("close", f.close())
			}, 0o640, true},
			{"replaced since", func(m *mount, name string) {
				m.put(name, "x")
				f := m.opened(name, trunc)
				m.ok("write", f.write(0, "y"))
				m.utimes(f.node, then)
				m.ok("write", f.write(1, "z"))
				m.ok("close", f.close())
			}, 0o666, false},
			{"shortened since", func(m *mount, name string) {
				m.put(name, "x")
				f := m.opened(name, trunc)
				m.ok("write", f.write(0, "yyy"))
				m.utimes(f.node, then)
				m.ok("truncate", f.truncate(2))
				m.ok("close", f.close())
			}, 0o666, false},
			{"edited", func(m *mount, name string) {
				m.put(name, "x")
				f := m.opened(name, syscall.O_WRONLY)
				for i := range 5 {
					m.ok("write", f.write(uint64(i), "y"))
				}
				m.utimes(f.node, then)
				m.chmod(f.node, 0o600)
				m.ok("close", f.close())
			}, 0o600, true},
			{"after the close", func(m *mount, name string) {
				f := m.made(name, syscall.O_WRONLY|syscall.O_TRUNC)
				m.ok("write", f.write(0, "x"))
				m.ok("flush", f.flush())
				m.chmod(f.node, 0o755)
				m.utimes(f.node, then)
				f.release()
			}, 0o755, true},
			{"temporary", func(m *mount, name string) {
				f := m.made(name+"~", syscall.O_WRONLY|syscall.O_TRUNC)
				m.ok("write", f.write(0, "x"))
				m.chmod(f.node, 0o604)
				m.utimes(f.node, then)
				m.ok("close", f.close())
				m.ok("rename", m.rename(name+"~", name, 0))
			}, 0o604, true},
			{"moved over another", func(m *mount, name string) {
				m.put(name, "x")
				f := m.made(name+".new", syscall.O_WRONLY|syscall.O_TRUNC)
				m.chmod(f.node, 0o604)
				m.ok("write", f.write(0, "y"))
				m.utimes(f.node, then)
				m.ok("rename", m.rename(name+".new", name, 0))
				m.ok("close", f.close())
			}, 0o604, true},
		} {
			t.Run(fmt.Sprintf("%d %s", sync, c.name), func(t *testing.T) {
				m := &mount{shared.FS, t}
				name := fmt.Sprintf("v%d", i)
				c.do(m, "t/s/"+name)
				eventually(t, "made", func() bool { return m.stored(name) != "-" })
				m.c.Flush()
				mode, mtime := m.kept(name)
				if mode != c.mode || mtime.Equal(then) != c.dated {
					t.Errorf("mode %o of %v, want %o, dated %v", mode, mtime, c.mode, c.dated)
				}
				var out fuse.AttrOut
				m.ok("getattr", m.GetAttr(nil, &fuse.GetAttrIn{InHeader: m.header(m.id("t/s/" + name))}, &out))
				if out.Mode != syscall.S_IFREG|c.mode || out.ModTime().Equal(then) != c.dated || out.Nlink != 1 {
					t.Errorf("shown as %o of %v with %d links", out.Mode, out.ModTime(), out.Nlink)
				}
			})
		}
	}
}

// Times are set while others open the file and empty it.
func TestTimesBesideEmptyingOpens(t *testing.T) {
	m := newMount(t, Options{})
	m.put("t/s/v", "x")
	node := m.id("t/s/v")
	var wg sync.WaitGroup
	for tid := range 2 {
		wg.Go(func() {
			for range 50 {
				h := m.header(node)
				h.Pid = uint32(1<<22 + tid)
				var out fuse.OpenOut
				if status := m.Open(nil, &fuse.OpenIn{InHeader: h, Flags: syscall.O_RDONLY}, &out); status != 0 {
					t.Errorf("open: %v", status)
					return
				}
				in := &fuse.SetAttrIn{}
				in.InHeader, in.Valid = h, fuse.FATTR_SIZE|fuse.FATTR_LOCKOWNER
				if status := m.SetAttr(nil, in, &fuse.AttrOut{}); status != 0 {
					t.Errorf("empty: %v", status)
				}
				m.Release(nil, &fuse.ReleaseIn{InHeader: h, Fh: out.Fh})
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for {
		select {
		case <-done:
			return
		default:
			m.utimes(node, time.Unix(1e9, 0))
		}
	}
}

// What the mount says to those who are not root.
func TestModesAreAsked(t *testing.T) {
	m := newMount(t, Options{AllowOther: true, UID: 7, GID: 8})
	m.put("t/s/v", "x")
	m.mkdir(m.id("t/s"), "d")
	node, dir := m.id("t/s/v"), m.id("t/s/d")
	const never = syscall.Errno(0)
	open := func(uid, flags uint32) fuse.Status {
		in := &fuse.OpenIn{InHeader: m.header(node), Flags: flags}
		in.Uid = uid
		return m.Open(nil, in, &fuse.OpenOut{})
	}
	for _, c := range []struct {
		mode, flags         uint32
		owner, other, root_ syscall.Errno
	}{
		{0o604, syscall.O_RDONLY, never, never, never},
		{0o604, syscall.O_RDWR, never, syscall.EACCES, never},
		{0o404, syscall.O_WRONLY, syscall.EACCES, syscall.EACCES, never},
		{0o404, syscall.O_RDONLY | syscall.O_TRUNC, syscall.EACCES, syscall.EACCES, never},
		{0o701, fmodeExec, never, never, never},
		{0o601, fmodeExec, syscall.EACCES, never, never},
		{0o666, fmodeExec, syscall.EACCES, syscall.EACCES, syscall.EACCES},
	} {
		m.chmod(node, c.mode)
		for uid, want := range map[uint32]syscall.Errno{7: c.owner, 9: c.other, 0: c.root_} {
			m.want(fmt.Sprintf("open %#o of %#o by %d", c.flags, c.mode, uid), open(uid, c.flags), want)
		}
	}
	m.chmod(node, 0o666)
	now := uint32(fuse.FATTR_MTIME | fuse.FATTR_MTIME_NOW | fuse.FATTR_ATIME | fuse.FATTR_ATIME_NOW)
	m.want("chmod by another", m.describeAs(9, node, fuse.FATTR_MODE, 0o666, time.Time{}), syscall.EPERM)
	m.want("utimes by another", m.describeAs(9, node, fuse.FATTR_MTIME, 0, time.Unix(1, 0)), syscall.EPERM)
	m.ok("touch by another", m.describeAs(9, node, now, 0, time.Time{}))
	m.ok("chmod by the owner", m.describeAs(7, node, fuse.FATTR_MODE, 0o604, time.Time{}))
	m.want("touch by another", m.describeAs(9, node, now, 0, time.Time{}), syscall.EACCES)
	m.want("chmod of the root", m.describeAs(0, rootID, fuse.FATTR_MODE, 0o700, time.Time{}), syscall.EPERM)
	m.ok("utimes of the root", m.describeAs(0, rootID, fuse.FATTR_MTIME, 0, time.Unix(1, 0)))

	// The kernel keeps names only of what everybody may search.
	m.put("t/s/d/f", "x")
	for _, c := range []struct {
		mode  uint32
		other syscall.Errno
		kept  bool
	}{{0o711, 0, true}, {0o701, 0, false}, {0o700, syscall.EACCES, false}, {0o755, 0, true}} {
		m.chmod(dir, c.mode)
		h := m.header(dir)
		var out fuse.EntryOut
		m.ok("lookup by root", m.Lookup(nil, &h, "f", &out))
		if (out.EntryValid > 0) != c.kept {
			t.Errorf("mode %o: a name is kept for %d s", c.mode, out.EntryValid)
		}
		h.Uid = 9
		m.want(fmt.Sprintf("lookup in %o", c.mode), m.Lookup(nil, &h, "f", &out), c.other)
	}
}
