// Package mountpoint mounts and unmounts commyfs.
//
// [Mount] opens /dev/fuse itself instead of leaving it to go-fuse, for three reasons. Notifications to the kernel are
// written by several goroutines at once, and go-fuse puts them all behind one lock. The descriptor is close-on-exec
// from its first moment, so no child process can keep a dead mount alive. And whoever holds the descriptor can hand it
// to a successor. A server gets a duplicate of its own by [Mountpoint.Dup]:
//
//	m, err := mountpoint.Mount(dir, mountpoint.Options{})
//	fd, err := m.Dup()
//	server, err := fuse.NewServer(rawFS, fmt.Sprintf("/dev/fd/%d", fd), &opts)
//
// Such a mount blocks every access until the server has answered the kernel's INIT, and go-fuse can neither unmount it
// nor send its poll probe, because it does not know the directory.
//
// With CAP_SYS_ADMIN the package calls mount(2) and umount2(2); without it, fusermount3.
//
// No function here sends a request to a file system which might not answer, with three exceptions: [Check] asks a mount
// of ours whether it is dead, and gives up after a bound, [Detach] aborts it then, and [Info.Ask] waits. Everything else
// reads /proc/self/mountinfo and uses O_PATH descriptors, and so works on dead mounts and on hung ones. Nor does anything
// wait for another process, whose files in /proc cannot be read while it is inside execve.
package mountpoint

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// Subtype is the default of [Options.Subtype]; [List], [Check] and [Unmount] know mounts of ours by it.
const Subtype = "commyfs"

// fsType is how the kernel shows a mount with the default subtype.
const fsType = "fuse." + Subtype

var (
	// ErrNotMounted says that nothing is mounted on the directory.
	ErrNotMounted = errors.New("not mounted")
	// ErrNotOurs says that the directory is a mount of another file system.
	ErrNotOurs = errors.New("not a commyfs mount")
	// ErrMounted says that a commyfs mount is on the directory already.
	ErrMounted = errors.New("already mounted")
	// ErrDead says that the process behind a mount is gone.
	ErrDead = errors.New("the process that served it has exited")
	// ErrBusy says that a process holds the mount; the error's text names it where it can be seen.
	ErrBusy = errors.New("in use")
	// ErrOverlap says that the mount would cover, or lie inside, a directory that commyfs itself needs.
	ErrOverlap = errors.New("overlaps a directory commyfs needs")
)

// Options are the choices of a mount. The zero value is usable.
//
// The options ro and default_permissions are refused: with either the kernel rejects the daemon's own accesses, which
// raise the file events (see package poke), before the daemon sees them.
type Options struct {
	// FSName is the source shown in mountinfo and by df. Empty means "commyfs".
	FSName string
	// Subtype makes the file system type fuse.SUBTYPE. Empty means [Subtype].
	Subtype string
	// AllowOther lets other users than the mounting one in. Without CAP_SYS_ADMIN it needs user_allow_other in
	// /etc/fuse.conf.
	AllowOther bool
	// MaxRead bounds one READ in bytes; it should be go-fuse's MaxWrite. Zero leaves the kernel's bound.
	MaxRead int
	// Extra are further mount options, one an element, e.g. "noexec".
	Extra []string
}

// Mountpoint is a mount made by this process. Its methods may be called from several goroutines.
type Mountpoint struct {
	dir string
	dev uint64

	mu sync.Mutex
	// mu guards the following.
	fd     int
	closed bool
}

// Mount mounts on dir, which [Check] should have passed. The mount is not usable before a server answers on the
// descriptor.
func Mount(dir string, o Options) (*Mountpoint, error) {
	opts, err := parseOptions(o)
	if err != nil {
		return nil, fmt.Errorf("mount %s: %w", dir, err)
	}
	at, err := locate(dir)
	if err != nil {
		return nil, fmt.Errorf("mount %s: %w", dir, err)
	}
	mount := mountFusermount
	if privileged() {
		mount = mountDirect
	}
	fd, err := mount(at.path, opts)
	if err != nil {
		return nil, fmt.Errorf("mount %s: %w", dir, err)
	}
	top, err := locate(at.path)
	if err == nil && !top.isMountOf(opts.fsType()) {
		err = errors.New("another file system was mounted over it in the meantime")
	}
	if err != nil {
		// What lies on dir may not be ours, so it stays; the mount below is dead with its descriptor.
		unix.Close(fd)
		return nil, fmt.Errorf("mount %s: %w", dir, err)
	}
	return &Mountpoint{dir: at.path, dev: top.dev, fd: fd}, nil
}

// FD is the descriptor of /dev/fuse, -1 after [Mountpoint.Close]. It stays the property of the Mountpoint. The mount
// dies when its last duplicate is closed.
func (m *Mountpoint) FD() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.fd
}

// Dup returns a close-on-exec duplicate of [Mountpoint.FD] that the caller owns. go-fuse closes the descriptor it was
// given, therefore it must have one of its own: a notification written to a closed number could hit another file.
func (m *Mountpoint) Dup() (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return -1, fmt.Errorf("duplicate the descriptor of %s: %w", m.dir, unix.EBADF)
	}
	fd, err := unix.FcntlInt(uintptr(m.fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return -1, fmt.Errorf("duplicate the descriptor of %s: %w", m.dir, err)
	}
	return fd, nil
}

// Dir is the mounted directory, absolute and with symbolic links resolved.
func (m *Mountpoint) Dir() string { return m.dir }

// Dev is the st_dev of everything in the mount.
func (m *Mountpoint) Dev() uint64 { return m.dev }

// Close closes [Mountpoint.FD]; it does not unmount. A mount whose descriptors are all closed is dead, so Close comes
// after Unmount, and after the goroutines that write notifications have ended. Further calls do nothing.
func (m *Mountpoint) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	m.closed = true
	fd := m.fd
	m.fd = -1
	if err := unix.Close(fd); err != nil {
		return fmt.Errorf("close the descriptor of %s: %w", m.dir, err)
	}
	return nil
}

// Unmount unmounts, lazily on request: a lazy unmount takes the mount out of the tree at once, and it ends when its
// last user does. A mount that is gone already is success. An [ErrBusy] names who holds the mount.
func (m *Mountpoint) Unmount(lazy bool) error {
	at, err := locate(m.dir)
	if err != nil {
		return fmt.Errorf("unmount %s: %w", m.dir, err)
	}
	if at.mountRoot && at.dev == m.dev {
		return unmount(at, lazy)
	}
	mounts, err := readMounts()
	if err != nil {
		return fmt.Errorf("unmount %s: %w", m.dir, err)
	}
	for _, x := range mounts {
		if x.dir == m.dir && x.dev == m.dev {
			return fmt.Errorf("unmount %s: %w: unmount the %s file system mounted over it first", m.dir, ErrNotOurs, at.fsType)
		}
	}
	return nil
}
