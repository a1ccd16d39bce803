package fs

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/server"
	varsync "github.com/commy-project/commyfs/sync"
	"github.com/commy-project/commyfs/transport"
)

// host has a server in this process. Mounts of it have no kernel: the tests make the requests that one would make.
type host struct {
	t   *testing.T
	dir string
	run string
	srv *server.Server
}

func newHost(t *testing.T) *host {
	t.Helper()
	dir, err := os.MkdirTemp("", "commyfs") // t.TempDir's names can be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	h := &host{t: t, dir: dir, run: filepath.Join(dir, "run")}
	h.start()
	t.Cleanup(func() { h.srv.Close() })
	return h
}

// start starts the server, also once more.
func (h *host) start() {
	h.t.Helper()
	var err error
	h.srv, err = server.Start(h.t.Context(), server.Options{StateDir: filepath.Join(h.dir, "state"), RuntimeDir: h.run})
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) options() varsync.Options {
	dial := func(ctx context.Context) (varsync.Conn, error) {
		conn, err := transport.Dial(ctx, transport.DialOptions{URL: "unix://" + filepath.Join(h.run, "server.sock")})
		if err != nil {
			return nil, err
		}
		return transport.NewClient(conn, transport.ClientOptions{}), nil
	}
	return varsync.Options{Dial: dial, Client: model.Client{Program: "test"}}
}

// mount is a file system and what a kernel keeps of it.
type mount struct {
	*FS
	t *testing.T
}

func (h *host) mount(t *testing.T, o Options) *mount {
	t.Helper()
	return h.mountBy(t, h.options(), o)
}

func (h *host) mountBy(t *testing.T, by varsync.Options, o Options) *mount {
	t.Helper()
	f := newFS(o)
	if err := f.bequeathTo(o.Heirs); err != nil {
		t.Fatal(err)
	}
	if err := f.connect(t.Context(), by); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.unparkAll()
		f.cancel()
		f.c.Close()
	})
	return &mount{f, t}
}

// newMount is a mount of a new host with the empty service t/s.
func newMount(t *testing.T, o Options) *mount {
	t.Helper()
	m := newHost(t).mount(t, o)
	m.mkdir(rootID, "t")
	m.mkdir(m.id("t"), "s")
	return m
}

func (m *mount) header(node uint64) fuse.InHeader {
	return fuse.InHeader{NodeId: node, Caller: fuse.Caller{Pid: uint32(os.Getpid())}}
}

func (m *mount) ok(what string, status fuse.Status) {
	m.t.Helper()
	m.want(what, status, 0)
}

func (m *mount) want(what string, status fuse.Status, want syscall.Errno) {
	m.t.Helper()
	if status != fuse.Status(want) {
		m.t.Fatalf("%s: %v, want %v", what, status, fuse.Status(want))
	}
}

func (m *mount) lookup(parent uint64, name string) (uint64, fuse.Status) {
	h := m.header(parent)
	var out fuse.EntryOut
	status := m.Lookup(nil, &h, name, &out)
	return out.NodeId, status
}

// id walks a path from the root.
func (m *mount) id(path string) uint64 {
	m.t.Helper()
	at := uint64(rootID)
	for name := range strings.SplitSeq(path, "/") {
		next, status := m.lookup(at, name)
		m.ok("lookup "+path, status)
		at = next
	}
	return at
}

// split returns the directory of a path and the name in it.
func (m *mount) split(path string) (uint64, string) {
	m.t.Helper()
	dir, name := filepath.Split(path)
	if dir == "" {
		return rootID, name
	}
	return m.id(strings.TrimSuffix(dir, "/")), name
}

func (m *mount) mkdir(parent uint64, name string) {
	m.t.Helper()
	m.ok("mkdir "+name, m.Mkdir(nil, &fuse.MkdirIn{InHeader: m.header(parent), Mode: 0o777}, name, &fuse.EntryOut{}))
}

// file is an open descriptor.
type file struct {
	m    *mount
	node uint64
	fh   uint64
}

func (m *mount) create(path string, flags uint32) (*file, fuse.Status) {
	m.t.Helper()
	parent, name := m.split(path)
	var out fuse.CreateOut
	status := m.Create(nil, &fuse.CreateIn{InHeader: m.header(parent), Flags: flags | syscall.O_CREAT, Mode: 0o666}, name, &out)
	return &file{m, out.NodeId, out.Fh}, status
}

// made is create of what must succeed.
func (m *mount) made(path string, flags uint32) *file {
	m.t.Helper()
	f, status := m.create(path, flags)
	m.ok("create "+path, status)
	return f
}

func (m *mount) opened(path string, flags uint32) *file {
	m.t.Helper()
	node := m.id(path)
	var out fuse.OpenOut
	m.ok("open "+path, m.Open(nil, &fuse.OpenIn{InHeader: m.header(node), Flags: flags}, &out))
	return &file{m, node, out.Fh}
}

func (f *file) write(off uint64, data string) fuse.Status {
	_, status := f.m.Write(nil, &fuse.WriteIn{InHeader: f.m.header(f.node), Fh: f.fh, Offset: off, Size: uint32(len(data))}, []byte(data))
	return status
}

func (f *file) read(off uint64) (string, fuse.Status) {
	buf := make([]byte, 1<<16)
	res, status := f.m.Read(nil, &fuse.ReadIn{InHeader: f.m.header(f.node), Fh: f.fh, Offset: off, Size: uint32(len(buf)), ReadFlags: fuse.READ_LOCKOWNER}, buf)
	if status != 0 {
		return "", status
	}
	data, status := res.Bytes(buf)
	return string(data), status
}

func (f *file) truncate(size uint64) fuse.Status {
	in := &fuse.SetAttrIn{}
	in.InHeader, in.Valid, in.Size, in.Fh = f.m.header(f.node), fuse.FATTR_SIZE|fuse.FATTR_FH, size, f.fh
	return f.m.SetAttr(nil, in, &fuse.AttrOut{})
}

func (f *file) flush() fuse.Status { return f.flushAs(uint32(os.Getpid())) }

func (f *file) flushAs(pid uint32) fuse.Status {
	in := &fuse.FlushIn{InHeader: f.m.header(f.node), Fh: f.fh}
	in.Pid = pid
	return f.m.Flush(nil, in)
}

func (f *file) fsync() fuse.Status {
	return f.m.Fsync(nil, &fuse.FsyncIn{InHeader: f.m.header(f.node), Fh: f.fh})
}

func (f *file) release() { f.m.Release(nil, &fuse.ReleaseIn{InHeader: f.m.header(f.node), Fh: f.fh}) }

// close is what close(2) of the last descriptor does.
func (f *file) close() fuse.Status {
	status := f.flush()
	f.release()
	return status
}

// put writes a file as a shell does.
func (m *mount) put(path, value string) {
	m.t.Helper()
	f := m.made(path, syscall.O_WRONLY|syscall.O_TRUNC)
	m.ok("write "+path, f.write(0, value))
	m.ok("close "+path, f.close())
}

// get reads a file through the mount.
func (m *mount) get(path string) string {
	m.t.Helper()
	f := m.opened(path, syscall.O_RDONLY)
	defer f.release()
	data, status := f.read(0)
	m.ok("read "+path, status)
	return data
}

func (m *mount) wantValue(path, want string) {
	m.t.Helper()
	if got := m.get(path); got != want {
		m.t.Errorf("%s holds %q, want %q", path, got, want)
	}
}

func (m *mount) wantNone(path string) {
	m.t.Helper()
	parent, name := m.split(path)
	_, status := m.lookup(parent, name)
	m.want("lookup "+path, status, syscall.ENOENT)
}

func (m *mount) unlink(path string) fuse.Status {
	m.t.Helper()
	parent, name := m.split(path)
	h := m.header(parent)
	status := m.Unlink(nil, &h, name)
	if m.looksAgain(status, path) {
		status = m.Unlink(nil, &h, name)
	}
	return status
}

// looksAgain is what the kernel does when it is told that a name is stale: it looks the path up, and tries once more.
func (m *mount) looksAgain(status fuse.Status, paths ...string) bool {
	m.t.Helper()
	if status != fuse.Status(syscall.ESTALE) {
		return false
	}
	for _, path := range paths {
		parent, name := m.split(path)
		m.lookup(parent, name)
	}
	return true
}

func (m *mount) rename(from, to string, flags uint32) fuse.Status {
	m.t.Helper()
	oldDir, oldName := m.split(from)
	newDir, newName := m.split(to)
	in := &fuse.RenameIn{InHeader: m.header(oldDir), Newdir: newDir, Flags: flags}
	status := m.Rename(nil, in, oldName, newName)
	if m.looksAgain(status, from, to) {
		status = m.Rename(nil, in, oldName, newName)
	}
	return status
}

// stored is what the server holds, seen past the mount; "-" stands for nothing.
func (m *mount) stored(name string) string {
	m.t.Helper()
	return m.storedIn("s", name)
}

func (m *mount) storedIn(service, name string) string {
	m.t.Helper()
	d, err := m.c.Read(m.t.Context(), &model.Read{Tenant: "t", Service: service, Name: name})
	if model.CodeOf(err) == model.CodeNotFound {
		return "-"
	}
	if err != nil {
		m.t.Fatal(err)
	}
	return string(d.Data)
}

func (m *mount) wantStored(name, want string) {
	m.t.Helper()
	if got := m.stored(name); got != want {
		m.t.Errorf("the server has %q as %s, want %q", got, name, want)
	}
}

// readdir returns the names of one READDIR or READDIRPLUS request, and the node that each is given.
func (m *mount) readdir(dir, fh, off uint64, size int, plus bool) (entries []string, nodes map[string]uint64, next uint64) {
	m.t.Helper()
	buf := make([]byte, size)
	in := &fuse.ReadIn{InHeader: m.header(dir), Fh: fh, Offset: off, Size: uint32(size)}
	list := fuse.NewDirEntryList(buf, off)
	nodes, next = map[string]uint64{}, off
	head := 0
	if plus {
		head = 128
		m.ok("readdirplus", m.ReadDirPlus(nil, in, list))
	} else {
		m.ok("readdir", m.ReadDir(nil, in, list))
	}
	for len(buf) >= head+24 {
		n := int(binary.NativeEndian.Uint32(buf[head+16:]))
		if n == 0 {
			break
		}
		name := string(buf[head+24 : head+24+n])
		entries = append(entries, name)
		if plus {
			nodes[name] = binary.NativeEndian.Uint64(buf)
		}
		next = binary.NativeEndian.Uint64(buf[head+8:])
		buf = buf[min(len(buf), head+(24+n+7)&^7):]
	}
	return entries, nodes, next
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("not in 30 s: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}
