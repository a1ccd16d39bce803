// Package pages serves variables from the kernel's page cache (S7), and keeps what the kernel has of them whole and current.
//
// Shown. For each cached variable there is one value that the kernel is shown: every page that it asks for is of it, and every
// reply that tells the file's size tells its size. What the variable has become meanwhile does not matter: the pages and the
// size that the kernel has are those of one value.
//
// Same size. A value of one page is replaced by another one of the same size like this: it is shown, and the kernel drops the
// page ([Pages.Old]). A page that was asked for before is locked until it is there, and dropping waits for the lock. So when
// it has returned nobody finds the old value any more. A read(2) copies from one page without a look at anything else: it is
// whole. Values of several pages are not cached: the kernel drops one after the other, and a reader finds some of each value.
//
// Another size. The size and the page are two things to the kernel, and a reader takes first the page, then the size. They
// must never be of two values. See settle.go for how this is done; it makes readers wait for some milliseconds, and who opens
// the file within [restless] is not given the page cache.
//
// Who waits for whom. The goroutine that has the kernel drop pages (see run) waits for pages that are being read, so for the
// handlers of READ, for threads that make a request, and for nothing else. Handlers of READ wait for it in one state only, in
// which it waits for nothing. Nothing here is called with a lock of the caller's held that a handler of READ takes.
package pages

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/commy-project/commyfs/fs/poke"
)

// Max is the largest value that is cached: one page.
var Max = os.Getpagesize()

const (
	// restless is for how long a variable is not cached anew whose size has changed.
	restless = time.Minute
	// refusedTime is for how long nothing is cached anew after the server has not answered that it would ask.
	refusedTime = time.Second
	// unused is after what time without an open the next change ends the caching of a variable.
	unused = 10 * time.Second
)

// Value is a value and its version. Nobody modifies it.
type Value struct {
	Data    []byte
	Version uint64 // 0: it has none
}

// follows reports whether a value may be shown after another one. What was loaded last can be older: values of a mapped service
// are ahead of what is told of it.
func (v Value) follows(o Value) bool { return v.Version == 0 || v.Version >= o.Version }

// Source is where values come from. Its methods are called with no lock held.
type Source interface {
	// Value returns the present value of a node, false if it has none any more.
	Value(id uint64) (Value, bool)
	// Path is where the node is in the mount, false if it has no name.
	Path(id uint64) (string, bool)
	// Cache has changes of the node told to [Pages.Old], and, on this host, acknowledged to nobody before they are confirmed.
	// Uncache ends that, and returns when it has.
	Cache(ctx context.Context, id uint64) error
	Uncache(ctx context.Context, id uint64)
	// Sets reports whether a thread may still be in the system call by which it sets something of a file.
	Sets(thread uint32) bool
	// Blocked reports whether a thread waits for the kernel: for a page, if it is one that writes and was answered.
	Blocked(thread uint32) bool
	// Bound is the longest that a handler may wait.
	Bound() time.Duration
}

// Kernel drops the pages and attributes of a node.
type Kernel interface {
	DropPages(id uint64) error
}

// Pages are the cached variables of a mount.
type Pages struct {
	source Source
	kernel Kernel
	log    *slog.Logger
	asker  *poke.Poker // has the kernel ask for attributes
	looker *poke.Poker // looks at what the kernel has
	wake   chan struct{}
	done   chan struct{}
	wg     sync.WaitGroup
	ctx    context.Context
	cancel context.CancelFunc
	warned sync.Once

	mu      sync.Mutex // guards the following; a leaf
	nodes   map[uint64]*node
	aliases map[uint64][]uint64 // nodes that have become another, by that one
	resized map[uint64]time.Time
	steps   []step
	queued  uint64        // steps ever
	handled uint64        // of these, done
	moved   chan struct{} // closed when handled rises
	refused time.Time     // when Cache last failed
	stopped bool
}

// node is a cached variable, by its number in the kernel.
type node struct {
	id      uint64
	handles int           // open descriptors that read by way of the page cache
	opened  time.Time     // when the last of these was
	ready   chan struct{} // closed when the first of these is open; nil by then
	shown   Value
	visible Value // what others read: shown, but for the time in which the kernel may have a page of the one before
	state   state
	served  uint64 // pages that were given
	queued  uint64 // the last step about it
	// inherited: the kernel can have pages and a size of what a process before has shown.
	inherited bool
	again     bool // it has changed since the value was loaded that is shown
	// What is waited for: that the kernel has no page any more, that it has the size of what is shown, that both are so.
	dropped, sized, settled chan struct{}
	expect                  int64                // a size that the kernel takes by itself, by a write of this mount; -1: none
	granted                 chan struct{}        // it may
	taking                  int64                // the size that it takes now; valid while granting
	taker                   uint32               // the thread whose request it is
	took                    chan struct{}        // closed when it goes on: the kernel has taken the size
	unsized                 bool                 // it has another one: nobody is given a page who can do without
	answered                map[uint32]time.Time // threads that were told the size in a way that the kernel takes, and when
	truncating              int                  // requests that set the size: meanwhile the kernel takes none but what answers them
}

// state of a node.
type state uint8

const (
	opening   state = iota // not yet cached
	current                // the kernel has the size of what is shown, and no page of anything else
	dropping               // its pages are dropped; who asks for the size waits from here on
	waiting                // readers that have a page in hand finish; who asks for a page waits from here on
	granting               // the kernel takes a size by itself
	switching              // it is shown the next value, and takes the size of that
	leaving                // not cached any more
	unsized                // in place of others: see node.unsized
)

// New returns pages of what a source has. Nothing is cached before [Pages.Start].
func New(source Source, log *slog.Logger) *Pages {
	p := &Pages{
		source: source, log: log, wake: make(chan struct{}, 1), done: make(chan struct{}),
		nodes: map[uint64]*node{}, aliases: map[uint64][]uint64{}, resized: map[uint64]time.Time{}, moved: make(chan struct{}),
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// Start begins. The two threads belong to Pages from now on; handlers must know them for the mount's own.
func (p *Pages) Start(kernel Kernel, asker, looker *poke.Poker) {
	p.kernel, p.asker, p.looker = kernel, asker, looker
	p.wg.Go(p.run)
	p.startInherited()
}

// Stop ends it, once the mount is gone or still served.
func (p *Pages) Stop() {
	if p == nil || p.kernel == nil {
		return
	}
	p.mu.Lock()
	p.stopped = true
	p.mu.Unlock()
	p.cancel()
	close(p.done)
	p.wg.Wait()
}

// Open counts a descriptor that is to read by way of the page cache. It returns false if it must not: then nothing is counted.
// The first time this waits for the server.
func (p *Pages) Open(ctx context.Context, id uint64) bool {
	if p.kernel == nil {
		return false
	}
	p.mu.Lock()
	if at, ok := p.resized[id]; ok {
		if time.Since(at) < restless {
			p.mu.Unlock()
			return false
		}
		delete(p.resized, id)
	}
	if n := p.nodes[id]; n != nil {
		if ready := n.ready; ready != nil { // somebody else has come first
			p.mu.Unlock()
			select {
			case <-ready:
				return p.Open(ctx, id)
			case <-ctx.Done():
				return false
			}
		}
		defer p.mu.Unlock()
		if n.state == leaving || !fits(n.shown.Data) || n.unsized {
			return false
		}
		n.handles++
		n.opened = time.Now()
		return true
	}
	if time.Since(p.refused) < refusedTime {
		p.mu.Unlock()
		return false
	}
	n := &node{id: id, opened: time.Now(), state: opening, expect: -1, handles: 1, ready: make(chan struct{})}
	p.nodes[id] = n
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		close(n.ready)
		n.ready = nil
	}()
	if err := p.source.Cache(ctx, id); err != nil {
		p.warned.Do(func() { p.log.Warn("variables cannot be cached, and are read from the mount", "err", err) })
		p.mu.Lock()
		p.refused = time.Now()
		delete(p.nodes, id)
		p.mu.Unlock()
		return false
	}
	value, ok := p.source.Value(id)
	p.mu.Lock()
	if !ok || !fits(value.Data) {
		n.handles--
		p.leaveLocked(n)
		p.mu.Unlock()
		return false
	}
	n.shown, n.visible = value, value
	n.handles-- // nobody has a page in hand
	p.dropLocked(n)
	settled := n.settled
	p.mu.Unlock()
	p.bounded(settled)
	p.mu.Lock()
	defer p.mu.Unlock()
	if n.state == current && fits(n.shown.Data) && !n.unsized {
		n.handles++
		return true
	}
	if n.state == current && n.handles == 0 {
		p.leaveLocked(n)
	}
	return false
}

// fits reports whether a value is one that is cached. The kernel asks for nothing of an empty file.
func fits(value []byte) bool { return len(value) > 0 && len(value) <= Max }

// Close counts such a descriptor down.
func (p *Pages) Close(id uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := p.nodes[id]; n != nil {
		n.handles--
	}
}

// Forgotten is called when the kernel has forgotten a node.
func (p *Pages) Forgotten(id uint64) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.resized, id)
	if n := p.nodes[id]; n != nil && n.handles == 0 && n.state == current {
		p.leaveLocked(n)
	}
}

// leaveLocked ends the caching of a node that is not open.
func (p *Pages) leaveLocked(n *node) {
	n.state = leaving
	p.goLocked(func() {
		p.drop(n.id)
		p.source.Uncache(p.ctx, n.id)
		p.mu.Lock()
		delete(p.nodes, n.id)
		others := p.unaliasLocked(n.id)
		p.mu.Unlock()
		for _, id := range others {
			p.source.Uncache(p.ctx, id)
		}
	})
}

// goLocked runs fn on a goroutine, unless it is too late.
func (p *Pages) goLocked(fn func()) {
	if !p.stopped {
		p.wg.Go(fn)
	}
}

// Has reports whether a node is cached: its size is that of what is shown, and its pages have to come from Read.
func (p *Pages) Has(id uint64) bool {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.nodes[id].cached()
}

func (n *node) cached() bool { return n != nil && n.state != opening && n.state != leaving }

// Settle waits until the kernel has the size of what is shown. It returns false if that takes too long.
func (p *Pages) Settle(id uint64) bool {
	if p == nil {
		return true
	}
	p.mu.Lock()
	n := p.nodes[id]
	if n == nil || n.settled == nil {
		p.mu.Unlock()
		return true
	}
	settled := n.settled
	p.mu.Unlock()
	return p.bounded(settled)
}

// bounded waits for a channel to be closed, but not for ever.
func (p *Pages) bounded(c <-chan struct{}) bool {
	t := time.NewTimer(p.source.Bound())
	defer t.Stop()
	select {
	case <-c:
		return true
	case <-t.C:
	case <-p.done:
	}
	return false
}
