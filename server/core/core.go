// Package core is the server without connections: it holds the tree of tenants, services and variables, decides the order
// of all changes, has the engine store them and tells everybody who watches.
//
// # Model
//
// A tenant holds services, a service holds directories and variables, a variable is a value of bytes with a version.
// Everything has an id that it keeps for life. A report of a client is a list of changes that is carried out whole or not
// at all, exactly once for each (principal, client, seq).
//
// # Sessions
//
// Who wants something attaches as a client of a principal, and has a [Session] to ask: Report, Watch, Read, List and so on,
// in the words of package model. Behind it is a [Subscriber]: a connection of some protocol, a test. What there is to tell
// it waits in the session until the subscriber fetches it with [Session.Deliver], at its own pace. So what makes a
// subscriber fast or slow is its own affair, and order, fairness and memory are the same for all.
//
// # Promises
//
//   - There is one order of all reports, the committer's. A report is judged by what all before it have left behind. Nobody
//     waits for long behind one who sends very many or very dear ones.
//   - What was acknowledged is stored. What is shown, in memory files, changes and answers, is stored too.
//   - What a session is told is in order: every change up to an outcome before the outcome, and a service's snapshot before
//     the changes after it. A slow subscriber gets the last value of each variable; it never makes another one wait.
//   - A session sees and does what its principal may; a hidden tenant is not there.
//
// Lock order: view.mu, service.watchMu, feed.mu. Core.mu, client.mu, caches.mu, the Authorizer's, the budget's and queue.mu are
// leaves. locking.mu comes before feed.mu.
// holds.mu comes before all of them. None is held across the engine.
package core

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/commy-project/commyfs/bare"
	"github.com/commy-project/commyfs/engine"
	"github.com/commy-project/commyfs/memfile"
	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/server/access"
	"github.com/commy-project/commyfs/server/budget"
)

// Options configure a [Core]. All but Limits and Idle are required.
type Options struct {
	Store engine.Options
	// Dir is where the memory files are.
	Dir string
	// Auth says who may do what. The core adds the keys of the store.
	Auth *access.Authorizer
	// Limits are the bounds Value (at most 16 MiB), Name and Component. Default: 1 MiB, 1024 and 255.
	Limits model.Limits
	// Memory is about how many bytes may be taken at once by what subscribers ask for.
	Memory int64
	// Idle is how long a service that nobody uses is kept in memory. Default: 1 min.
	Idle   time.Duration
	Logger *slog.Logger
	// Broken is called when nothing can be stored any more.
	Broken func(error)
	// Loading is called before a service is loaded, step as often as something is done. For tests.
	Loading func(service uint64, step func())
	// Lease is how long a client keeps its locks that is not heard of. Default: LeaseTime.
	Lease time.Duration
}

func (o *Options) setDefaults() {
	o.Limits.Value = min(cmp.Or(o.Limits.Value, 1<<20), engine.MaxValue, memfile.MaxValue)
	o.Limits.Name = min(cmp.Or(o.Limits.Name, 1024), memfile.MaxName)
	o.Limits.Component = min(cmp.Or(o.Limits.Component, 255), 255)
	o.Idle = cmp.Or(o.Idle, time.Minute)
}

// Core is all tenants, services and variables, and the one order of all changes.
type Core struct {
	log          *slog.Logger
	dir          string
	limits       model.Limits // without Free and Total
	unused       time.Duration
	minFree      int64
	broken       func(error)
	loading      func(service uint64, step func())
	engine       *engine.Engine
	view         *view
	queue        *queue
	auth         *access.Authorizer
	memory       *budget.Budget
	treeWatchers map[*Session]struct{} // guarded by view.mu
	caches       caches

	// ctx ends when Close gives up waiting.
	ctx    context.Context
	cancel context.CancelFunc

	builds     chan struct{} // holds one for each memory file that is being made
	rebuilding atomic.Bool   // a lost one is being made again
	memoryLog  rarely
	bare       *bare.Dir
	bareLog    rarely
	finds      finds
	locking    *locking
	packs      chan struct{} // the same of reports that are packed for
	most       int           // mostRenamed, less in tests
	swept      int           // how far the last sweep came; the committer's own

	// up is when the server was started.
	up time.Time
	// unknown: there is an answer in the store that cannot be read, and nobody knows to whom.
	unknown bool
	// damaged is how many records of the store cannot be read.
	damaged int
	// damagedVars has the ids of the variables whose values cannot be read, as far as it is known.
	damagedVars sync.Map
	// lastTime is the latest commit time; the committer's own.
	lastTime int64
	// answers is how many bytes the answers to all clients take, stale deletes what the store holds of them in vain, looked is
	// when they were looked through; the committer's own.
	answers int
	stale   []engine.Op
	marks   map[*client]struct{} // whose mark in the store has to be written anew
	looked  time.Time
	early   bool // forgot has to be stored
	// fullAt is when the engine last had no space although the disk had, in Unix nanoseconds.
	fullAt atomic.Int64

	// mu guards the following.
	mu        sync.Mutex
	clients   map[string]*client
	legacy    map[string]*client // what schema 1 knew, by what it called them
	forgot    time.Time          // of the clients that were forgotten early, when the last one left; the committer sets it
	live      map[*Session]struct{}
	idleSince time.Time
	closing   bool

	committer sync.WaitGroup
	wg        sync.WaitGroup // sessions, and what the committer has done beside it
}

// Open opens the store, loads what must be known from the start and begins to commit. ctx bounds that only.
func Open(ctx context.Context, o Options) (*Core, error) {
	o.setDefaults()
	s := &Core{
		log: o.Logger, dir: o.Dir, limits: o.Limits, unused: o.Idle, minFree: o.Store.MinFree, broken: o.Broken, loading: o.Loading,
		view: newView(), queue: newQueue(), auth: o.Auth, memory: budget.New(o.Memory), treeWatchers: map[*Session]struct{}{},
		clients: map[string]*client{}, legacy: map[string]*client{}, marks: map[*client]struct{}{}, live: map[*Session]struct{}{},
		idleSince: time.Now(), up: time.Now(), builds: make(chan struct{}, maxBuilds), most: mostRenamed, packs: make(chan struct{}, maxPacks), caches: newCaches(),
	}
	s.initLocks(&o)
	var err error
	if s.engine, err = openEngine(ctx, o.Store); err != nil {
		return nil, err
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if err := s.loadTree(ctx); err != nil {
		s.cancel()
		return nil, errors.Join(fmt.Errorf("load store: %w", err), s.engine.Close())
	}
	if err := s.openBare(o.Store); err != nil {
		s.cancel()
		return nil, errors.Join(fmt.Errorf("files of bare services: %w", err), s.engine.Close())
	}
	s.removeStrays()
	s.sayBareStrays()
	s.committer.Go(s.commitLoop)
	if err := s.loadLeases(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("load leases: %w", err), s.Close(ctx))
	}
	s.wg.Go(s.lookAtBare)
	return s, nil
}

const (
	engineGrace = time.Second
	enginePoll  = 2 * time.Millisecond
)

// openEngine opens the store. A process that is killed gives its locks back one by one: for who has the one of the state
// directory, the store's can be in use a moment longer.
func openEngine(ctx context.Context, o engine.Options) (*engine.Engine, error) {
	began := time.Now()
	for {
		e, err := engine.Open(ctx, o)
		if !errors.Is(err, engine.ErrInUse) || time.Since(began) > engineGrace {
			return e, err
		}
		select {
		case <-time.After(enginePoll):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// Close carries out and answers what the committer has, ends all sessions, removes the memory files and closes the store.
// What is still under way when ctx ends is given up.
func (s *Core) Close(ctx context.Context) error {
	defer s.cancel()
	defer context.AfterFunc(ctx, s.cancel)()
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	s.locking.close()
	s.queue.close()
	s.committer.Wait()
	s.endSessions(&model.Error{Code: model.CodeUnavailable, Message: "the server stops"}, func(*Session) bool { return true })
	s.wg.Wait()
	err := s.closeAllBare()
	s.closeAllMemory()
	s.storeReserved()
	return errors.Join(err, s.engine.Close())
}

// Tidy lets go of what nobody uses any more, when the committer comes to it.
func (s *Core) Tidy() {
	s.queue.call(s.sweep)
	s.queue.call(s.forgetClients)
	s.locking.look()
}

// Done is closed when the store has ended by itself.
func (s *Core) Done() <-chan struct{} { return s.engine.Done() }

// StoreID identifies the store: revisions are its.
func (s *Core) StoreID() string { return s.engine.StoreID() }

// Limits are the bounds of what can be stored, and how much room there is now.
func (s *Core) Limits() model.Limits {
	l := s.limits
	l.Free, l.Total, _ = s.engine.Free() // unknown is shown as none
	return l
}

// Alone is how long there has been no session; 0: there is one.
func (s *Core) Alone() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.live) > 0 {
		return 0
	}
	return time.Since(s.idleSince)
}

// sessions lists the sessions that live.
func (s *Core) sessions() []*Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.live))
}

// endSessions ends some sessions and waits until their subscribers are told.
func (s *Core) endSessions(reason *model.Error, which func(*Session) bool) {
	var ends sync.WaitGroup
	for _, c := range s.sessions() {
		if which(c) {
			ends.Go(func() { c.sub.End(reason) })
		}
	}
	ends.Wait()
}

// between runs fn between two batches and waits for it. It fails when the core closes.
func (s *Core) between(fn func()) error {
	done := make(chan struct{})
	if !s.queue.call(func() { defer close(done); fn() }) {
		return model.ErrUnavailable
	}
	<-done
	return nil
}
