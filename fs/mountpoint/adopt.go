package mountpoint

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Adopt takes over a mount of a process that has died: fd is its descriptor of /dev/fuse, which becomes the Mountpoint's, dir and
// dev are what [Mountpoint.Dir] and [Mountpoint.Dev] were. The error is [ErrNotMounted] if the mount has ended meanwhile, or is
// not in its place any more.
func Adopt(dir string, dev uint64, fd int) (*Mountpoint, error) {
	unix.CloseOnExec(fd)
	at, err := locate(dir)
	if err == nil && (!Connected(fd) || !at.mountRoot || at.dev != dev) {
		err = ErrNotMounted
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("take over %s: %w", dir, err)
	}
	return &Mountpoint{dir: at.path, dev: dev, fd: fd}, nil
}

// Connected reports whether the mount of a descriptor of /dev/fuse has neither been unmounted nor aborted.
func Connected(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd)}}
	for {
		n, err := unix.Poll(p, 0)
		if err != unix.EINTR {
			return err != nil || n == 0 || p[0].Revents&unix.POLLERR == 0
		}
	}
}
