package fs

import (
	"context"
	"errors"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

var codeErrno = map[model.Code]syscall.Errno{
	model.CodeNotFound:     syscall.ENOENT,
	model.CodeExists:       syscall.EEXIST,
	model.CodeNotEmpty:     syscall.ENOTEMPTY,
	model.CodeIsDirectory:  syscall.EISDIR,
	model.CodeNotDirectory: syscall.ENOTDIR,
	model.CodeDenied:       syscall.EACCES,
	model.CodeUnauthorized: syscall.EACCES,
	model.CodeInvalid:      syscall.EINVAL,
	model.CodeTooLarge:     syscall.EFBIG,
	model.CodeNameTooLong:  syscall.ENAMETOOLONG,
	model.CodeNoSpace:      syscall.ENOSPC,
	model.CodeQuota:        syscall.EDQUOT,
	model.CodeConflict:     syscall.ESTALE,
	model.CodeStaleBase:    syscall.ESTALE,
	model.CodeCrossDevice:  syscall.EXDEV,
	model.CodeUnsupported:  syscall.EOPNOTSUPP,
	model.CodeUnavailable:  syscall.EIO,
	model.CodeDisconnected: syscall.EIO,
	model.CodeForgotten:    syscall.EIO,
	model.CodeLocked:       syscall.EAGAIN,
	model.CodeDeadlock:     syscall.EDEADLK,
	model.CodeNoLocks:      syscall.ENOLCK,
	model.CodeLockLost:     syscall.EIO,
	model.CodeRange:        syscall.ERANGE,
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
	if e, ok := codeErrno[model.CodeOf(err)]; ok {
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
