package mountpoint_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/fs/mountpoint"
	"github.com/commy-project/commyfs/internal/testenv"
)

// childRole names, in the environment, what a re-run of this test binary does instead of testing.
const childRole = "COMMYFS_MOUNTPOINT_CHILD"

func TestMain(m *testing.M) {
	if role := os.Getenv(childRole); role != "" {
		if err := children[role](os.Args[1]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var children = map[string]func(dir string) error{
	"check":        func(dir string) error { return mountpoint.Check(dir) },
	"unprivileged": unprivileged,
	"allow-other":  allowOther,
	"hung":         hungWithFusectl,
	"exec":         execWithFile,
}

// rerun prepares a re-run of this test binary in the role, started through a shell command line in which "$0" stands
// for the binary and "$1" for dir.
func rerun(t *testing.T, role, dir, shell string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	// Where go test builds, other users may not look.
	public := tempDir(t, 0o755)
	bin := filepath.Join(public, "mountpoint.test")
	if err := os.WriteFile(bin, data, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-ec", shell, bin, dir)
	cmd.Env = append(os.Environ(), childRole+"="+role)
	cmd.Dir = public
	return cmd
}

// tempDir makes a directory directly under /tmp: the parents of t.TempDir are closed to other users.
func tempDir(t *testing.T, mode os.FileMode) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "commyfs-mountpoint-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		detachAll(t, dir)
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, mode); err != nil {
		t.Fatal(err)
	}
	return dir
}

// serve runs a file system with one file, "file", on m until it is unmounted; wait then waits for its end.
func serve(m *mountpoint.Mountpoint) (wait func(), err error) { return serveRoot(m, &root{}) }

func serveRoot(m *mountpoint.Mountpoint, root fusefs.InodeEmbedder) (wait func(), err error) {
	fd, err := m.Dup()
	if err != nil {
		return nil, err
	}
	long := time.Hour
	raw := fusefs.NewNodeFS(root, &fusefs.Options{AttrTimeout: &long})
	server, err := fuse.NewServer(raw, fmt.Sprintf("/dev/fd/%d", fd), &fuse.MountOptions{})
	if err != nil {
		return nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Serve()
	}()
	return func() { <-done }, server.WaitMount()
}

type root struct{ fusefs.Inode }

var _ fusefs.NodeOnAdder = (*root)(nil)

func (r *root) OnAdd(ctx context.Context) {
	file := &fusefs.MemRegularFile{Data: []byte("hello"), Attr: fuse.Attr{Mode: 0o644, Nlink: 1}}
	r.AddChild("file", r.NewPersistentInode(ctx, file, fusefs.StableAttr{}), false)
}

// mounted mounts and serves on a new directory for the length of the test.
func mounted(t *testing.T, o mountpoint.Options) *mountpoint.Mountpoint {
	t.Helper()
	return mountedRoot(t, o, &root{})
}

func mountedRoot(t *testing.T, o mountpoint.Options, root fusefs.InodeEmbedder) *mountpoint.Mountpoint {
	t.Helper()
	testenv.NeedFUSE(t)
	m := mountOn(t, t.TempDir(), o)
	wait, err := serveRoot(m, root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(wait)
	t.Cleanup(func() {
		if err := m.Unmount(false); err != nil {
			t.Error(err)
		}
	})
	return m
}

// mountOn mounts on dir without a server: every access of the file system waits for ever, and fails once m is closed.
func mountOn(t *testing.T, dir string, o mountpoint.Options) *mountpoint.Mountpoint {
	t.Helper()
	m, err := mountpoint.Mount(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		detachAll(t, m.Dir())
	})
	return m
}

// detachAll unmounts what a failed test has left.
func detachAll(t *testing.T, dir string) {
	t.Helper()
	for unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) == nil {
		t.Errorf("a mount was left on %s", dir)
	}
}

// readFile reads without Go's poller: a poll of a file that this process itself serves may wait for ever.
func readFile(path string) (string, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	buf := make([]byte, 100)
	n, err := unix.Read(fd, buf)
	return string(buf[:max(n, 0)]), err
}
