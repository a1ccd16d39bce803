package core

import (
	"slices"

	"github.com/commy-project/commyfs/model"
)

// A Receiver is handed what there is to tell a subscriber, by [Session.Deliver] and in order. It may keep what it gets.
type Receiver interface {
	TreeChanges(*model.TreeChanges)
	// MemoryFile says where a service's memory file is now; without a path there is none.
	MemoryFile(service uint64, f model.MemoryFile)
	// MemoryStored says that something was stored into a bare service where no variable is.
	MemoryStored(service uint64)
	Changes(*model.Changes)
	// Shared is Changes that others are handed too.
	Shared(*Shared)
	Outcome(request uint64, o *model.Outcome)
	// Locked answers a request about a lock, or, request 0, says what became of one that has waited. LeaseEnded says that all are
	// lost.
	Locked(request uint64, a *model.LockAnswer)
	LeaseEnded(lease uint64)
	// Tree and Snapshot are pages of what a watch begins with. Request 0: nobody asked, the watch starts anew, or it is a
	// step that is too large for one Changes.
	Tree(request uint64, page *model.TreePage)
	Snapshot(request uint64, page *model.Snapshot)
	// Flush returns when what was handed over takes no memory of the session's any more.
	Flush() error
}

// delivery is what is told next: all that may be told now, and a page of one start.
type delivery struct {
	tree     *model.TreeChanges
	files    map[uint64]model.MemoryFile
	stored   set[uint64]
	held     int // what these have of the session's memory
	updates  []update
	lost     []*watch
	outcomes []told
	start    *start
}

func (d *delivery) empty() bool {
	return d.tree == nil && len(d.files)+len(d.stored)+len(d.updates)+len(d.lost)+len(d.outcomes) == 0 && d.start == nil
}

func (f *feed) take() delivery {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.takeLocked()
}

// takeLittle is take, unless there is more than so many bytes, or what is not to be had in one go.
func (f *feed) takeLittle(most int) (d delivery, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if some, little := f.littleLocked(most); some && !little {
		return delivery{}, false
	}
	return f.takeLocked(), true
}

func (f *feed) takeLocked() (d delivery) {
	if t := f.tree; t != nil && t.live && len(t.changes) > 0 {
		d.tree = &model.TreeChanges{Rev: t.rev, Changes: t.changes}
		d.held, t.held, t.changes = t.held, 0, nil
	}
	if len(f.files) > 0 {
		d.files, f.files = f.files, map[uint64]model.MemoryFile{}
	}
	d.stored, f.stored = f.stored, nil

	for _, u := range f.sealed {
		if f.watches[u.watch.service.id] == u.watch {
			d.updates = append(d.updates, u)
		} else { // ended
			f.memory.Give(u.held)
		}
	}
	f.sealed = nil
	wait := f.dirty[:0]
	for _, w := range f.dirty {
		switch {
		case f.watches[w.service.id] != w: // ended
		case !w.live:
			wait = append(wait, w)
		case w.lost:
			d.lost = append(d.lost, w)
		default:
			d.updates = append(d.updates, w.take())
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

// heldLocked reports whether an outcome is of changes that wait for the end of a snapshot, or to be confirmed.
func (f *feed) heldLocked(t told) bool {
	if t.waits() {
		return true
	}
	if t.lock != nil {
		return f.behindLocked()
	}
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

// Little reports whether there is something to deliver, and whether it is no more than so many bytes, to be had in one go.
func (s *Session) Little(most int) (some, little bool) { return s.feed.little(most) }

// Deliver hands over what there is to tell now. false: nothing. One goroutine at a time calls it.
func (s *Session) Deliver(to Receiver) (bool, error) { return s.deliver(to, s.feed.take()) }

// DeliverLittle is Deliver as long as there is no more than Little allows. ok is false if there is: then nothing is handed over.
func (s *Session) DeliverLittle(to Receiver, most int) (ok bool, err error) {
	d, ok := s.feed.takeLittle(most)
	if ok {
		_, err = s.deliver(to, d)
	}
	return ok, err
}

func (s *Session) deliver(to Receiver, d delivery) (bool, error) {
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
	for id := range d.stored {
		to.MemoryStored(id)
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
		switch {
		case t.lock == nil:
			to.Outcome(t.ID, t.outcome)
		case t.lock.answer != nil:
			to.Locked(t.ID, t.lock.answer)
		default:
			to.LeaseEnded(t.lock.ended)
		}
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

// maxStep bounds the values of one [model.Changes]. What is more goes as pages of a resumed snapshot, which the subscriber
// applies as one step too.
const maxStep = 8 << 20

// update is what one watch has to tell: news, each to be applied as one step, or a list, as one.
type update struct {
	watch *watch
	news  []*news
	list  []pending
	held  int
}

func (u *update) tell(to Receiver) error {
	for _, n := range u.news {
		to.Shared(n.shared(u.watch.values))
	}
	if len(u.list) == 0 {
		return nil
	}
	w, rev := u.watch, u.list[len(u.list)-1].ev.rev
	if len(u.list) > 1 && u.size() > maxStep {
		pages := &snapshot{service: w.service.id, resumed: true, values: w.values, rev: rev, changes: u.list}
		for more := true; more; {
			page := pages.next()
			to.Snapshot(0, page)
			if err := to.Flush(); err != nil {
				return err
			}
			more = page.More
		}
		return nil
	}
	to.Changes(changes(w.service.id, u.list, w.values))
	return nil
}

// changes is what waits as the protocol has it.
func changes(service uint64, list []pending, values bool) *model.Changes {
	m := &model.Changes{Service: service, Rev: list[len(list)-1].ev.rev, Changes: make([]model.Event, len(list))}
	for i := range list {
		m.Changes[i] = list[i].message(values)
	}
	return m
}

// size is at most about what the update takes as one message.
func (u *update) size() int {
	size := len(u.list) * eventCost
	for i := range u.list {
		ev := u.list[i].ev
		size += len(ev.name) + len(ev.oldName)
		if u.watch.values && ev.v != nil {
			size += len(ev.v.data())
		}
	}
	return size
}

// resync starts a watch anew that could not keep up.
func (s *Session) resync(w *watch) {
	v := s.core.view
	v.mu.RLock()
	if w.service.content.Load() == nil {
		v.mu.RUnlock()
		return // the watch has ended
	}
	snap := v.snapshotLocked(w.service, w.values)
	f := s.feed
	f.mu.Lock()
	w.drop()
	w.lost, w.live = false, false
	if f.watches[w.service.id] == w {
		f.starts = append(f.starts, &start{next: snap.tell, watch: w})
	}
	f.mu.Unlock()
	v.mu.RUnlock()
	f.ready()
}
