package mountpoint

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

const devFuse = "/dev/fuse"

// privileged tells whether this process may call mount(2) itself.
func privileged() bool {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&head, &data[0]); err != nil {
		return os.Geteuid() == 0
	}
	return data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}

// openFuse opens /dev/fuse. It must not go through os.Open: Go's poller would poll the descriptor before it belongs to
// a mount, which blocks on some kernels.
func openFuse() (int, error) {
	var fd int
	err := retry(func() (err error) {
		fd, err = unix.Open(devFuse, unix.O_RDWR|unix.O_CLOEXEC, 0)
		return err
	})
	switch {
	case err == nil:
		return fd, nil
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return -1, fmt.Errorf("open %s: %w: run \"modprobe fuse\", or give the container --device %[1]s", devFuse, err)
	case errors.Is(err, unix.EPERM):
		// The device cgroup, not the file's mode.
		return -1, fmt.Errorf("open %s: %w: give the container --device %[1]s", devFuse, err)
	case errors.Is(err, unix.EACCES):
		return -1, fmt.Errorf("open %s: %w: run as root or \"chmod 0666 %[1]s\"", devFuse, err)
	}
	return -1, fmt.Errorf("open %s: %w", devFuse, err)
}

// mountDirect mounts with mount(2).
func mountDirect(dir string, o options) (int, error) {
	fd, err := openFuse()
	if err != nil {
		return -1, err
	}
	data := append([]string{
		fmt.Sprintf("fd=%d", fd),
		fmt.Sprintf("rootmode=%o", unix.S_IFDIR),
		fmt.Sprintf("user_id=%d", os.Geteuid()),
		fmt.Sprintf("group_id=%d", os.Getegid()),
	}, o.data...)
	err = unix.Mount(o.source, dir, o.fsType(), o.flags, strings.Join(data, ","))
	if err == nil {
		return fd, nil
	}
	unix.Close(fd)
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return -1, fmt.Errorf("%w: the container needs CAP_SYS_ADMIN and a security profile that allows mounts", err)
	case errors.Is(err, unix.ENODEV):
		return -1, fmt.Errorf("%w: run \"modprobe fuse\"", err)
	case errors.Is(err, unix.EINVAL):
		return -1, fmt.Errorf("%w: the kernel does not know one of the options %s", err, strings.Join(data[4:], ","))
	}
	return -1, err
}
