package fs

import (
	"fmt"
	"os"
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

// backingMap is struct fuse_backing_map.
type backingMap struct {
	fd int32
	_  uint32 // flags
	_  uint64
}

const (
	backingOpen  = 0x4010e501 // FUSE_DEV_IOC_BACKING_OPEN
	backingClose = 0x4004e502 // FUSE_DEV_IOC_BACKING_CLOSE
)

// passThrough has the kernel read, write and map a file by itself: it takes privileges, and Linux 6.9. The kernel opens the file
// again for each descriptor, with its flags; our own is for reading, so that it does not look as if somebody could write.
func (f *FS) passThrough(file *os.File) (int32, error) {
	own, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", file.Fd()))
	if err != nil {
		return 0, err
	}
	defer own.Close()
	return backingIoctl(f.kernel.FD(), backingOpen, &backingMap{fd: int32(own.Fd())})
}

func (f *FS) endPassThrough(id int32) {
	if _, err := backingIoctl(f.kernel.FD(), backingClose, &id); err != nil {
		f.log.Debug("end a passthrough", "err", err) // when the mount ends
	}
}
