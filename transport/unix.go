package transport

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxSocketPath is what fits into sun_path with its NUL. Longer paths are reached through a descriptor of the directory.
const maxSocketPath = 107

// ListenUnix listens on a Unix socket with exactly the given mode, from the moment it exists. A socket left behind at
// path is removed: the caller must hold a lock that excludes other servers there. Anything else at path is an
// error. Closing the listener removes the socket, unless another one has taken its place.
func ListenUnix(path string, mode os.FileMode) (net.Listener, error) {
	if err := removeStale(path); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	var l *net.UnixListener
	err := withShortPath(path, func(short string) error {
		// A socket takes the mode that its descriptor had before bind, less the umask.
		lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
			var chmodErr error
			err := c.Control(func(fd uintptr) { chmodErr = unix.Fchmod(int(fd), uint32(mode.Perm())) })
			return errors.Join(err, chmodErr)
		}}
		got, err := lc.Listen(context.Background(), "unix", short)
		if err != nil {
			return innerError(err)
		}
		l = got.(*net.UnixListener)
		l.SetUnlinkOnClose(false) // by name, it would remove another server's socket
		return os.Chmod(short, mode.Perm())
	})
	var st os.FileInfo
	if err == nil {
		st, err = os.Lstat(path)
	}
	if err != nil {
		if l != nil {
			_ = l.Close()
		}
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return &unixListener{UnixListener: l, path: path, made: st}, nil
}

type unixListener struct {
	*net.UnixListener
	path string
	made os.FileInfo
	once sync.Once
	err  error
}

// Close stops listening and removes the socket if it is still ours.
func (l *unixListener) Close() error {
	l.once.Do(func() {
		if st, err := os.Lstat(l.path); err == nil && os.SameFile(st, l.made) {
			_ = os.Remove(l.path)
		}
		l.err = l.UnixListener.Close()
	})
	return l.err
}

// Addr returns the socket's path as it was asked for.
func (l *unixListener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

func removeStale(path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, iofs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.Mode().Type() != os.ModeSocket {
		return errors.New("exists and is not a socket")
	}
	return os.Remove(path)
}

// withShortPath calls f with a name for path that fits into a socket address. It is valid only during the call.
func withShortPath(path string, f func(string) error) error {
	if len(path) <= maxSocketPath {
		return f(path)
	}
	dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(dir) }()
	short := "/proc/self/fd/" + strconv.Itoa(dir) + "/" + filepath.Base(path)
	if len(short) > maxSocketPath {
		return fmt.Errorf("file name of %d bytes: %w", len(filepath.Base(path)), syscall.ENAMETOOLONG)
	}
	return f(short)
}

func dialUnix(ctx context.Context, path string) (net.Conn, error) {
	var c net.Conn
	err := withShortPath(path, func(short string) (err error) {
		var d net.Dialer
		c, err = d.DialContext(ctx, "unix", short)
		return err
	})
	return c, err
}
