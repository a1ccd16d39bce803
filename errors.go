package commyfs

import (
	"errors"

	"github.com/commy-project/commyfs/model"
)

// The errors of this package match these with [errors.Is].
var (
	ErrNotFound     error = model.ErrNotFound // also fs.ErrNotExist
	ErrExists       error = model.ErrExists   // also fs.ErrExist
	ErrConflict     error = model.ErrConflict // the variable has another version than the change wants
	ErrDenied       error = model.ErrDenied   // also fs.ErrPermission: the API key does not give the right
	ErrUnauthorized error = model.ErrUnauthorized
	ErrInvalid      error = model.ErrInvalid
	ErrTooLarge     error = model.ErrTooLarge
	ErrNameTooLong  error = model.ErrNameTooLong
	ErrNoSpace      error = model.ErrNoSpace
	ErrIsDirectory  error = model.ErrIsDirectory
	ErrNotDirectory error = model.ErrNotDirectory
	ErrNotEmpty     error = model.ErrNotEmpty
	// ErrUnreachable: no answer from a server in time. A change may have been carried out.
	ErrUnreachable error = model.ErrDisconnected
	// ErrUnavailable: the server is there, but starts, stops, or cannot load the service.
	ErrUnavailable error = model.ErrUnavailable

	// ErrClosed: the client was closed.
	ErrClosed = errors.New("the client is closed")
	// ErrTokenExpired: the server does not know any more what changed since the token. Watch without it.
	ErrTokenExpired = errors.New("the changes since the token are no longer known")
)
