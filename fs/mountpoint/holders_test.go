package mountpoint_test

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/fs/mountpoint"
	"github.com/commy-project/commyfs/internal/testenv"
)

// slowRoot has one file, "file", whose close waits until the test lets it go on.
type slowRoot struct {
	fusefs.Inode
	once        sync.Once
	began, over chan struct{}
}

type slowFile struct {
	fusefs.Inode
	root *slowRoot
}

func (r *slowRoot) OnAdd(ctx context.Context) {
	r.AddChild("file", r.NewPersistentInode(ctx, &slowFile{root: r}, fusefs.StableAttr{}), false)
}

func (f *slowFile) Open(context.Context, uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_DIRECT_IO, 0
}

func (f *slowFile) Flush(context.Context, fusefs.FileHandle) syscall.Errno {
	f.root.once.Do(func() { close(f.root.began) })
	<-f.root.over
	return 0
}

// execWithFile runs another program with a file open that the exec closes.
func execWithFile(dir string) error {
	if _, err := unix.Open(filepath.Join(dir, "file"), unix.O_WRONLY|unix.O_CLOEXEC, 0); err != nil {
		return err
	}
	return syscall.Exec("/bin/true", []string{"true"}, nil)
}

// inExec mounts for the test, and starts a process that waits for the mount inside execve. The mount answers otherwise;
// the process goes on when goOn is called.
func inExec(t *testing.T) (m *mountpoint.Mountpoint, child *exec.Cmd, goOn func()) {
	t.Helper()
	testenv.Root(t)
	r := &slowRoot{began: make(chan struct{}), over: make(chan struct{})}
	goOn = sync.OnceFunc(func() { close(r.over) })
	m = mountedRoot(t, mountpoint.Options{}, r)
	t.Cleanup(goOn)
	child = rerun(t, "exec", m.Dir(), `exec "$0" "$1"`)
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		goOn()
		_ = child.Wait() // most tests have waited
	})
	<-r.began
	return m, child, goOn
}

// Who holds a busy mount is looked for among processes some of which cannot be looked into: inside execve.
func TestUnmountBusyByExec(t *testing.T) {
	m, child, goOn := inExec(t)
	busy := make(chan error, 1)
	go func() { busy <- m.Unmount(false) }()
	select {
	case err := <-busy:
		if !errors.Is(err, mountpoint.ErrBusy) {
			t.Errorf("Unmount: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("it waits for the holder")
		goOn()
		t.Log("then: ", <-busy)
	}
	goOn()
	if err := child.Wait(); err != nil {
		t.Error(err)
	}
}

// A lazy unmount aborts a mount that answers some and lets others wait, but not one that is much used.
func TestDetachStuck(t *testing.T) {
	m, child, _ := inExec(t)
	if n, err := (mountpoint.Info{Dir: m.Dir(), Dev: m.Dev()}).Stuck(100 * time.Millisecond); n != 1 || err != nil {
		t.Errorf("%d requests are stuck, %v, want 1", n, err)
	}
	if hung, err := mountpoint.DetachWithin(m.Dir(), 500*time.Millisecond); !hung || err != nil {
		t.Errorf("hung %v, %v", hung, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	select {
	case err := <-ended:
		if err != nil { // exec takes no notice of the error of a close
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("a user waits for ever")
	}
}

func TestDetachBusy(t *testing.T) {
	testenv.Root(t)
	m := mounted(t, mountpoint.Options{})
	fd, err := unix.Open(m.Dir(), unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				var st unix.Statx_t
				err := unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_FORCE_SYNC, unix.STATX_BASIC_STATS, &st)
				if err != nil && err != unix.EINTR {
					t.Error(err)
					return
				}
			}
		})
	}
	if n, err := (mountpoint.Info{Dir: m.Dir(), Dev: m.Dev()}).Stuck(2 * time.Second); n != 0 || err != nil {
		t.Errorf("%d requests are stuck, %v", n, err)
	}
	if hung, err := mountpoint.DetachWithin(m.Dir(), 2*time.Second); hung || err != nil {
		t.Errorf("hung %v, %v", hung, err)
	}
	close(stop)
	wg.Wait()
	unix.Close(fd)
}
