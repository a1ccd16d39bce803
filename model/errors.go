package model

import (
	"errors"
	iofs "io/fs"
)

// Code classifies an error. Numbers are never reused: clients and servers of all versions share them.
type Code uint8

// The error codes.
const (
	CodeOK Code = iota
	CodeInternal
	CodeNotFound
	CodeExists
	CodeNotEmpty
	CodeIsDirectory
	CodeNotDirectory
	CodeDenied       // the session lacks the right
	CodeUnauthorized // no valid credentials
	CodeInvalid      // the request makes no sense
	CodeTooLarge     // over the value limit
	CodeNameTooLong
	CodeNoSpace
	CodeQuota
	CodeStaleBase   // a patch over a version that is no longer current
	CodeConflict    // a condition does not hold
	CodeCrossDevice // a rename that cannot be one transaction
	CodeUnavailable // try again: the server starts, stops or cannot reach its engine
	CodeUnsupported
	CodeDisconnected // no connection within the bound; made by the client itself
	CodeForgotten    // the report was sent before, and what became of it is no longer known
	CodeRange        // a number that does not fit
	CodeLocked       // somebody else has the lock
	CodeDeadlock     // who has the lock waits for the caller
	CodeNoLocks      // there are too many locks
	CodeLockLost     // the lock, under which the change was made, was lost
)

// Sentinels, matched by code with errors.Is.
var (
	ErrInternal     = &Error{Code: CodeInternal, Message: "internal error"}
	ErrNotFound     = &Error{Code: CodeNotFound, Message: "no such variable or directory"}
	ErrExists       = &Error{Code: CodeExists, Message: "exists already"}
	ErrNotEmpty     = &Error{Code: CodeNotEmpty, Message: "directory is not empty"}
	ErrIsDirectory  = &Error{Code: CodeIsDirectory, Message: "is a directory"}
	ErrNotDirectory = &Error{Code: CodeNotDirectory, Message: "is not a directory"}
	ErrDenied       = &Error{Code: CodeDenied, Message: "permission denied"}
	ErrUnauthorized = &Error{Code: CodeUnauthorized, Message: "no valid credentials"}
	ErrInvalid      = &Error{Code: CodeInvalid, Message: "invalid request"}
	ErrTooLarge     = &Error{Code: CodeTooLarge, Message: "value too large"}
	ErrNameTooLong  = &Error{Code: CodeNameTooLong, Message: "name too long"}
	ErrNoSpace      = &Error{Code: CodeNoSpace, Message: "no space left at the server"}
	ErrQuota        = &Error{Code: CodeQuota, Message: "quota exceeded"}
	ErrStaleBase    = &Error{Code: CodeStaleBase, Message: "stale base"}
	ErrConflict     = &Error{Code: CodeConflict, Message: "version conflict"}
	ErrCrossDevice  = &Error{Code: CodeCrossDevice, Message: "too large for one rename"}
	ErrUnavailable  = &Error{Code: CodeUnavailable, Message: "server not available"}
	ErrUnsupported  = &Error{Code: CodeUnsupported, Message: "not supported"}
	ErrDisconnected = &Error{Code: CodeDisconnected, Message: "server unreachable"}
	ErrForgotten    = &Error{Code: CodeForgotten, Message: "the server no longer knows whether it carried out the report"}
	ErrRange        = &Error{Code: CodeRange, Message: "number out of range"}
	ErrLocked       = &Error{Code: CodeLocked, Message: "somebody else has the lock"}
	ErrDeadlock     = &Error{Code: CodeDeadlock, Message: "who has the lock waits for the caller"}
	ErrNoLocks      = &Error{Code: CodeNoLocks, Message: "too many locks"}
	ErrLockLost     = &Error{Code: CodeLockLost, Message: "the lock was lost"}
)

// Error is a refusal: what a request that was not carried out is answered with.
type Error struct {
	Code    Code
	Message string
}

func (e *Error) Error() string { return e.Message }

// Is matches by code, and the standard library's file errors where one says the same.
func (e *Error) Is(target error) bool {
	switch target {
	case iofs.ErrNotExist:
		return e.Code == CodeNotFound
	case iofs.ErrExist:
		return e.Code == CodeExists
	case iofs.ErrPermission:
		return e.Code == CodeDenied || e.Code == CodeUnauthorized
	}
	var t *Error
	return errors.As(target, &t) && t.Code == e.Code
}

// CodeOf returns the code of the first [Error] in err's chain, CodeInternal if there is none, CodeOK for nil.
func CodeOf(err error) Code {
	if err == nil {
		return CodeOK
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}
