package mountpoint

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Privileged tells whether this process mounts by itself, without the helper.
func Privileged() bool { return privileged() }

// CheckDevice tells why this process cannot use /dev/fuse, and what to do.
func CheckDevice() error {
	fd, err := openFuse()
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// Helper is the path of the program that mounts for users without privileges.
func Helper() (string, error) { return findFusermount() }

// Ask sends a request to a mount. It waits as long as the mount takes to answer, and in that time the kernel may let
// nothing end the process: call it in one that can be spared. The error matches [ErrDead] if the mount is, [ErrNotOurs]
// if it is hidden below another one; EACCES comes from the kernel, to whom the mount is not for.
func (m Info) Ask() error {
	at, err := locate(m.Dir)
	if err != nil {
		return err
	}
	if at.dev != m.Dev || !at.isMountOf(fsType) {
		return fmt.Errorf("%w: %s is mounted over it", ErrNotOurs, at.fsType)
	}
	return ask(at)
}
