package fs

import (
	"context"
	"errors"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	varsync "github.com/commy-project/commyfs/sync"
	"github.com/commy-project/commyfs/transport"
)

var codeErrno = map[transport.Code]syscall.Errno{
	transport.CodeNotFound:     syscall.ENOENT,
	transport.CodeExists:       syscall.EEXIST,
	transport.CodeNotEmpty:     syscall.ENOTEMPTY,
	transport.CodeIsDirectory:  syscall.EISDIR,
	transport.CodeNotDirectory: syscall.ENOTDIR,
	transport.CodeDenied:       syscall.EACCES,
	transport.CodeUnauthorized: syscall.EACCES,
	transport.CodeInvalid:      syscall.EINVAL,
	transport.CodeTooLarge:     syscall.EFBIG,
	transport.CodeNameTooLong:  syscall.ENAMETOOLONG,
	transport.CodeNoSpace:      syscall.ENOSPC,
	transport.CodeQuota:        syscall.EDQUOT,
	transport.CodeConflict:     syscall.ESTALE,
	transport.CodeStaleBase:    syscall.ESTALE,
	transport.CodeCrossDevice:  syscall.EXDEV,
	transport.CodeUnsupported:  syscall.EOPNOTSUPP,
	transport.CodeUnavailable:  syscall.EIO,
	transport.CodeDisconnected: syscall.EIO,
	transport.CodeForgotten:    syscall.EIO,
}

// errno maps every error to what a system call returns. It never yields ENOSYS, which the kernel takes as "never ask
// again". What has no errno of its own is EIO, and logged, because the caller cannot see the cause.
func (f *FS) errno(op string, err error) fuse.Status {
	if err == nil {
		return fuse.OK
	}
	var failed *varsync.ServiceError
	if errors.As(err, &failed) {
		return fuse.EIO // said once already
	}
	// Ours first: why a server cannot be reached may be an errno of its own, which is not the caller's.
	if e, ok := codeErrno[transport.CodeOf(err)]; ok {
		if e == syscall.EIO {
			f.log.Warn(op, "err", err)
		}
		return fuse.Status(e)
	}
	var e syscall.Errno
	switch {
	case errors.As(err, &e):
		return fuse.Status(e)
	case errors.Is(err, context.Canceled):
		return fuse.Status(syscall.EINTR)
	case errors.Is(err, context.DeadlineExceeded):
		return fuse.EIO
	}
	f.log.Error(op, "err", err)
	return fuse.EIO
}
