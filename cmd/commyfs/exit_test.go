package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/transport"
)

func TestExitCode(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("disk on fire"), 1},
		{syscall.EACCES, 1},
		{model.ErrTooLarge, 1},
		{model.ErrNoSpace, 1},
		{model.ErrIsDirectory, 1},
		{context.Canceled, 1},
		{usagef("no such flag"), 2},
		{model.ErrInvalid, 2},
		{model.ErrNotFound, 3},
		{model.ErrDenied, 4},
		{model.ErrUnauthorized, 4},
		{model.ErrDisconnected, 5},
		{model.ErrUnavailable, 5},
		{transport.ErrUntrusted, 5},
		{model.ErrConflict, 6},
		{model.ErrStaleBase, 6},
		{&exitError{4, errors.New("what another process said")}, 4},
	} {
		if got := exitCode(tt.err); got != tt.want {
			t.Errorf("exitCode(%v) = %d, want %d", tt.err, got, tt.want)
		}
		if tt.err == nil {
			continue
		}
		if got := exitCode(errors.Join(fmt.Errorf("t/s/v: %w", tt.err))); got != tt.want {
			t.Errorf("exitCode of %v, wrapped = %d, want %d", tt.err, got, tt.want)
		}
	}
}

func TestErrorIsOneLine(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{errors.Join(errors.New("a: gone"), errors.New("b: gone")), "a: gone; b: gone"},
		{errors.New("ends with\r\n"), "ends with"},
		{fmt.Errorf("dial: %w", context.Canceled), "interrupted"},
		{&exitError{code: 5}, ""},
	} {
		if got := errorLine(tt.err); got != tt.want {
			t.Errorf("errorLine(%q) = %q, want %q", tt.err, got, tt.want)
		}
	}
}
