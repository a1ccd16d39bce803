package fs

import (
	"errors"
	"sync"
	"syscall"
	"time"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// local is a file that only this mount knows: a draft, which is a variable from its creation until its first commit
// (its id is one that the server set aside), or a temporary, which an editor makes and renames or removes.
type local struct {
	id   uint64
	temp bool

	// guarded by locals.mu
	parent  uint64
	name    string
	removed bool
	opens   int // handles on a draft

	// naming is held while a draft's first commit, removal or renaming is under way: none of them sees half of another.
	naming sync.Mutex

	mu    sync.Mutex // guards the following
	data  []byte     // a temporary's content
	mtime time.Time
	mode  model.Mode
	// stamped: somebody has set mtime since the last write.
	stamped bool
	v       *varsync.Variable // what it has become

	settled chan struct{} // closed when a draft is committed, removed or given up
	once    sync.Once
}

// ID implements varsync.Node.
func (l *local) ID() uint64 { return l.id }

func (l *local) stat() (size, mtime int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int64(len(l.data)), l.mtime.UnixNano()
}

// committed returns the variable that the file has become, nil if it has not.
func (l *local) committed() *varsync.Variable {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.v
}

// hold keeps a draft from being committed, until release. A draft that just has been is no file of this mount any more:
// the kernel, told ESTALE, looks again. Two are held only by renames, of which the kernel makes one at a time.
func (l *local) hold() error {
	if l.temp {
		return nil
	}
	l.naming.Lock()
	if l.committed() == nil {
		return nil
	}
	l.naming.Unlock()
	return syscall.ESTALE
}

func (l *local) release() {
	if !l.temp {
		l.naming.Unlock()
	}
}

func (l *local) settle() { l.once.Do(func() { close(l.settled) }) }

// draftWait is how long a reader waits for a draft.
const draftWait = time.Second

// awaitDraft waits a moment for a draft's first commit: somebody is between creating the file and writing it, and a
// reader that came in between must not see the empty moment.
func (l *local) awaitDraft(most time.Duration) {
	t := time.NewTimer(most)
	defer t.Stop()
	select {
	case <-l.settled:
	case <-t.C:
	}
}

type localKey struct {
	parent uint64
	name   string
}

// locals are the files that only this mount knows.
type locals struct {
	mu     sync.RWMutex // guards the following
	ids    map[uint64]*local
	names  map[localKey]*local
	hidden map[localKey]*parked
	ending bool // nothing is parked any more
	next   uint64
}

func (ls *locals) init() {
	ls.ids, ls.names, ls.hidden = map[uint64]*local{}, map[localKey]*local{}, map[localKey]*parked{}
}

func (ls *locals) byID(id uint64) *local {
	ls.mu.RLock()
	defer ls.mu.RUnlock()
	return ls.ids[id]
}

func (ls *locals) byName(parent uint64, name string) *local {
	ls.mu.RLock()
	defer ls.mu.RUnlock()
	return ls.names[localKey{parent, name}]
}

// in returns the files of a directory.
func (ls *locals) in(parent uint64) []*local {
	ls.mu.RLock()
	defer ls.mu.RUnlock()
	var out []*local
	for k, l := range ls.names {
		if k.parent == parent {
			out = append(out, l)
		}
	}
	return out
}

// add makes a file. id 0 takes the next one of the mount's own.
func (ls *locals) add(id, parent uint64, name string, temp bool, mode model.Mode) *local {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if id == 0 {
		ls.next++
		id = localBit | ls.next
	}
	l := &local{id: id, temp: temp, parent: parent, name: name, mode: mode, mtime: time.Now(), settled: make(chan struct{})}
	ls.ids[id] = l
	ls.names[localKey{parent, name}] = l
	return l
}

// remove takes a file out of its directory. Descriptors keep it.
func (ls *locals) remove(l *local) {
	ls.mu.Lock()
	ls.removeLocked(l)
	ls.mu.Unlock()
	l.settle()
}

func (ls *locals) removeLocked(l *local) {
	ls.unnameLocked(l)
	l.removed = true
	if ls.ids[l.id] == l {
		delete(ls.ids, l.id)
	}
}

// forgotten is called when the kernel has let go of a number: one that stood for a variable of another number ends.
func (ls *locals) forgotten(id uint64) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if l := ls.ids[id]; l != nil && l.committed() != nil {
		delete(ls.ids, id)
	}
}

func (ls *locals) unnameLocked(l *local) {
	k := localKey{l.parent, l.name}
	if ls.names[k] == l {
		delete(ls.names, k)
	}
}

// where tells where a file is, and whether it has been removed.
func (ls *locals) where(l *local) (parent uint64, name string, removed bool) {
	ls.mu.RLock()
	defer ls.mu.RUnlock()
	return l.parent, l.name, l.removed
}

// ref counts a handle on a draft, unless that is gone.
func (ls *locals) ref(l *local) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if !l.removed {
		l.opens++
	}
	return !l.removed
}

// unref ends a handle on a draft. A draft that nobody has open and nobody has committed is forgotten: it reports that.
func (ls *locals) unref(l *local) (dropped bool) {
	ls.mu.Lock()
	l.opens--
	dropped = l.opens == 0 && !l.removed && l.committed() == nil
	if dropped {
		ls.removeLocked(l)
	}
	ls.mu.Unlock()
	if dropped {
		l.settle()
	}
	return dropped
}

// move gives a file another name; what had the name is gone.
func (ls *locals) move(l *local, parent uint64, name string) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	k := localKey{parent, name}
	if old := ls.names[k]; old != nil && old != l {
		old.removed = true
		delete(ls.ids, old.id)
		old.settle()
	}
	ls.unnameLocked(l)
	l.parent, l.name = parent, name
	ls.names[k] = l
}

// become records the variable that a file has become. If it has the id that the server set aside for a draft, the draft
// is forgotten; otherwise (somebody else made the variable first, or it was a temporary) the file's number goes on
// standing for the variable until the kernel forgets it.
func (ls *locals) become(l *local, v *varsync.Variable) {
	l.mu.Lock()
	l.v = v
	l.mu.Unlock()
	ls.mu.Lock()
	ls.unnameLocked(l)
	if v.ID() == l.id {
		delete(ls.ids, l.id)
	}
	ls.mu.Unlock()
	l.settle()
}

// become is locals.become, for the descriptors too.
func (f *FS) become(l *local, v *varsync.Variable) {
	f.handles.become(l.id, v)
	f.locals.become(l, v)
}

// commitDraft makes the variable of a draft, with a change of the empty value; nil is none. Should the draft be a variable by
// then, that is changed.
func (f *FS) commitDraft(l *local, e *varsync.Edit) error {
	ctx, cancel := f.opContext()
	defer cancel()
	l.naming.Lock()
	defer l.naming.Unlock()
	d := l.described()
	if v := l.committed(); v != nil { // while this waited: it was moved over the variable, or another descriptor was first
		if e == nil {
			return nil
		}
		change := *e
		change.HasMTime, change.MTime = d.hasMTime, d.mtime
		_, err := v.Commit(ctx, change)
		return err
	}
	parent, name, removed := f.locals.where(l)
	if removed {
		return model.ErrNotFound // like writing to an unlinked file
	}
	p, err := f.place(parent)
	if err != nil {
		return err
	}
	ch := model.Change{Op: model.OpStore, Create: true, NewID: l.id, NewMode: d.mode, HasMTime: d.hasMTime, MTime: d.mtime}
	ch.Tenant, ch.Service, ch.Name = p.target(name)
	switch {
	case e == nil:
		ch.Op = model.OpCreate
	case e.Kind == varsync.EditAppend:
		ch.Op, ch.Data = model.OpAppend, e.Data
	case e.Kind == varsync.EditReplace:
		ch.Data = e.Data
	default:
		ch.Data = edited(nil, *e)
	}
	res, err := f.c.Report(ctx, ch)
	if errors.Is(err, model.ErrExists) && e == nil {
		if v, ok := f.lookup(p, name).(*varsync.Variable); ok { // somebody else made it: that is as good
			f.become(l, v)
			return nil
		}
	}
	if err != nil {
		return err
	}
	v, ok := f.c.Node(res[0].ID).(*varsync.Variable)
	if !ok {
		f.locals.remove(l)
		return model.ErrNotFound // it was stored, and is gone again: somebody removed it
	}
	f.become(l, v)
	if v.ID() != l.id {
		f.kernel.Refresh(parent, fileName(name, p.level))
	}
	return nil
}
