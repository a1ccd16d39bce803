package mountpoint_test

import (
	"context"
	"errors"
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

// Who holds a busy mount is looked for among processes some of which cannot be looked into: inside execve.
func TestUnmountBusyByExec(t *testing.T) {
	testenv.Root(t)
	r := &slowRoot{began: make(chan struct{}), over: make(chan struct{})}
	goOn := sync.OnceFunc(func() { close(r.over) })
	m := mountedRoot(t, mountpoint.Options{}, r)
	defer goOn()
	child := rerun(t, "exec", m.Dir(), `exec "$0" "$1"`)
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Wait() }()
	defer goOn()
	<-r.began
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
		<-busy
	}
	goOn()
	if err := child.Wait(); err != nil {
		t.Error(err)
	}
}
