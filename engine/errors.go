package engine

import "errors"

// The refusals of an engine, matched with errors.Is. After any of them from [Engine.Commit] nothing of the batch is stored,
// with the one exception that ErrClosed states.
var (
	// ErrNoSpace is transient: too little room is left under Options.Dir, or the store has reached Options.Quota.
	ErrNoSpace = errors.New("no space left for the store")
	// ErrTooLarge is a value above MaxValue, or a batch above MaxBatch or MaxOps.
	ErrTooLarge = errors.New("batch too large for the store")
	// ErrDuplicate is a batch with two operations on one key: a mistake of the caller.
	ErrDuplicate = errors.New("two operations on one key in a batch")
	// ErrUnavailable is an engine that did not get ready, or did not get to a batch or a load, before the context ended.
	ErrUnavailable = errors.New("store not available")
	// ErrClosed is an engine that was closed or has ended by itself. A batch that was under way then is stored whole or not
	// at all; the next Open shows which.
	ErrClosed = errors.New("store closed")
	// ErrInUse is a directory that another engine, in this process or another, has open.
	ErrInUse = errors.New("store in use by another process")
	// ErrSchema is a store that a newer program has written.
	ErrSchema = errors.New("store written by a newer version")
	// ErrCorrupt is a record that cannot be read.
	ErrCorrupt = errors.New("store damaged")
)
