// Package kernel keeps what the kernel has cached of a mount in step with the tree, and raises inotify events.
//
// The kernel keeps names, attributes and pages for as long as nobody tells it that they are old: it is a third copy of the
// tree, and behind the mount's own. Telling it takes time, because it waits for the lock of a directory that a request may
// hold. This is how the mount keeps its promises meanwhile.
//
// What it has. Every reply that gives the kernel a node under a name is recorded ([Cache.Told]), and so is what it does to
// names itself ([Cache.Renamed], [Cache.Removed]). So it is known which names it can have, and for which nodes; that it has
// dropped one is not. What it was told is compared with the tree after it is recorded: no change falls in between.
//
// Stale. A change that the tree has ([Cache.Changed]) makes stale the names that the kernel has for another node than the
// tree, and the nodes whose attributes or pages are old. These are sets of what the kernel has, however many changes there
// are. One goroutine invalidates all that is stale, and only then raises the next event.
//
// Behind. Until a stale name is invalidated the kernel acts on it. A removal or rename of it is answered with ESTALE
// ([Cache.Stale]), or the kernel would take the wrong node for removed, a directory for good. An open comes with a node and
// no name: it is answered with ESTALE if the node, or a directory above, has lost a name, unless the thread has looked it up
// by its present one ([Cache.Lost]). At ESTALE the kernel walks the path again and asks for each part of it, but not for the
// directory that it begins in: who comes back to the same node is right. All this lasts a moment longer than the stale name: a
// thread can have walked the path before.
//
// Watches. A rename over a variable is an update of it, so it keeps its node and whoever watches that. The kernel would
// take the node for removed: see [Cache.KeepWatches].
//
// Events. The kernel raises events only for system calls, so package poke makes one on the mount, and its requests are
// answered from here as if the change happened now. Events wait in a queue that is bounded: see queue.
package kernel

import (
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/fs/estate"
	"github.com/commy-project/commyfs/fs/pages"
	"github.com/commy-project/commyfs/fs/poke"
	varsync "github.com/commy-project/commyfs/sync"
)

// Tree is what the kernel should have. Its methods are called with no lock held.
type Tree interface {
	// Find returns what a file name in a directory stands for, 0 for nothing.
	Find(dir uint64, file string) (id uint64, err error)
	// Attr fills the attributes of a node, and reports whether it is there. dir says what one was that is not.
	Attr(id uint64, dir bool, out *fuse.Attr) bool
	// Value returns the notice that a variable's present value would be announced with, false if it is gone.
	Value(id uint64) (varsync.Notice, bool)
	// Written reports whether processes of this mount write to the node.
	Written(id uint64) bool
	// Searchable reports whether everybody may use the names in a directory.
	Searchable(dir uint64) bool
	// Lives reports whether a node is a directory that is somewhere, or on its way there.
	Lives(id uint64) bool
	// Service returns the service that a node is in, or is; nil if it is gone, or above.
	Service(id uint64) *varsync.Service
	// SameRights reports whether the mount may do the same in two services.
	SameRights(a, b *varsync.Service) bool
}

// Cache is what the kernel has cached of a mount.
type Cache struct {
	tree   Tree
	events Events
	log    *slog.Logger
	device
	estate  *estate.Estate // nil: nobody takes the mount over
	dead    []uint32       // threads of the process before; see adopt.go
	pages   *pages.Pages   // nil: nothing is read by way of the page cache
	threads atomic.Pointer[threads]
	current atomic.Pointer[poking] // what the poke thread is doing: handlers answer its requests from it
	wg      sync.WaitGroup
	wake    chan struct{} // holds a token when there may be work
	// touched by the goroutine that raises events alone
	round    round
	standIns uint64
	done     chan struct{}
	counts   counts

	mu         sync.Mutex // guards the following; a leaf
	nodes      map[uint64]*node
	mostNodes  int // there have been in the map
	names      tellings
	tells      uint64            // told so far
	staleNames map[name]struct{} // of names
	staleNodes map[uint64]bool   // of nodes; true: only by what this mount has written
	queue      queue
	polls      polls
	quiet      map[uint64]quiet                 // of nodes that may be watched by nobody
	lingers    map[*varsync.Service]*time.Timer // services whose nodes the kernel was asked to drop
	pruning    *pruning
	kept       bool // the kernel drops nothing when asked: it is too old
	dropping   bool // what was stale is being invalidated
	again      map[uint32]retry
	awaiting   []chan struct{} // closed when what is stale has been
	held       map[*varsync.Service]*holding
	noted      map[uint64]*holding // by the service's number
	cameTo     map[uint64]int64    // revisions of services that are to be noted once all is announced
	moving     map[*varsync.Service]movedTo
	recounts   bool // what has left services is being counted for others
	adopting   bool // see adopt.go
	stopped    bool
}

// threads make system calls on the mount.
type threads struct {
	poker *poke.Poker
	// stater asks for attributes while a rename waits; see KeepWatches. The poker can be waiting for the directory that the
	// rename holds.
	stater *poke.Poker
	all    []*poke.Poker // the others are those of package pages
}

// New returns a cache that is empty but for the root. cached are the variables that are read by way of the page cache, nil for
// none.
func New(tree Tree, cached *pages.Pages, events Events, log *slog.Logger) *Cache {
	return &Cache{
		tree: tree, pages: cached, events: events, log: log,
		device:     device{fd: -1},
		wake:       make(chan struct{}, 1),
		done:       make(chan struct{}),
		nodes:      map[uint64]*node{fuse.FUSE_ROOT_ID: {refs: 1}},
		names:      tellings{},
		staleNames: map[name]struct{}{},
		staleNodes: map[uint64]bool{},
		queue:      newQueue(),
		polls:      polls{waiting: map[uint64]map[uint64]struct{}{}},
		quiet:      map[uint64]quiet{},
		lingers:    map[*varsync.Service]*time.Timer{},
		held:       map[*varsync.Service]*holding{},
		noted:      map[uint64]*holding{},
		cameTo:     map[uint64]int64{},
		moving:     map[*varsync.Service]movedTo{},
		again:      map[uint32]retry{},
	}
}

// Gather has events of changes of a value wait for others of it, at most [MaxDelay]. It must come before the first change.
func (c *Cache) Gather(delay time.Duration) { c.queue.gathering.delay = min(delay, MaxDelay) }

// Connect says by which descriptor of the FUSE device the kernel is told. It must come before the first request. The
// descriptor is not go-fuse's, which sends notifications one at a time: one that waits for a directory's lock would hold up
// all others.
func (c *Cache) Connect(fd int) { c.fd = fd }

// Note has the services noted that the kernel has nodes of. It must come before the first request.
func (c *Cache) Note(e *estate.Estate) { c.estate = e }

// Start begins to invalidate and to raise events. dir is where the mount is, dev its st_dev.
func (c *Cache) Start(dir string, dev uint64) error {
	var made []*poke.Poker
	want := 2
	if c.pages != nil {
		want = 4
	}
	for len(made) < want {
		p, err := poke.New(dir, dev)
		if err != nil {
			for _, p := range made {
				p.Close()
			}
			return err
		}
		made = append(made, p)
	}
	c.threads.Store(&threads{made[0], made[1], made})
	if c.pages != nil {
		c.pages.Start(c, made[2], made[3])
	}
	if c.estate != nil {
		c.estate.SetThreads(made[0].TID(), made[1].TID())
	}
	c.wg.Go(c.run)
	return nil
}

// Stop ends it. The mount must still be served, or be gone.
func (c *Cache) Stop() {
	c.pages.Stop()
	if t := c.threads.Load(); t != nil {
		for _, p := range t.all {
			p.Close()
		}
	}
	close(c.done)
	c.mu.Lock()
	c.stopped = true
	c.mu.Unlock()
	c.wg.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.lingers {
		t.Stop()
	}
}

// IsPoke reports whether a request comes from the thread that raises events: FUSE names the calling thread.
func (c *Cache) IsPoke(h *fuse.InHeader) bool {
	t := c.threads.Load()
	return t != nil && h.Pid != 0 && h.Pid == t.poker.TID() || c.isOfDead(h)
}

// IsOwn reports whether a request comes from any thread of ours.
func (c *Cache) IsOwn(h *fuse.InHeader) bool {
	t := c.threads.Load()
	return t != nil && h.Pid != 0 && slices.ContainsFunc(t.all, func(p *poke.Poker) bool { return p.TID() == h.Pid }) || c.isOfDead(h)
}

func (c *Cache) wakeUp() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *Cache) run() {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		for c.step() {
			select {
			case <-c.done:
				return
			default:
			}
		}
		c.mu.Lock()
		due, waits := c.queue.due(c.round.next)
		c.mu.Unlock()
		if waits {
			pause.Reset(time.Until(due))
		}
		select {
		case <-c.wake:
		case <-pause.C:
		case <-c.done:
			return
		}
	}
}

// step does the next thing, and reports whether there was any.
func (c *Cache) step() bool {
	if c.invalidate() {
		return true
	}
	c.mu.Lock()
	if len(c.staleNames)+len(c.staleNodes)+len(c.awaiting) > 0 {
		c.mu.Unlock()
		return true // an event comes behind
	}
	c.mu.Unlock()
	woken := c.wakePolls()
	c.mu.Lock()
	c.queue.ripe(time.Now())
	e := c.queue.next()
	own := c.round.take(&c.queue)
	c.mu.Unlock()
	c.announceOwn(own)
	if e != nil {
		c.announce(e)
		if !e.Own {
			c.announced(e.ID, e.Parent)
		}
	}
	c.progress()
	return e != nil || own != nil || woken
}

// poke has the poke thread make a system call, with p as what its requests are answered from.
func (c *Cache) poke(op poke.Op, p *poking) error {
	c.current.Store(p)
	defer c.current.Store(nil)
	return c.threads.Load().poker.Do(op)
}

func (c *Cache) report(op poke.Op, err error) {
	c.counts.pokes(op, err)
	if err != nil && !errors.Is(err, poke.ErrClosed) && !errors.Is(err, poke.ErrNotMounted) {
		c.log.Debug("event not raised", "event", op.Kind, "path", op.Path, "err", err)
	}
}
