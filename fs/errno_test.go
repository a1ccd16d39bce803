package fs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/model"
)

// Every code has an errno, and none is one that the kernel takes as "never ask again".
func TestErrnoIsTotal(t *testing.T) {
	f := &FS{log: slog.New(slog.DiscardHandler)}
	want := map[model.Code]syscall.Errno{
		model.CodeInternal: syscall.EIO, model.CodeNotFound: syscall.ENOENT, model.CodeExists: syscall.EEXIST,
		model.CodeNotEmpty: syscall.ENOTEMPTY, model.CodeIsDirectory: syscall.EISDIR,
		model.CodeNotDirectory: syscall.ENOTDIR, model.CodeDenied: syscall.EACCES,
		model.CodeUnauthorized: syscall.EACCES, model.CodeInvalid: syscall.EINVAL,
		model.CodeTooLarge: syscall.EFBIG, model.CodeNameTooLong: syscall.ENAMETOOLONG,
		model.CodeNoSpace: syscall.ENOSPC, model.CodeQuota: syscall.EDQUOT, model.CodeStaleBase: syscall.ESTALE,
		model.CodeConflict: syscall.ESTALE, model.CodeCrossDevice: syscall.EXDEV,
		model.CodeUnavailable: syscall.EIO, model.CodeUnsupported: syscall.EOPNOTSUPP,
		model.CodeDisconnected: syscall.EIO,
		model.CodeForgotten:    syscall.EIO,
		model.CodeRange:        syscall.ERANGE,
		model.CodeLocked:       syscall.EAGAIN,
		model.CodeDeadlock:     syscall.EDEADLK,
		model.CodeNoLocks:      syscall.ENOLCK,
		model.CodeLockLost:     syscall.EIO,
	}
	for c := range model.Code(255) {
		code := c + 1
		expected, known := want[code]
		if !known {
			if code <= model.CodeLockLost {
				t.Errorf("code %d has no errno in this table", code)
			}
			expected = syscall.EIO // of a newer server
		}
		err := fmt.Errorf("doing it: %w", &model.Error{Code: code, Message: "m"})
		if got := f.errno("op", err); got != fuse.Status(expected) {
			t.Errorf("code %d: %v, want %v", code, got, expected)
		}
	}
}

func TestErrnoOfOtherErrors(t *testing.T) {
	f := &FS{log: slog.New(slog.DiscardHandler)}
	for _, tt := range []struct {
		err  error
		want syscall.Errno
	}{
		{nil, 0},
		{syscall.ENOTDIR, syscall.ENOTDIR},
		{errors.Join(syscall.ENAMETOOLONG, syscall.EROFS), syscall.ENAMETOOLONG},
		{context.Canceled, syscall.EINTR},
		{context.DeadlineExceeded, syscall.EIO},
		{errors.New("what"), syscall.EIO},
		// Why the server cannot be reached is not what the caller did wrong.
		{fmt.Errorf("%w: %w", model.ErrDisconnected, syscall.ENOENT), syscall.EIO},
	} {
		if got := f.errno("op", tt.err); got != fuse.Status(tt.want) {
			t.Errorf("%v: %v, want %v", tt.err, got, tt.want)
		}
	}
}
