// Package fs presents shared variables as a FUSE file system, with inotify events for changes made elsewhere.
//
// What a mount promises is docs/semantics.md. How it is kept:
//
// Identity. A node's number is the id that the server gave it, so the kernel, every mount and every restart agree on it,
// and a request finds its node without a table of our own. Numbers with the top bit set are files of this mount alone.
//
// Reading. Files are opened DIRECT_IO, and without ATOMIC_O_TRUNC: a read at offset 0 takes a snapshot of a committed value,
// reads behind it continue the snapshot. What reads by way of the page cache all the same is refused, unless it is a private
// mapping; the kernel's idea of the size, by which it goes then, is never that of an empty file when the value is none. See
// handle.go, opening.go and cached.go. Variables that the user has chosen are read by way of the page cache: see pages.go and
// package pages.
//
// Writing. A descriptor that replaces (O_TRUNC, or creating) gathers its value and commits it whole at flush, fsync or
// release; any other commits each write. See handle.go.
//
// Caching. Names and attributes are cached by the kernel for [validity]; every applied change invalidates what it
// touches, so "cached" means "current".
//
// Events. After a change is readable, package kernel invalidates what the kernel has of it and then pokes: a harmless system
// call on the own mount that makes the kernel raise the event. Never from a request handler, never with a lock held, never
// on the goroutine that receives.
package fs

import (
	"context"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/fs/estate"
	"github.com/commy-project/commyfs/fs/kernel"
	"github.com/commy-project/commyfs/fs/pages"
	varsync "github.com/commy-project/commyfs/sync"
)

// SyncMode says when a write waits for the server.
type SyncMode uint8

// The modes.
const (
	SyncClose  SyncMode = iota // close and fsync wait, and the first write of a descriptor
	SyncAlways                 // every write waits
	SyncNever                  // nothing waits; errors are lost
)

// Options configure [Mount].
type Options struct {
	Dir        string // where to mount
	AllowOther bool   // let other users in; what they may do is what the mode bits say
	ReadOnly   bool   // every change fails with EROFS
	UID, GID   uint32 // who owns the files
	Umask      uint32 // bits taken from 0777 and 0666
	Sync       SyncMode
	Conflict   ConflictMode
	Events     kernel.Events
	EventDelay time.Duration  // how long events of changes of a value wait for others of it
	Temporary  Temporaries    // new files that live in the mount alone
	Cache      pages.Patterns // variables that are read by way of the kernel's page cache
	FSName     string         // the source in mount tables. Default: "commyfs"
	Heirs      bool           // note what a process must know that takes the mount over; see heir.go
	Anew       bool           // have it make the mount anew in any case
	Clear      func() error   // called before mounting, when the server has been reached; nil: nothing
	Logger     *slog.Logger   // default: nobody
	Log        *Log           // what Logger writes to, for the file log in .commy
	Config     string         // the options as text, without secrets, for the file config in .commy
	Version    string         // of the program
}

const (
	rootID      = fuse.FUSE_ROOT_ID
	unsharedBit = 1 << 63 // ids of files that only this mount knows
	maxWrite    = 1 << 20
	blockSize   = 4096
	ioSize      = 64 << 10     // st_blksize: what stdio libraries read and write at a time
	validity    = 24 * 60 * 60 // seconds that the kernel may keep names and attributes: every change is pushed
	pokeHandle  = 1            // the file handle of the poke thread's opens
)

// FS answers the kernel's requests.
type FS struct {
	fuse.RawFileSystem
	c           *varsync.Client
	o           Options
	log         *slog.Logger
	kernel      *kernel.Cache
	pages       *pages.Pages // nil: everything is read past the page cache
	cachedIn    sync.Map     // the ids of cached variables -> those of their services, as the client has been told
	unshared    unsharedFiles
	early       early
	memory      memoryFiles
	locks       fileLocks
	estate      *estate.Estate // nil: nobody takes the mount over
	inheritance legacy

	handles   handles
	rootOnly  bool // nobody but root can come in
	openings  openings
	questions questions
	callers   callers
	sightings sightings
	syscalls  taskFiles
	requests  requests
	watchdog  watchdog
	control   control
	streams   streams
	traffic   traffic
	interrupt func(unique uint64) // ends the waiting of a request
	ctx       context.Context     // ends with the mount
	cancel    context.CancelFunc

	draftWait   time.Duration
	freshAnswer time.Duration
}

// Mount connects a client, mounts and returns when the mount is usable. Errors of the connection are those of
// varsync.New, others those of mountpoint.Mount.
func Mount(ctx context.Context, co varsync.Options, o Options) (*Mounted, error) {
	f := newFS(o)
	if err := f.bequeathTo(o.Heirs); err != nil {
		f.log.Warn("the mount cannot outlive this process", "err", err)
	}
	if err := f.connect(ctx, co); err != nil {
		return nil, err
	}
	// What an earlier mount has queued comes first.
	f.c.AwaitReplay(ctx, 0)
	m := &Mounted{fs: f, client: f.c}
	if err := m.mount(f.o); err != nil {
		f.cancel()
		f.c.Close()
		return nil, err
	}
	return m, nil
}

// newFS makes what answers requests, without a client to answer them from or a kernel to ask them.
func newFS(o Options) *FS {
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	f := &FS{RawFileSystem: fuse.NewDefaultRawFileSystem(), o: o, log: o.Logger, draftWait: draftWait, freshAnswer: freshAnswer}
	f.handles.init()
	f.rootOnly = !o.AllowOther && os.Geteuid() == 0
	f.questions.init(f)
	f.callers.init()
	f.sightings.init()
	f.syscalls.init()
	f.watchdog.init(f)
	f.unshared.init()
	f.memory.init()
	f.locks.init()
	if len(o.Cache) > 0 {
		f.pages = pages.New(source{f}, o.Logger)
	}
	f.kernel = kernel.New(tree{f}, f.pages, o.Events, o.Logger)
	f.kernel.Gather(o.EventDelay)
	f.control.init()
	f.traffic.connections.Store(-1) // the first is none
	return f
}

// connect makes the client.
func (f *FS) connect(ctx context.Context, co varsync.Options) error {
	co.OnChange = f.changed
	co.OnLocksLost = f.locksLost
	co.OnMemory = f.memoryChanged
	co.OnReplayed = f.onReplayed
	if f.pages != nil {
		co.OnCached, co.OnCaching = f.pages.Old, f.caching
	}
	if co.Offline != nil {
		for _, key := range co.Offline.Keys() { // of mounts before this one
			if key&unsharedBit != 0 {
				f.unshared.next = max(f.unshared.next, key&^unsharedBit)
			}
		}
	}
	co.Client.ReadOnly = f.o.ReadOnly
	var made atomic.Pointer[varsync.Client]
	if f.estate != nil {
		co.OnNumber = f.estate.SetLastReport
		co.OnLease = f.estate.SetLease
		co.Resume = &varsync.Resume{ID: f.estate.Client(), Last: f.estate.LastReport(), Ask: unanswered(f.estate), Lease: f.estate.Lease(),
			Principal: f.estate.Principal()}
	}
	co.OnConnection = func(connected bool) {
		if c := made.Load(); c != nil && connected && f.estate != nil {
			f.estate.SetStore(c.Welcome().Store)
			f.estate.SetPrincipal(c.Welcome().Principal)
		}
		f.connected(connected)
	}
	client, err := varsync.New(ctx, co)
	if err != nil {
		return err
	}
	made.Store(client)
	f.c = client
	f.ctx, f.cancel = context.WithCancel(context.Background())
	context.AfterFunc(f.ctx, f.syscalls.close)
	f.watchdog.tick = f.opBound() / 2
	f.streams.init(f, &co)
	return nil
}

// String names the file system in go-fuse's messages.
func (f *FS) String() string { return "commyfs" }

// Init is part of go-fuse's interface, and not called.
func (f *FS) Init(*fuse.Server) {}

// opContext bounds a request. It does not end when the caller is interrupted: a change that was sent happens whether or not
// anybody waits for it. Where all that is waited for is one answer to the client, that has a bound of its own.
func (f *FS) opContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(f.ctx, f.opBound())
}

// interruptAfter is how long a question is waited for whatever signals the caller gets: few programs expect EINTR of stat, and
// Go's interrupt themselves all the time.
const interruptAfter = 200 * time.Millisecond

// askContext bounds a request that asks the server and changes nothing. It ends as canceled when the caller is interrupted and
// has waited for a while, a process that is killed for instance.
func (f *FS) askContext(interrupt <-chan struct{}) (context.Context, context.CancelFunc) {
	ctx, cancel := f.opContext()
	return interruptible(ctx, cancel, interrupt)
}

func interruptible(ctx context.Context, cancel context.CancelFunc, interrupt <-chan struct{}) (context.Context, context.CancelFunc) {
	ask, interrupted := context.WithCancel(ctx)
	t := time.AfterFunc(interruptAfter, func() {
		select {
		case <-interrupt:
			interrupted()
		case <-ctx.Done():
		}
	})
	return ask, func() {
		t.Stop()
		cancel()
	}
}

// opBound is how long a handler waits for the server at most.
func (f *FS) opBound() time.Duration { return f.c.Timeout() + time.Second }
