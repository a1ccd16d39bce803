package fs

import (
	"context"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/fs/estate"
	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// unanswered are the numbers of reports of which the process before did not know what had become.
func unanswered(e *estate.Estate) (numbers []uint64) {
	ask := func(r *estate.Report) {
		if n, a := r.Outcome(); n != 0 && a == estate.NotAnswered {
			numbers = append(numbers, n)
		}
	}
	for t := range e.Tasks() {
		if _, done := t.Status(); !done {
			ask(&t.Report)
		}
	}
	for d := range e.Edits() {
		ask(&d.Report)
	}
	for h := range e.Handles() {
		ask(&h.Report)
	}
	return numbers
}

// became tells whether what the process before has reported was carried out.
func (f *FS) became(ctx context.Context, r *estate.Report) (bool, error) {
	n, a := r.Outcome()
	if n == 0 || a != estate.NotAnswered {
		return n != 0 && a == estate.CarriedOut, nil
	}
	return f.c.Became(ctx, n)
}

// inheritTasks finds out what has become of the requests that the process before has not answered. They are made again.
func (f *FS) inheritTasks(ctx context.Context, e *estate.Estate) {
	f.inheritance = legacy{tasks: map[uint64]again{}, overflow: e.Overflowed()}
	tasks := f.inheritance.tasks
	for t := range e.Tasks() {
		if status, is := t.Status(); is {
			tasks[t.Unique()] = again{done, fuse.Status(status), t.Value()}
			continue
		}
		out, err := f.became(ctx, &t.Report)
		switch {
		case err != nil:
			tasks[t.Unique()] = again{how: done, status: fuse.EIO} // nobody knows
			t.Done(int32(fuse.EIO))
		case out:
			tasks[t.Unique()] = again{how: carriedOut}
			t.Report.Answered(true)
			t.Inherit()
		default:
			t.Forget()
		}
	}
	for d := range e.Edits() {
		tasks[d.Unique] = again{how: carriedOut} // or will be: it is kept
	}
	for h := range e.Handles() {
		if _, unique, ok := e.Kept(h); ok && unique != 0 {
			tasks[unique] = again{how: carriedOut}
		}
	}
}

// inherit makes the files and descriptors that the process before has left.
func (f *FS) inherit(ctx context.Context, e *estate.Estate) {
	f.inheritTasks(ctx, e)
	drafts := f.inheritDrafts(e)
	newest := map[uint32]*handle{} // that a thread has opened, and not used yet
	numbers := map[*handle]uint64{}
	for rec := range e.Handles() {
		o := rec.Opened()
		switch rec.Kind() {
		case estate.Dir:
			f.handles.putDir(o.Fh, &dirHandle{record: rec, inherited: true})
		case estate.Memory:
			f.inheritMemory(rec)
		default:
			h := f.inherited(ctx, rec)
			f.handles.put(o.Fh, h)
			if h.v != nil && h.v.ID() != h.node {
				f.handles.become(h.node, h.v)
			}
			if n := newest[o.Opener]; h.untouched() && (n == nil || numbers[n] < o.Fh) {
				newest[o.Opener], numbers[h] = h, o.Fh
			}
		}
	}
	for thread, h := range newest {
		f.openings.opened(thread, h)
	}
	f.handles.from(e.LastHandle())
	for _, l := range drafts {
		if f.unshared.ref(l); f.unshared.unref(l) {
			f.log.Debug("a draft that nobody has open is gone", "id", l.id)
		}
	}
	f.inheritEdits(ctx, e)
	f.inheritPages(e)
}

// inheritPages has the kernel's pages of cached variables taken for old: they are what they were when the process died.
func (f *FS) inheritPages(e *estate.Estate) {
	paged := map[uint64]int{}
	for rec := range e.Handles() {
		if o := rec.Opened(); o.Paged {
			paged[o.Node]++
		}
	}
	for id, handles := range paged {
		f.pages.Inherit(id, handles)
	}
}

// untouched reports whether a descriptor may be one that O_TRUNC is to empty, or has.
func (h *handle) untouched() bool {
	r, ok := h.state.(*replacer)
	return ok && r.stage == emptied && h.l == nil || h.unused()
}

// inheritDrafts makes the drafts again, but those that are variables by now.
func (f *FS) inheritDrafts(e *estate.Estate) (drafts []*unshared) {
	var old []*estate.Draft
	for rec := range e.Drafts() {
		old = append(old, rec)
	}
	for _, rec := range old {
		parent, name := rec.Where()
		if f.c.Node(rec.ID) == nil {
			l := f.unshared.add(rec.ID, parent, name, draft, model.Mode(rec.Mode))
			if nano, set := rec.MTime(); set {
				l.mtime, l.stamped = time.Unix(0, nano), true
				f.unshared.noteDescribed(l)
			}
			drafts = append(drafts, l)
		}
		e.RemoveDraft(rec)
	}
	return drafts
}

// inherited makes one descriptor. What is not known any more it answers with errors.
func (f *FS) inherited(ctx context.Context, rec *estate.Handle) *handle {
	o := rec.Opened()
	h := f.newHandle(o.Node, o.Opener, o.Flags)
	h.record, h.polled, h.paged = rec, rec, o.Paged
	n := f.node(o.Node)
	if v, ok := f.c.Node(rec.On()).(*varsync.Variable); ok && n == nil {
		f.unshared.was(o.Node, v)
		n = v
	}
	if rec.Kind() != estate.File {
		n = nil
	}
	switch n := n.(type) {
	case *varsync.Variable:
		h.v = n
	case *unshared:
		if h.l = n; !f.unshared.ref(n) {
			h.l = nil
		}
	}
	if h.v == nil && h.l == nil {
		h.state = &lapsed{h}
		return h
	}
	if c, version := rec.Condition(); c != estate.NoCondition {
		h.cond.seen.Store(varsync.NewSeen(version))
		h.cond.given = c == estate.Given
	}
	r := reader{handle: h}
	if left, ok := rec.Read(); ok {
		r.left = &left
	}
	h.state = f.inheritedState(ctx, r, rec)
	if r.left != nil {
		h.seen.Store(r.left.Version)
	}
	f.inheritLock(ctx, h, rec)
	if _, ok := h.state.(*replacer); ok {
		h.writer.Store(o.Opener)
	}
	h.note()
	return h
}

// inheritLock has a descriptor lose its locks: somebody else may have had them meanwhile.
func (f *FS) inheritLock(ctx context.Context, h *handle, rec *estate.Handle) {
	l, ok := rec.Lock()
	v := h.variable()
	if !ok || v == nil {
		return
	}
	lock := model.Lock{ID: v.ID(), Kind: model.LockKind(l.Kind), Owner: l.Owner}
	f.locks.takes(ctx, h, lockOwner{lock.ID, lock.Kind, lock.Owner})
	f.locks.lose(lock)
}

// wakePollers has the kernel ask for all who poll: nobody else knows what they wait for.
func (f *FS) wakePollers() {
	for rec := range f.estate.Handles() {
		if file := rec.Poll(); file != 0 {
			f.kernel.WakePoll(file)
		}
	}
}

func (f *FS) inheritedState(ctx context.Context, r reader, rec *estate.Handle) state {
	w, base := rec.Writing()
	if w >= estate.Emptied {
		switch out, err := f.became(ctx, &rec.Report); {
		case err != nil:
			return &replacer{reader: r, failed: syscall.EIO} // nobody knows
		case out:
			r.left = nil // it was committed
			return &editor{reader: r, begun: true}
		}
	}
	switch w {
	case estate.Settled:
		if !r.writes {
			return &r
		}
		return &editor{reader: r}
	case estate.Unsettled:
		return &editor{reader: r, begun: true, err: syscall.EIO}
	case estate.Clean:
		return &replacer{reader: r, base: base}
	case estate.Emptied:
		return &replacer{reader: r, stage: emptied, base: base}
	case estate.Kept, estate.Resting:
		if data, _, ok := f.estate.Kept(rec); ok {
			return inheritedReplacer(r, w, base, data, rec.Stamp())
		}
	}
	return &replacer{reader: r, failed: syscall.EIO}
}

// inheritedReplacer goes on with what another process has gathered.
func inheritedReplacer(r reader, w estate.Writing, base uint64, data []byte, stamp int64) *replacer {
	p := &replacer{reader: r, stage: dirty, base: base, buf: data}
	if stamp != 0 {
		p.stamp = time.Unix(0, stamp)
	}
	if w == estate.Resting {
		p.rest = &rest{wrote: time.Now()}
		p.rest.timer = time.AfterFunc(clearTime, p.rested)
	}
	return p
}

// inheritEdits makes the changes again that were acknowledged to who made them, and were not carried out. Those of one variable
// keep their order. What was made while the mount had locks is lost, as the server would refuse it.
func (f *FS) inheritEdits(ctx context.Context, e *estate.Estate) {
	for _, d := range e.OrderedEdits() {
		h := f.handles.get(d.Fh)
		if h == nil {
			e.RemoveEdit(d)
			continue
		}
		h.mu.Lock()
		ed, ok := h.state.(*editor)
		out, err := f.became(ctx, &d.Report)
		switch {
		case !ok || out:
		case err != nil, d.Lease != 0: // the locks are somebody else's by now
			ed.err = syscall.EIO
		case h.variable() != nil:
			ed.begun = true
			ch := varsync.Edit{Kind: varsync.EditKind(d.Kind), Off: d.Off, Size: d.Size, Data: e.Data(d), Journal: &d.Report}
			ch.Seen = h.under(&ch)
			ed.pending = append(ed.pending, pendingEdit{h.variable().Enqueue(ch), ch, d})
			d = nil
		}
		h.unlock()
		e.RemoveEdit(d)
	}
}
