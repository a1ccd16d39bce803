package core

import (
	"slices"
	"sync"
	"unsafe"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/server/budget"
)

// A Receiver is handed what there is to tell a subscriber, by [Session.Deliver] and in order. It may keep what it gets.
type Receiver interface {
	TreeChanges(*model.TreeChanges)
	// MemoryFile says where a service's memory file is now; without a path there is none.
	MemoryFile(service uint64, f model.MemoryFile)
	Changes(*model.Changes)
	Outcome(request uint64, o *model.Outcome)
	// Tree and Snapshot are pages of what a watch begins with. Request 0: nobody asked, the watch starts anew, or it is a
	// step that is too large for one Changes.
	Tree(request uint64, page *model.TreePage)
	Snapshot(request uint64, page *model.Snapshot)
	// Flush returns when what was handed over takes no memory of the session's any more.
	Flush() error
}

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
	tree     *treeWatch                  // nil: not asked for
	watches  map[uint64]*watch
	dirty    []*watch            // those with something to tell, in the order in which they got it
	asked    map[uint64]*service // whose memory files
	// expected has the numbers of the reports whose outcomes are not known: what they hold need not be told.
	expected map[uint64]bool
}

// told is the outcome of a report. It waits for the snapshots of what it tells of.
type told struct {
	Ticket
	outcome  *model.Outcome
	services []*service
	tree     bool
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
	if cost := outcomeCost + len(t.outcome.Results)*int(unsafe.Sizeof(model.Result{})); cost < t.Cost {
		f.memory.Give(t.Cost - cost)
		t.Cost = cost
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.expected, t.outcome.Seq)
	if !f.closed {
		f.outcomes = append(f.outcomes, t)
	}
}

// expect notes that a report is on its way.
func (f *feed) expect(seq uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.expected[seq] = true
}

// file queues where a memory file is now, without waking anybody.
func (f *feed) file(service uint64, at model.MemoryFile) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.files[service] = at
	}
}

// events queues events for a watch, without waking anybody.
func (f *feed) events(w *watch, list []*event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.watches[w.service.id] != w {
		return
	}
	clean, held := len(w.pending) == 0 && !w.lost, w.held
	for _, ev := range list {
		w.add(ev)
	}
	if more := w.held - held; more > 0 && !f.memory.Try(more) {
		w.held = held
		w.lose()
	}
	if held > w.held {
		f.memory.Give(held - w.held)
	}
	if clean {
		f.dirty = append(f.dirty, w)
	}
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
	f.outcomes, f.starts, f.dirty, f.tree, f.files, f.watches, f.asked = nil, nil, nil, nil, nil, nil, nil
	return watches, asked
}

// delivery is what is told next: all that may be told now, and a page of one start.
type delivery struct {
	tree     *model.TreeChanges
	files    map[uint64]model.MemoryFile
	held     int // what these have of the session's memory
	updates  []update
	lost     []*watch
	outcomes []told
	start    *start
}

func (d *delivery) empty() bool {
	return d.tree == nil && len(d.files)+len(d.updates)+len(d.lost)+len(d.outcomes) == 0 && d.start == nil
}

func (f *feed) take() (d delivery) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t := f.tree; t != nil && t.live && len(t.changes) > 0 {
		d.tree = &model.TreeChanges{Rev: t.rev, Changes: t.changes}
		d.held, t.held, t.changes = t.held, 0, nil
	}
	if len(f.files) > 0 {
		d.files, f.files = f.files, map[uint64]model.MemoryFile{}
	}

	wait := f.dirty[:0]
	for _, w := range f.dirty {
		switch {
		case f.watches[w.service.id] != w: // ended
		case !w.live:
			wait = append(wait, w)
		case w.lost:
			d.lost = append(d.lost, w)
		default:
			list, held := w.take()
			d.updates = append(d.updates, update{w, list, held})
		}
	}
	clear(f.dirty[len(wait):])
	f.dirty = wait

	held := f.outcomes[:0:0]
	for _, t := range f.outcomes {
		if f.heldLocked(t) {
			held = append(held, t)
		} else {
			d.outcomes = append(d.outcomes, t)
		}
	}
	f.outcomes = held
	if len(f.starts) > 0 {
		d.start = f.starts[0]
	}
	return d
}

// heldLocked reports whether an outcome is of changes that wait for the end of a snapshot.
func (f *feed) heldLocked(t told) bool {
	if t.tree && f.tree != nil && !f.tree.live {
		return true
	}
	return slices.ContainsFunc(t.services, func(s *service) bool {
		w := f.watches[s.id]
		return w != nil && (!w.live || w.lost)
	})
}

// ended is called when a start's last page was told.
func (f *feed) ended(s *start) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.starts) > 0 && f.starts[0] == s {
		f.starts = f.starts[1:]
	}
	if s.watch != nil {
		s.watch.live = true
	}
	if s.tree != nil {
		s.tree.live = true
	}
}

// Deliver hands over what there is to tell now. false: nothing. One goroutine at a time calls it.
func (s *Session) Deliver(to Receiver) (bool, error) {
	d := s.feed.take()
	if err := s.auth.Check(s.Principal); err != nil {
		return false, err
	}
	if d.empty() {
		return false, nil
	}
	held := d.held
	flush := func() error {
		err := to.Flush()
		s.Memory.Give(held)
		held = 0
		return err
	}
	if d.tree != nil {
		for part := range slices.Chunk(d.tree.Changes, treePage) {
			to.TreeChanges(&model.TreeChanges{Rev: d.tree.Rev, Changes: part})
		}
	}
	for id, f := range d.files {
		to.MemoryFile(id, f)
	}
	for _, u := range d.updates {
		err := u.tell(to)
		if held += u.held; held > PageBytes || err != nil {
			if err = flush(); err != nil {
				return true, err
			}
		}
	}
	for _, t := range d.outcomes {
		to.Outcome(t.ID, t.outcome)
		held += t.Cost
	}
	more := true
	if d.start != nil {
		if more = d.start.next(to, d.start.ID); !more {
			held += d.start.Cost
		}
	}
	if err := flush(); err != nil {
		return true, err
	}
	if !more {
		s.feed.ended(d.start)
	}
	for _, w := range d.lost {
		s.resync(w)
	}
	return true, nil
}
