package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/commy-project/commyfs/internal/names"
	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/transport"
)

// The exit codes: stable, for scripts.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitDenied      = 4
	exitUnreachable = 5
	exitConflict    = 6
)

const exitHelp = "Exit codes: 0 success, 1 failure, 2 usage error, 3 not found, 4 permission denied, 5 server unreachable, 6 conflict."

// exitError is an error with its own exit code.
type exitError struct {
	code int
	err  error // nil: nothing more to print
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// exitCode is the one place where errors become exit codes.
func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	var own *exitError
	if errors.As(err, &own) {
		return own.code
	}
	if errors.Is(err, transport.ErrUntrusted) {
		return exitUnreachable
	}
	switch model.CodeOf(err) {
	case model.CodeInvalid:
		return exitUsage
	case model.CodeNotFound:
		return exitNotFound
	case model.CodeDenied, model.CodeUnauthorized:
		return exitDenied
	case model.CodeDisconnected, model.CodeUnavailable:
		return exitUnreachable
	case model.CodeConflict, model.CodeStaleBase:
		return exitConflict
	}
	return exitFailure
}

// errorLine is the error as one line.
func errorLine(err error) string {
	if errors.Is(err, context.Canceled) {
		return "interrupted"
	}
	lines := strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' })
	return names.Printable(strings.Join(lines, "; "))
}
