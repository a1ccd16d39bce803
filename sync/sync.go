// Package sync keeps a client's copy of the shared variables in step with the server. Programs use it by way of package
// commyfs, the SDK.
//
// Call [New] to connect, [Tenant.Service] and [Service.Variable] to find a variable, [Variable.Load] and [Variable.Commit] to
// use it. A client never waits on the network to read what it knows: tenants, services, names and what describes a variable
// are pushed by the server and held in memory, and values come from an accessor: on the server's own host the mapped service
// memory file, elsewhere a buffer that the pushes keep current. A service is known while it is watched: from its first use
// until nobody has used it for a while.
//
// One rule keeps the copy right: the server's ordered stream is the only source of state. A client's own changes come
// back on it too, before their acknowledgement, so a change that was acknowledged is visible in the copy, and nothing
// is ever applied out of order. After a reconnect each service resumes from the revision it had; changes in flight are
// sent again under their old sequence numbers and take effect once.
//
// Lock order: Client.steps (while the copy changes and that is told) -> Client.mu (tenants and services) -> Service.mu (directories and variables) -> Client.flight.mu (connection and
// reports in flight) -> Client.index.mu (ids). No lock is held across network I/O, and none but Client.steps across a call of [Options.OnChange].
package sync

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/offline"
)

// Options configure [New]. The zero value of every field but Dial is usable.
type Options struct {
	// Dial connects once. It is called again after every loss of the connection, so it may try several servers in turn or
	// start one.
	Dial func(ctx context.Context) (Conn, error)
	// Client describes the program to the server; the id is filled in.
	Client model.Client
	// Timeout bounds every wait on the network. Default 5 s.
	Timeout time.Duration
	// Idle is how long a service that nobody uses stays watched, at least; see [Service.Hold]. Default 1 min; negative: for ever.
	Idle time.Duration
	// Tenants hides all tenants but these. Default: every tenant that the credentials open.
	Tenants []string
	// NoMap reads values from the connection even where the memory file could be mapped.
	NoMap bool
	// NoTree does without the directory of tenants and services until [Client.WatchTree]: for programs that name what they
	// want.
	NoTree bool
	// OnChange is called with what has changed, after it is readable, on the goroutine that receives: it must not block
	// and must not call the client's methods that wait on the network.
	OnChange func([]Notice)
	// OnMemory is called when bytes of a bare service on this host have changed that no variable has. The same restrictions hold.
	OnMemory func(*Service)
	// OnCached is called when values that are cached (see [Client.Cache]) are old, and the new ones are readable. It comes before
	// OnChange; the same restrictions hold. Once nothing older is cached confirm is to be called, by any goroutine.
	OnCached func(ids []uint64, confirm func())
	// OnCaching is called when a new connection's server knows what is cached of a service, before the connection is used: all of
	// it is to be taken for old. It may wait.
	OnCaching func(ids []uint64)
	// OnConnection is called when the connection is made or lost. The same restrictions hold.
	OnConnection func(connected bool)
	// OnLocksLost is called with the locks that the client has no more without having unlocked them. It must not block.
	OnLocksLost func([]model.Lock)
	// Offline has the edits that are made while the server cannot be reached, and is replayed when it can be; nil: they fail.
	Offline *offline.Queue
	// OnReplayed is called when all edits of a variable that was new are over, with the key of [Client.KeepNew], and the id that
	// it has got, 0 if they were set aside. It must not wait on the network.
	OnReplayed func(key, id uint64)
	// OnNumber is called with each number that a report is given, before it is sent. It must not wait for anything.
	OnNumber func(number uint64)
	// OnLease is called with the lease by which the server gives the client locks, before it has the first. It must not wait.
	OnLease func(lease uint64)
	// Resume makes the client the continuation of another one. Default: it is a new one.
	Resume *Resume
	// Logger is told of the connection's fate. Default: nobody.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.Timeout <= 0 {
		o.Timeout = 5 * time.Second
	}
	if o.Idle == 0 {
		o.Idle = time.Minute
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	return o
}

// NoticeKind says what a [Notice] is about.
type NoticeKind uint8

// The kinds of notices.
const (
	Modified    NoticeKind = iota + 1 // a variable has a new value
	Created                           // a variable or directory appeared
	Deleted                           // a variable or directory is gone
	Renamed                           // a variable or directory moved from OldPath to Path
	MetaChanged                       // a variable or directory has another mode or mtime, and the same value
)

// Notice is one visible change of the tree. Paths are components from the root: tenant, service, then the parts of the
// variable's name, unescaped.
type Notice struct {
	Kind      NoticeKind
	Dir       bool // tenant, service or directory
	Own       bool // caused through this client
	ID        uint64
	Parent    uint64 // the id of the directory that holds it, 0 for the root, or for a service with another mode or mtime
	OldParent uint64 // Renamed
	Path      []string
	OldPath   []string // Renamed
	MTime     int64    // Unix nanoseconds
	// Queued: it is no change at the server. An edit was put into the offline queue, or taken out of it.
	Queued bool
	// Variable is what has a new value or is new, nil if it is no variable, and in other notices.
	Variable *Variable
	// Service and Rev are the id of the service that has changed, and the revision at which it has come to be so: changes
	// with one revision were made together. Both are 0 in notices of tenants and services.
	Service uint64
	Rev     int64
	// Before is the revision of the copy before: one step can take it over several revisions. 0: not known.
	Before int64
	// Told is the revision of the service up to which all changes have been told, once this one is.
	Told int64
	// OldService is, in Renamed, the id of the service that it was in: another one than Service if it has moved from there, with all
	// that is in it, which has no notices of its own but where it has changed on the way: they come right behind this one, with its
	// paths in Service. The nodes in Service are new ones then, with the same ids; those in OldService are gone, and not removed.
	// Two that were exchanged across services are told of one right behind the other. 0 in notices of tenants and services.
	OldService uint64
	// OldRev and OldTold are Rev and Told of OldService, 0 if they are not known. It can have been told later revisions before.
	OldRev, OldTold int64
	// Elsewhere, in Deleted: it is gone from here because it has gone to a service that the client does not see, or has not yet.
	Elsewhere bool
	// Risen are the variables that have another version by having been renamed, and the same value.
	Risen []Rise

	move *movement // until it is told: see moves
}

// Rise is another version of the same value.
type Rise struct {
	Variable uint64 // its id
	From, To uint64
}

// Node is something in the tree: *[Tenant], *[Service], *[Dir] or *[Variable].
type Node interface {
	// ID is the node's number, the same on every client, kept over renames.
	ID() uint64
}

// Meta describes a value.
type Meta struct {
	Version uint64
	MTime   int64 // commit time, or what was set since, in Unix nanoseconds
	Size    int64 // bytes
}
