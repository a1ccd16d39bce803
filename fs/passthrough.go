package fs

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// backingIoctl asks /dev/fuse for something about backing files.
func backingIoctl[T any](fd int, request uint, arg *T) (int32, error) {
	r, _, err := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(unsafe.Pointer(arg)))
	if err != 0 {
		return 0, err
	}
	return int32(r), nil
}
