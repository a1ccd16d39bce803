package core

import (
	"slices"
	"sync"
	"unsafe"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/server/budget"
)

// Ticket stands for a request of a subscriber: what it calls it, and what it has of the session's memory until it is
// answered.
type Ticket struct {
	ID   uint64
	Cost int
}

// feed is what a session's subscriber has not been told yet. What waits is taken all at once and changes go first, so that
// every change up to an outcome's revision is told before the outcome.
type feed struct {
	ready  func() // there is something to take; does not wait
	memory *budget.Account

	// mu guards the following.
	mu       sync.Mutex
	closed   bool
	outcomes []told
	starts   []*start
	files    map[uint64]model.MemoryFile // by service: only the last matters
	stored   set[uint64]                 // bare services into which something was stored where no variable is
	tree     *treeWatch                  // nil: not asked for
	watches  map[uint64]*watch
	dirty    []*watch            // those with something to tell, in the order in which they got it
	sealed   []update            // what is told before all that, in this order
	asked    map[uint64]*service // whose memory files
	// expected has the numbers of the reports whose outcomes are not known: what they hold need not be told.
	expected map[uint64]bool
}

// told is the outcome of a report. It waits for the snapshots of what it tells of, and for who has to confirm it.
type told struct {
	Ticket
	outcome   *model.Outcome
	services  []*service
	tree      bool
	reports   int // how many it is of; 0: one
	questions []*question
	// lock is what became of a lock, in the place of an outcome.
	lock *lockNews
}

// start is what a watch begins with, a page at a time.
type start struct {
	Ticket
	next func(to Receiver, request uint64) (more bool)
	// watch or tree goes live after the last page.
	watch *watch
	tree  *treeWatch
}

// treeWatch is a session's view of the tenants and services.
type treeWatch struct {
	live    bool
	changes []model.TreeChange
	held    int // what they have of the session's memory
	rev     int64
}

func newFeed(memory *budget.Account, ready func()) *feed {
	return &feed{ready: ready, memory: memory, watches: map[uint64]*watch{}, files: map[uint64]model.MemoryFile{}, asked: map[uint64]*service{}, expected: map[uint64]bool{}}
}

// outcomeCost is about what an outcome takes beside its results.
const outcomeCost = 256

// outcome queues what became of a report, without waking anybody, and gives back what only the report needed.
func (f *feed) outcome(t told) {
	cost := outcomeCost + len(t.outcome.Results)*int(unsafe.Sizeof(model.Result{})) + len(t.outcome.Refused)*int(unsafe.Sizeof(model.Refusal{}))
	if cost < t.Cost {
		f.memory.Give(t.Cost - cost)
		t.Cost = cost
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unexpectLocked(t.outcome.Seq, max(1, t.reports))
	if !f.closed {
		f.outcomes = append(f.outcomes, t)
	}
}

// expect notes that n reports are on their way.
func (f *feed) expect(seq uint64, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range uint64(n) {
		f.expected[seq+i] = true
	}
}

// unexpect is for reports that are not on their way after all.
func (f *feed) unexpect(seq uint64, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unexpectLocked(seq, n)
}

func (f *feed) unexpectLocked(seq uint64, n int) {
	for i := range uint64(n) {
		delete(f.expected, seq+i)
	}
}

// file queues where a memory file is now, without waking anybody.
func (f *feed) file(service uint64, at model.MemoryFile) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.files[service] = at
	}
}

// storedInto queues that something was stored into a bare service, without waking anybody.
func (f *feed) storedInto(service uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.stored.add(service)
	}
}

// events queues what happened in one batch for a watch, without waking anybody.
func (f *feed) events(w *watch, n *news) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.watches[w.service.id] != w {
		return
	}
	if n.moves {
		f.sealLocked()
	}
	clean, held := w.clean(), w.held
	if n.again {
		w.lose()
	} else {
		w.addNews(n)
	}
	if w.held > held && !f.memory.Try(w.held-held) {
		// Merged, what waits may take less.
		w.merge()
		if more := w.held - held; more > 0 && !f.memory.Try(more) {
			w.held = held
			w.lose()
		}
	}
	if held > w.held {
		f.memory.Give(held - w.held)
	}
	if clean {
		f.dirty = append(f.dirty, w)
	}
}

// sealLocked has all that waits be told before what comes now: something moves from one service to another, and no later change in
// one of the two is to be told with what was before in the other.
func (f *feed) sealLocked() {
	f.dirty = slices.DeleteFunc(f.dirty, func(w *watch) bool {
		if !w.live || w.lost || f.watches[w.service.id] != w {
			return false
		}
		f.sealed = append(f.sealed, w.take())
		return true
	})
}

// changes queues changes of the tree, without waking anybody. false: the watcher takes nothing.
func (f *feed) changes(rev int64, list []model.TreeChange) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.tree == nil {
		return true
	}
	cost := 0
	for i := range list {
		cost += int(unsafe.Sizeof(list[i])) + len(list[i].Tenant.Name) + len(list[i].Service.Name)
	}
	if len(f.tree.changes)+len(list) > maxStructural || !f.memory.Try(cost) {
		return false
	}
	f.tree.changes = append(f.tree.changes, list...)
	f.tree.held += cost
	f.tree.rev = rev
	return true
}

// forget ends a watch.
func (f *feed) forget(w *watch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.watches[w.service.id] == w {
		f.forgetLocked(w.service.id)
	}
}

// forgetLocked ends the watch of a service and returns it, nil if there is none.
func (f *feed) forgetLocked(service uint64) *watch {
	w := f.watches[service]
	if w != nil {
		delete(f.watches, service)
		f.memory.Give(w.held)
		w.drop()
		f.hollowLocked(w)
	}
	return w
}

// hollowLocked drops the snapshot of a watch that has ended, if nothing of it was told: nobody can make use of it. The answer
// says that there is nothing new. The first start belongs to who delivers.
func (f *feed) hollowLocked(w *watch) {
	for i, s := range f.starts {
		if i > 0 && s.watch == w {
			s.next = func(to Receiver, request uint64) bool {
				to.Snapshot(request, &model.Snapshot{Service: w.service.id, Resumed: true, Rev: w.rev})
				return false
			}
		}
	}
}

// close drops what waits; nothing is queued any more. It returns what was watched and asked for.
func (f *feed) close() (map[uint64]*watch, map[uint64]*service) {
	f.mu.Lock()
	defer f.mu.Unlock()
	watches, asked := f.watches, f.asked
	f.closed = true
	f.outcomes, f.starts, f.dirty, f.sealed, f.tree, f.files, f.stored, f.watches, f.asked = nil, nil, nil, nil, nil, nil, nil, nil, nil
	return watches, asked
}

// little reports whether there is something to take, and whether that has at most so many bytes and no page of a start.
func (f *feed) little(most int) (some, little bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.littleLocked(most)
}

func (f *feed) littleLocked(most int) (some, little bool) {
	if len(f.starts)+len(f.files)+len(f.stored) > 0 {
		return true, false
	}
	held := 0
	if f.tree != nil {
		held = f.tree.held
	}
	for _, w := range f.dirty {
		if w.lost {
			return true, false
		}
		held += w.held
	}
	for i := range f.sealed {
		held += f.sealed[i].held
	}
	for i := range f.outcomes {
		held += f.outcomes[i].Cost
	}
	return held > 0 || len(f.sealed)+len(f.dirty)+len(f.outcomes) > 0, held <= most
}
