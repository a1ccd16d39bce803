// Package engine is the ordered durable store below a server: etcd, embedded in the process, without a listener of any
// kind. It knows the domain's keys and records, and nothing of rights, versions or who may do what: those are the server's.
//
// # Promises
//
// A batch given to [Engine.Commit] is one transaction: it is stored whole or not at all, it is on the disk when Commit
// returns, and batches take effect in the order in which their Commits return. The answer of Commit is never in doubt:
// every transaction also moves a batch number forward (key /1/b) and holds only if the number was the one before. So a
// transaction whose answer was lost is simply sent again: it is either carried out then, or finds that it was already,
// and a copy that arrives late does nothing.
//
// etcd ends the whole process when the disk under its log is full. Therefore every batch asks for the free space first
// and is refused with [ErrNoSpace] well before; deletions ([Engine.CommitFreeing]) have a reserve of their own.
//
// The history that etcd keeps is not ours: a goroutine compacts it by revisions and by bytes and gives the space back.
//
// # Keys
//
//	/1/store                      schema and id of the store
//	/1/id                         ids below it may have been given
//	/1/b                          incarnation, number of the last batch, bytes since the last compaction
//	/1/t/<tenant>                 tenant
//	/1/s/<prefix>\0<service>      service, by the prefix of its tenant
//	/1/f/<sid>                    version floor of a service
//	/1/d/<sid>/<name>             directory, by the service in which the one that it is in was made
//	/1/v/<sid>/<name>             variable, in the same way: header, then the value unless that is large
//	/1/i/<sid>/<prefix>           island: a directory of a service that is or was in another one, or is in one of another
//	/1/p/<id>/<number>            piece of a large value, by the id of its variable
//	/1/r/<client>/<slot>          an answer to a report of a client, for exactly-once
//	/1/c/<client>                 all of them together, as schema 1 had it
//	/1/forgot                     of the clients that were forgotten early, when the last one left
//	/1/reserved                   ids that are set aside for clients, while no server runs
//	/1/k/<name>                   API key
//	/1/h/<client>                 the lease by which a client may have locks; a program that knows none can leave it
//
// <sid> is the service's id in 16 hexadecimal digits, <client> hexadecimal too. Names may hold any byte; in <tenant> the
// bytes 0 and 1 are escaped. Every record begins with the number of its format.
package engine

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/storage"
)

// Options configure an [Engine].
type Options struct {
	// Dir holds the store and is made if it is missing (its parent too). Required.
	Dir string
	// Logger gets etcd's warnings and errors, and, at level debug, all that etcd has to say. Nil: discard.
	Logger *slog.Logger
	// MinFree is how many bytes must be free under Dir for a batch; batches that only free space need a quarter.
	// 0: 256 MiB.
	MinFree int64
	// Quota is the size that the store's database can grow to. 0: 8 GiB, which is also the most that etcd advises.
	Quota int64
	// Free tells the free and the total bytes of the file system that holds Dir. Nil: statfs.
	Free func() (free, total int64, err error)
}

// Engine is an open store. Its methods may be called from many goroutines.
type Engine struct {
	opts   Options
	log    *slog.Logger
	lock   *dirLock
	etcd   *embed.Etcd
	client *clientv3.Client
	kv     clientv3.KV // client's, for loads
	// txn carries out a transaction; tests put faults in between.
	txn   func(context.Context, *pb.TxnRequest) (*pb.TxnResponse, error)
	quota storage.Quota // etcd's own
	// scans is held for reading by scans, and by who rewrites the database.
	scans sync.RWMutex
	store string

	// ctx ends when nothing more can be asked of etcd.
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{} // closed when etcd has stopped
	loops  sync.WaitGroup

	// turn holds the state for the next batch; whoever has received it may commit. It is a channel and not a mutex so that a
	// context can end the wait.
	turn chan *batchState
	// ids holds the reserved ids that are not yet used, in the same way.
	ids chan *idBlock

	space spaceGate
	reads readers
	maint maintenance

	// mu guards the following.
	mu      sync.Mutex
	closing bool
	calls   sync.WaitGroup // calls that use etcd; none is added when closing is set
	once    sync.Once
	closed  error
}

// closeGrace is how long Close lets a batch under way finish before it is cut off.
const closeGrace = 5 * time.Second

// enter counts a call that uses etcd, so that etcd is not stopped under it. The caller must call e.calls.Done.
func (e *Engine) enter() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closing || e.ctx.Err() != nil {
		return ErrClosed
	}
	e.calls.Add(1)
	return nil
}

// Close ends the engine: a batch under way is finished first, later calls get [ErrClosed]. It waits for etcd and all
// goroutines to end. Further calls of Close return what the first did.
func (e *Engine) Close() error {
	e.once.Do(func() {
		e.mu.Lock()
		e.closing = true
		e.mu.Unlock()
		grace := time.NewTimer(closeGrace)
		defer grace.Stop()
		select {
		case <-e.turn: // and never given back
		case <-e.ctx.Done():
		case <-grace.C:
		}
		e.cancel()
		e.calls.Wait()
		e.loops.Wait()
		e.closed = e.stop()
	})
	return e.closed
}

// stop ends etcd, then what Open made before it.
func (e *Engine) stop() error {
	err := e.client.Close()
	if errors.Is(err, context.Canceled) {
		err = nil // the client has no connection whose closing could fail
	}
	e.etcd.Close()
	<-e.done
	return errors.Join(err, e.space.reserve.release(), e.lock.unlock())
}

// watch ends the engine's context when etcd ends by itself.
func (e *Engine) watch() {
	<-e.etcd.Server.StopNotify()
	e.cancel()
	close(e.done)
}

// Done is closed when the engine has ended, by Close or because etcd has stopped by itself.
func (e *Engine) Done() <-chan struct{} { return e.done }

// StoreID identifies the store: 32 hexadecimal digits, made at the first Open.
func (e *Engine) StoreID() string { return e.store }

// Rev is the current revision: every acknowledged batch is at or below it.
func (e *Engine) Rev() int64 { return e.etcd.Server.KV().Rev() }

// Free returns the free and the total bytes of the file system that holds the store.
func (e *Engine) Free() (free, total int64, err error) { return e.opts.Free() }
