package commyfs

import (
	"github.com/commy-project/commyfs/internal/watch"
	"github.com/commy-project/commyfs/model"
)

// Errors of this package match these with [errors.Is].
var (
	ErrNotFound     error = model.ErrNotFound     // also fs.ErrNotExist
	ErrExists       error = model.ErrExists       // also fs.ErrExist
	ErrConflict     error = model.ErrConflict     // the variable does not have the version that the change requires
	ErrDenied       error = model.ErrDenied       // also fs.ErrPermission: the API key lacks the right
	ErrUnauthorized error = model.ErrUnauthorized // also fs.ErrPermission: no valid API key
	ErrInvalid      error = model.ErrInvalid
	ErrRange        error = model.ErrRange // a number does not fit
	ErrTooLarge     error = model.ErrTooLarge
	ErrNameTooLong  error = model.ErrNameTooLong
	ErrNoSpace      error = model.ErrNoSpace
	ErrIsDirectory  error = model.ErrIsDirectory
	ErrNotDirectory error = model.ErrNotDirectory
	ErrNotEmpty     error = model.ErrNotEmpty
	ErrUnsupported  error = model.ErrUnsupported
	// ErrUnreachable: the server did not answer in time. A change may have been made.
	ErrUnreachable error = model.ErrDisconnected
	// ErrUnavailable: the server is starting or stopping, or cannot load the service.
	ErrUnavailable error = model.ErrUnavailable

	// ErrLocked: somebody else has the lock.
	ErrLocked error = model.ErrLocked
	// ErrLockLost: the server has ended the client's locks, or may have, because it was not heard of for a while.
	ErrLockLost error = model.ErrLockLost

	// ErrClosed: the client has been closed.
	ErrClosed = watch.ErrClosed
	// ErrTokenExpired: the server no longer knows what has changed since the token. Start a watch without it.
	ErrTokenExpired = watch.ErrExpired
)
