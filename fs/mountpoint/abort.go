package mountpoint

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// connections is where fusectl is mounted, if it is: a directory for each FUSE connection, named by the minor number
// of the mount's st_dev and owned by who mounted.
const connections = "/sys/fs/fuse/connections"

// connection is the way to abort a mount that does not answer: whoever waits for it gets an error then, and the mount
// stays, dead. While it is open the mount keeps its number, so that what is aborted is that mount and no later one.
type connection struct {
	at      location
	mount   int // O_PATH descriptor of the mount
	abort   int // fusectl's file, -1: cannot be opened here
	control int // fusectl's directory of the connection, or -1
	blocked int // requests that wait for something to happen, as the mount says
}

// connect finds a way to abort the commyfs mount on dir; if it finds none, it fails.
func connect(dir string) (*connection, error) {
	fd, at, err := open(dir)
	if err != nil {
		return nil, err
	}
	c := &connection{at: at, mount: fd, abort: -1, control: -1}
	if err := at.oursOnly(); err != nil {
		c.close()
		return nil, err
	}
	if err := c.openControl(); err != nil && !privileged() {
		c.close()
		return nil, err
	}
	return c, nil
}

// oursOnly refuses what is not the root of a commyfs mount.
func (l location) oursOnly() error {
	switch {
	case !l.mountRoot:
		return fmt.Errorf("%w: run \"findmnt -t %s\" to list what is", ErrNotMounted, fsType)
	case l.fsType != fsType:
		return fmt.Errorf("%w but %s: use umount", ErrNotOurs, l.fsType)
	}
	return nil
}

func (c *connection) close() {
	for _, fd := range []*int{&c.mount, &c.abort, &c.control} {
		if *fd >= 0 {
			unix.Close(*fd)
		}
		*fd = -1
	}
}

// end aborts the connection.
func (c *connection) end() error {
	if c.abort >= 0 {
		return AbortBy(c.abort)
	}
	// A forced unmount aborts, and then does not unmount what we hold. By the descriptor, because the path may show
	// another mount meanwhile.
	err := unix.Unmount(fmt.Sprintf("/proc/self/fd/%d", c.mount), unix.MNT_FORCE)
	if err == nil || errors.Is(err, unix.EBUSY) {
		return nil
	}
	return fmt.Errorf("abort %s: %w", c.at.path, err)
}

// openControl opens fusectl's directory and the file in it that aborts. With privileges that needs no fusectl in the
// tree: it is mounted where nobody sees it.
func (c *connection) openControl() error {
	parent, name := unix.AT_FDCWD, fmt.Sprintf("%s/%d", connections, c.at.minr)
	if privileged() {
		if root, err := mountFusectl(); err == nil {
			defer unix.Close(root)
			parent, name = root, strconv.Itoa(int(c.at.minr))
		}
	}
	var err error
	if c.control, err = openAt(parent, name, unix.O_PATH|unix.O_DIRECTORY); err != nil {
		return fmt.Errorf("open %s/%d: %w", connections, c.at.minr, err)
	}
	if c.abort, err = openAt(c.control, "abort", unix.O_WRONLY); err != nil {
		return fmt.Errorf("open %s/%d/abort: %w", connections, c.at.minr, err)
	}
	return nil
}

func mountFusectl() (int, error) {
	fs, err := unix.Fsopen("fusectl", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, err
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
}

// AbortFile opens the file for [AbortBy], the caller's to close. It stands for this very connection: once that has
// ended, writing to it does nothing, whatever has its number then.
func (m *Mountpoint) AbortFile() (*os.File, error) {
	c, err := connect(m.dir)
	if err != nil {
		return nil, fmt.Errorf("abort file of %s: %w", m.dir, err)
	}
	defer c.close()
	if c.at.dev != m.dev {
		return nil, fmt.Errorf("abort file of %s: %w", m.dir, ErrNotOurs)
	}
	if c.abort < 0 {
		return nil, fmt.Errorf("abort file of %s: fusectl cannot be mounted", m.dir)
	}
	f := os.NewFile(uintptr(c.abort), "abort")
	c.abort = -1
	return f, nil
}

// AbortBy aborts a connection by the descriptor of [Mountpoint.AbortFile].
func AbortBy(fd int) error {
	err := retry(func() error {
		_, err := unix.Write(fd, []byte("1"))
		return err
	})
	if err != nil {
		return fmt.Errorf("abort: %w", err)
	}
	return nil
}

// Abort aborts the connection of the mount, if it is still the one on Dir.
func (m Info) Abort() error {
	c, err := connect(m.Dir)
	if err != nil {
		return fmt.Errorf("abort %s: %w", m.Dir, err)
	}
	defer c.close()
	if c.at.dev != m.Dev {
		return fmt.Errorf("abort %s: %w", m.Dir, ErrNotOurs)
	}
	return c.end()
}
