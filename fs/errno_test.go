package fs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/transport"
)

// Every code has an errno, and none is one that the kernel takes as "never ask again".
func TestErrnoIsTotal(t *testing.T) {
	f := &FS{log: slog.New(slog.DiscardHandler)}
	want := map[transport.Code]syscall.Errno{
		transport.CodeInternal: syscall.EIO, transport.CodeNotFound: syscall.ENOENT, transport.CodeExists: syscall.EEXIST,
		transport.CodeNotEmpty: syscall.ENOTEMPTY, transport.CodeIsDirectory: syscall.EISDIR,
		transport.CodeNotDirectory: syscall.ENOTDIR, transport.CodeDenied: syscall.EACCES,
		transport.CodeUnauthorized: syscall.EACCES, transport.CodeInvalid: syscall.EINVAL,
		transport.CodeTooLarge: syscall.EFBIG, transport.CodeNameTooLong: syscall.ENAMETOOLONG,
		transport.CodeNoSpace: syscall.ENOSPC, transport.CodeQuota: syscall.EDQUOT, transport.CodeStaleBase: syscall.ESTALE,
		transport.CodeConflict: syscall.ESTALE, transport.CodeCrossDevice: syscall.EXDEV,
		transport.CodeUnavailable: syscall.EIO, transport.CodeUnsupported: syscall.EOPNOTSUPP,
		transport.CodeDisconnected: syscall.EIO,
		transport.CodeForgotten:    syscall.EIO,
	}
	for c := range transport.Code(255) {
		code := c + 1
		expected, known := want[code]
		if !known {
			if code <= transport.CodeForgotten {
				t.Errorf("code %d has no errno in this table", code)
			}
			expected = syscall.EIO // of a newer server
		}
		err := fmt.Errorf("doing it: %w", &transport.Error{Code: code, Message: "m"})
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
		{fmt.Errorf("%w: %w", transport.ErrDisconnected, syscall.ENOENT), syscall.EIO},
	} {
		if got := f.errno("op", tt.err); got != fuse.Status(tt.want) {
			t.Errorf("%v: %v, want %v", tt.err, got, tt.want)
		}
	}
}
