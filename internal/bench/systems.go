package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// The names of the file systems in the report.
const (
	tmpfs   = "tmpfs"
	minimal = "minimal"     // a minimal go-fuse file system
	commyfs = "commyfs"     // two mounts of one server on this machine
	overTLS = "commyfs_wss" // one of the mounts connected by wss on the loopback interface
)

// localServer is the directory of the server of the local mounts.
const localServer = "local"

// sharedMemory is where a tmpfs is on every Linux.
const sharedMemory = "/dev/shm"

// system is a file system to measure.
type system struct {
	name   string
	dir    string // where the client works
	far    string // where the same files are seen by the other side
	remote bool   // it is only there for what goes between hosts
	err    error  // why it cannot be measured
}

// mountAll makes all file systems; those that cannot be made say why.
func (r *runner) mountAll(ctx context.Context) []*system {
	list := []*system{{name: tmpfs}, {name: minimal}, {name: commyfs}, {name: overTLS, remote: true}}
	makers := []func(context.Context, *system) error{r.makeTmpfs, r.mountMinimal, r.mountLocal, r.mountOverTLS}
	for i, s := range list {
		if err := makers[i](ctx, s); err != nil {
			s.err = fmt.Errorf("set up: %w", err)
		}
	}
	return list
}

func (r *runner) makeTmpfs(_ context.Context, s *system) error {
	if name := fileSystemName(sharedMemory); name != "tmpfs" {
		return fmt.Errorf("%s is %s", sharedMemory, name)
	}
	dir, err := os.MkdirTemp(sharedMemory, prefix)
	if err != nil {
		return err
	}
	r.dirs.shm = dir
	s.dir, s.far = dir, dir
	return nil
}

func (r *runner) mountMinimal(ctx context.Context, s *system) error {
	dir, err := r.dirs.mountpoint("minimal")
	if err != nil {
		return err
	}
	s.dir, s.far = dir, dir
	_, err = r.serveMount(ctx, dir, "bench-fs", dir)
	return err
}

// mountLocal makes two mounts that find each other by their directories; the first starts the server.
func (r *runner) mountLocal(ctx context.Context, s *system) error {
	own, err := r.dirs.server(localServer)
	if err != nil {
		return err
	}
	return r.mountPair(ctx, s, "a", own, "b", own)
}

// mountOverTLS makes a server that listens, a mount at its socket and one that comes by wss.
func (r *runner) mountOverTLS(ctx context.Context, s *system) error {
	own, err := r.dirs.server("listening")
	if err != nil {
		return err
	}
	server, err := r.start("commyfs serve", append([]string{"serve", "--listen", "127.0.0.1:0", "--tls-self-signed"}, own...)...)
	if err != nil {
		return err
	}
	r.dirs.servers = append(r.dirs.servers, server)
	url, err := server.line(ctx, "listening ")
	if err != nil {
		return err
	}
	ca, err := server.line(ctx, "ca ")
	if err != nil {
		return err
	}
	key, err := r.makeKey(ctx, own)
	if err != nil {
		return err
	}
	other, err := r.dirs.server("remote") // nothing of the server's own may be of help
	if err != nil {
		return err
	}
	return r.mountPair(ctx, s, "c", own, "d", append(other, "--server", url, "--ca", ca, "--api-key-file", key))
}

// makeKey returns the file that holds a new API key.
func (r *runner) makeKey(ctx context.Context, own []string) (string, error) {
	c, err := r.start("commyfs key create", append([]string{"key", "create", "bench"}, own...)...)
	if err != nil {
		return "", err
	}
	key, err := c.line(ctx, "")
	if err = errors.Join(err, r.procs.finish(c, stopBound)); err != nil {
		return "", err
	}
	file := filepath.Join(r.dirs.root, "key")
	return file, os.WriteFile(file, []byte(key+"\n"), 0o600)
}

// mountPair makes two mounts and in them a service, where the work is done.
func (r *runner) mountPair(ctx context.Context, s *system, near string, nearFlags []string, far string, farFlags []string) error {
	for _, m := range []struct {
		name  string
		flags []string
		dir   *string
	}{{near, nearFlags, &s.dir}, {far, farFlags, &s.far}} {
		dir, err := r.dirs.mountpoint(m.name)
		if err != nil {
			return err
		}
		args := []string{"mount", dir, "--cache", "bench/bench/" + preadCached}
		if _, err := r.serveMount(ctx, dir, append(args, m.flags...)...); err != nil {
			return err
		}
		*m.dir = filepath.Join(dir, "bench", "bench")
	}
	return os.MkdirAll(s.dir, 0o755)
}

// serveMount starts a child that serves a mount on dir, and waits until it does.
func (r *runner) serveMount(ctx context.Context, dir string, args ...string) (*child, error) {
	c, err := r.start("commyfs "+args[0], args...)
	if err != nil {
		return nil, err
	}
	r.dirs.mounts = append(r.dirs.mounts, mount{dir, c})
	_, err = c.line(ctx, "mounted ")
	return c, err
}

func (r *runner) start(name string, args ...string) (*child, error) {
	command := r.o.Command
	args = append(append([]string{}, command[1:]...), args...)
	return r.procs.start(name, exec.Command(command[0], args...))
}

func kernelUnmount(dir string) error { return unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) }
