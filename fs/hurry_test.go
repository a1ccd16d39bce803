package fs

import (
	"context"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// slowly is a connection to a server that takes long to load services.
type slowly struct {
	varsync.Conn
	loaded <-chan struct{}
}

func (c slowly) wait(ctx context.Context) error {
	select {
	case <-c.loaded:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c slowly) MemoryFile(ctx context.Context, service uint64) (*model.MemoryFile, error) {
	if err := c.wait(ctx); err != nil {
		return nil, err
	}
	return c.Conn.MemoryFile(ctx, service)
}

func (c slowly) Watch(ctx context.Context, w *model.Watch, fn func(*model.Snapshot) error) error {
	if err := c.wait(ctx); err != nil {
		return err
	}
	return c.Conn.Watch(ctx, w, fn)
}

// slowMount is a mount of a new host with the variable t/s/v, which holds "hello", and the directory t/s/dir. Services are loaded
// when the test says so. Callers are taken to be in the system call whose number in returns.
func slowMount(t *testing.T, in func() int) (m *mount, load func()) {
	h := newHost(t)
	first := h.mount(t, Options{})
	first.mkdir(rootID, "t")
	first.mkdir(first.id("t"), "s")
	first.mkdir(first.id("t/s"), "dir")
	first.put("t/s/v", "hello")
	loaded := make(chan struct{})
	by := h.options()
	dial := by.Dial
	by.Dial = func(ctx context.Context) (varsync.Conn, error) {
		conn, err := dial(ctx)
		return slowly{conn, loaded}, err
	}
	m = h.mountBy(t, by, Options{})
	m.callers.open = func(string) ([]byte, error) { return []byte(strconv.Itoa(in()) + " 0x4"), nil }
	load = sync.OnceFunc(func() { close(loaded) })
	t.Cleanup(load)
	return m, load
}

// A stat does not wait for a large service. The kernel keeps no name of its answer: who wants more comes again, and waits.
func TestStatDoesNotWaitForTheService(t *testing.T) {
	call := unix.SYS_STATX
	m, load := slowMount(t, func() int { return call })
	look := func(dir uint64, name string) (out fuse.EntryOut) {
		h := m.header(dir)
		m.ok("lookup "+name, m.Lookup(nil, &h, name, &out))
		return out
	}
	tenant := look(rootID, "t")
	service := look(tenant.NodeId, "s")
	if service.EntryTimeout() != 0 || service.AttrTimeout() != 0 {
		t.Errorf("the kernel keeps a service that is not loaded for %v, its attributes for %v", service.EntryTimeout(), service.AttrTimeout())
	}
	call = unix.SYS_NEWFSTATAT
	v := look(service.NodeId, "v")
	if v.Size != 5 || v.EntryTimeout() != 0 || v.AttrTimeout() == 0 {
		t.Errorf("a size of %d, kept for %v, the name for %v", v.Size, v.AttrTimeout(), v.EntryTimeout())
	}
	if m.c.Tenant("t").Service("s").Watched() {
		t.Fatal("the service was loaded")
	}

	// What the kernel has of it now is no way around that.
	call = unix.SYS_INOTIFY_ADD_WATCH
	done := make(chan struct{}, 3)
	waits := func(what string, fn func() fuse.Status) {
		go func() {
			defer func() { done <- struct{}{} }()
			if status := fn(); !status.Ok() {
				t.Errorf("%s: %v", what, status)
			}
			if !m.c.Tenant("t").Service("s").Watched() {
				t.Errorf("%s: before the service was loaded", what)
			}
		}()
	}
	waits("lookup of the service", func() fuse.Status { _, status := m.lookup(tenant.NodeId, "s"); return status })
	waits("lookup of the variable", func() fuse.Status { _, status := m.lookup(service.NodeId, "v"); return status })
	var attr fuse.AttrOut
	waits("getattr", func() fuse.Status {
		return m.GetAttr(nil, &fuse.GetAttrIn{InHeader: m.header(v.NodeId)}, &attr)
	})
	load()
	for range cap(done) {
		<-done
	}
	if attr.Ino != v.Ino || attr.Mode != v.Mode || attr.Size != v.Size || attr.Mtime != v.Mtime || attr.Mtimensec != v.Mtimensec || attr.Nlink != v.Nlink || attr.Owner != v.Owner || attr.Blksize != v.Blksize {
		t.Errorf("stat saw %+v, and then %+v", v.Attr, attr.Attr)
	}
	if again := look(service.NodeId, "v"); again.EntryTimeout() == 0 {
		t.Error("the name is not kept once the service is loaded")
	}
	m.wantValue("t/s/v", "hello")
}

// Nor does a stat of what is not there. A directory is waited for.
func TestStatOfOtherNames(t *testing.T) {
	m, load := slowMount(t, func() int { return unix.SYS_STATX })
	service := m.id("t/s")
	_, status := m.lookup(service, "none")
	m.want("lookup", status, syscall.ENOENT)
	s := m.c.Tenant("t").Service("s")
	if s.Watched() {
		t.Fatal("the service was loaded")
	}
	found := make(chan fuse.Status)
	go func() {
		_, status := m.lookup(service, "dir")
		found <- status
	}()
	eventually(t, "the lookup waits for the service", func() bool { return m.requests.waitsFor(s) })
	load()
	m.ok("lookup of a directory", <-found)
}

// waitsFor reports whether a request waits for a service to be loaded.
func (rs *requests) waitsFor(service *varsync.Service) bool {
	for i := range rs.shards {
		s := &rs.shards[i]
		s.mu.Lock()
		for k := range s.slots {
			if s.slots[k].loading == service {
				s.mu.Unlock()
				return true
			}
		}
		s.mu.Unlock()
	}
	return false
}
