package poke_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/fs/mountpoint"
	"github.com/commy-project/commyfs/fs/poke"
	"github.com/commy-project/commyfs/internal/testenv"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == childArg {
		if err := child(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// testFS keeps nothing but the tree. What it is asked passes through seen.
type testFS struct {
	// seen is called by the handlers of pokes with the calling thread. It may block.
	seen func(op string, tid uint32)
}

type dir struct {
	fusefs.Inode
	fs *testFS
}

type file struct {
	fusefs.Inode
	fs   *testFS
	size uint64
}

func (t *testFS) handle(ctx context.Context, op string) {
	caller, ok := fuse.FromContext(ctx)
	if ok && t.seen != nil {
		t.seen(op, caller.Pid)
	}
}

var _ fusefs.NodeMknoder = (*dir)(nil)

func (d *dir) Mknod(ctx context.Context, name string, mode, dev uint32, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	d.fs.handle(ctx, "mknod")
	if d.GetChild(name) != nil {
		return nil, syscall.EEXIST
	}
	return d.NewInode(ctx, &file{fs: d.fs}, fusefs.StableAttr{Mode: mode & syscall.S_IFMT}), 0
}

var _ fusefs.NodeMkdirer = (*dir)(nil)

func (d *dir) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	d.fs.handle(ctx, "mkdir")
	return d.NewInode(ctx, &dir{fs: d.fs}, fusefs.StableAttr{Mode: syscall.S_IFDIR}), 0
}

var _ fusefs.NodeUnlinker = (*dir)(nil)

func (d *dir) Unlink(ctx context.Context, name string) syscall.Errno {
	d.fs.handle(ctx, "unlink")
	return 0
}

var _ fusefs.NodeRmdirer = (*dir)(nil)

func (d *dir) Rmdir(ctx context.Context, name string) syscall.Errno {
	d.fs.handle(ctx, "rmdir")
	return 0
}

var _ fusefs.NodeRenamer = (*dir)(nil)

func (d *dir) Rename(ctx context.Context, name string, parent fusefs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	d.fs.handle(ctx, "rename")
	return 0
}

var _ fusefs.NodeGetattrer = (*dir)(nil)

func (d *dir) Getattr(ctx context.Context, f fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	d.fs.handle(ctx, "getattr")
	out.Mode, out.Nlink = syscall.S_IFDIR|0o755, 2
	return 0
}

var _ fusefs.NodeGetattrer = (*file)(nil)

func (f *file) Getattr(ctx context.Context, h fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	f.fs.handle(ctx, "getattr")
	f.attr(&out.Attr)
	return 0
}

func (f *file) attr(out *fuse.Attr) { out.Mode, out.Nlink, out.Size = syscall.S_IFREG|0o644, 1, f.size }

var _ fusefs.NodeSetattrer = (*file)(nil)

func (f *file) Setattr(ctx context.Context, h fusefs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	op := "setattr"
	if mtime, ok := in.GetMTime(); ok {
		op += " mtime " + mtime.UTC().Format("2006-01-02T15:04:05.999999999")
	}
	if _, ok := in.GetATime(); ok {
		op += " atime"
	}
	f.fs.handle(ctx, op)
	f.attr(&out.Attr)
	return 0
}

var _ fusefs.NodeOpener = (*file)(nil)

func (f *file) Open(ctx context.Context, flags uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	f.fs.handle(ctx, "open")
	return nil, fuse.FOPEN_DIRECT_IO, 0
}

// mount is a served mount of a testFS.
type mount struct {
	*mountpoint.Mountpoint
	fs     *testFS
	root   *dir
	server *fuse.Server
	done   chan struct{}
}

func newMount(path string, seen func(op string, tid uint32)) (*mount, error) {
	mp, err := mountpoint.Mount(path, mountpoint.Options{})
	if err != nil {
		return nil, err
	}
	m := &mount{Mountpoint: mp, fs: &testFS{seen: seen}, done: make(chan struct{})}
	fd, err := mp.Dup()
	if err != nil {
		return nil, errors.Join(err, mp.Unmount(true), mp.Close())
	}
	m.root = &dir{fs: m.fs}
	// As commyfs does: the kernel asks again only when it is told to.
	long := time.Hour
	raw := fusefs.NewNodeFS(m.root, &fusefs.Options{EntryTimeout: &long, AttrTimeout: &long})
	m.server, err = fuse.NewServer(raw, fmt.Sprintf("/dev/fd/%d", fd), &fuse.MountOptions{})
	if err != nil {
		return nil, errors.Join(err, mp.Unmount(true), mp.Close())
	}
	go func() {
		defer close(m.done)
		m.server.Serve()
	}()
	return m, m.server.WaitMount()
}

// watcher counts what the mount is asked, and fails the test for requests of any other thread than the poker's.
type watcher struct {
	t      *testing.T
	tid    atomic.Uint32 // 0: nobody is checked
	inside atomic.Int32
	ops    chan string
}

func (w *watcher) seen(op string, tid uint32) {
	want := w.tid.Load()
	if want == 0 {
		return
	}
	if tid != want {
		w.t.Errorf("%s came from thread %d, the poker is %d", op, tid, want)
	}
	if n := w.inside.Add(1); n > 1 {
		w.t.Errorf("%s is one of %d pokes at a time", op, n)
	}
	defer w.inside.Add(-1)
	select {
	case w.ops <- op:
	default:
	}
}

// take returns the requests since the last take.
func (w *watcher) take() (ops []string) {
	for {
		select {
		case op := <-w.ops:
			ops = append(ops, op)
		default:
			return ops
		}
	}
}

// start mounts and makes a poker for the length of the test. The unmount at the end is a plain one: it fails with
// EBUSY if the poker holds anything.
func start(t *testing.T) (*mount, *poke.Poker, *watcher) {
	t.Helper()
	testenv.NoLeaks(t)
	testenv.NeedFUSE(t)
	testenv.Root(t)
	w := &watcher{t: t, ops: make(chan string, 1000)}
	m, err := newMount(t.TempDir(), w.seen)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Unmount(true); err != nil {
			t.Error(err)
		}
		<-m.done
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	p, err := poke.New(m.Dir(), m.Dev())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	t.Cleanup(func() {
		w.tid.Store(0)
		if err := unix.Unmount(m.Dir(), 0); err != nil && !errors.Is(err, unix.EINVAL) {
			t.Errorf("unmount with an idle poker: %v", err)
		}
	})
	return m, p, w
}

// do pokes and fails the test on an error.
func do(t *testing.T, p *poke.Poker, ops ...poke.Op) {
	t.Helper()
	for _, op := range ops {
		if err := p.Do(op); err != nil {
			t.Fatal(err)
		}
	}
}

func join(elem ...string) string { return filepath.Join(elem...) }
