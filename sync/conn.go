package sync

import (
	"context"
	"os"
	"time"

	"github.com/commy-project/commyfs/model"
)

// Conn is one connection to a server, as transport.Client has it. It works or is over: it does not reconnect. Calls return
// when their contexts end, which bounds sending too; then what was asked for may have been carried out. Refusals are
// *[model.Error]; one of code CodeDisconnected says that the connection is over.
//
// Everything that arrives is handled one after the other on one goroutine: what the watcher is told, pages, and outcomes of
// reports. Handlers may start calls, but must not wait for one.
type Conn interface {
	// Hello comes first. From then on w is told of what is watched.
	Hello(ctx context.Context, who *model.Client, w model.Watcher) (*model.Welcome, error)
	// Goodbye says that nothing will be sent again.
	Goodbye(ctx context.Context) error
	// WatchTree and Watch return when page has been called with the last page, or has failed.
	WatchTree(ctx context.Context, page func(*model.TreePage) error) error
	Watch(ctx context.Context, w *model.Watch, page func(*model.Snapshot) error) error
	// Unwatch ends a watch, and lets go of the service's memory file.
	Unwatch(ctx context.Context, service uint64) error
	MemoryFile(ctx context.Context, service uint64) (*model.MemoryFile, error)
	BareFile(ctx context.Context, service uint64) (*model.MemoryFile, error)
	// OpenBare has the server hand out the file of a bare service, and its bell.
	OpenBare(ctx context.Context, service uint64, write bool) (memory, bell *os.File, err error)
	// Report returns when r is sent, and has its outcome handled once. If it returns an error, neither. When ctx has ended
	// before, it sends r if that takes no waiting.
	Report(ctx context.Context, r *model.Report, handle func(*model.Outcome, error)) error
	Probe(ctx context.Context, p *model.Probe) (*model.Probed, error)
	Read(ctx context.Context, r *model.Read) (*model.Variable, error)
	List(ctx context.Context, l *model.List, page func(*model.Page) error) error
	Status(ctx context.Context) (*model.Status, error)
	NewKey(ctx context.Context, k *model.NewKey) (key string, err error)
	Keys(ctx context.Context) ([]model.KeyInfo, error)
	RevokeKey(ctx context.Context, name string) error
	// CacheVariables has the server ask before it acknowledges changes of variables to others; ConfirmChanges answers.
	CacheVariables(ctx context.Context, service uint64, ids []uint64, off bool) error
	ConfirmChanges(ctx context.Context, service uint64, rev int64) error
	// Lock and CancelLock return when the request is sent, and have its answer handled once. If they return an error, neither.
	Lock(ctx context.Context, r *model.LockRequest, handle func(*model.LockAnswer, error)) error
	CancelLock(ctx context.Context, id, token uint64, handle func(*model.LockAnswer, error)) error
	Unlock(ctx context.Context, l *model.Lock) error
	TestLock(ctx context.Context, l *model.Lock) (*model.LockTest, error)
	Reclaim(ctx context.Context, r *model.Reclaim) (*model.Reclaimed, error)
	Locks(ctx context.Context, l *model.ListLocks, page func(*model.LockPage) error) error
	// Ping returns when everything that the server sent before has been handled.
	Ping(ctx context.Context) error

	// LastReceived is when something was last received.
	LastReceived() time.Time
	// Done is closed when the connection is over and every handler has returned; Err then says why it is over.
	Done() <-chan struct{}
	Err() error
	// Close ends the connection and waits until every handler has returned.
	Close() error
}
