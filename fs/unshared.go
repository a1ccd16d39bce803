package fs

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/commy-project/commyfs/fs/estate"
	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// unshared is a file of this mount: one that nobody else knows. [unsharedFiles.to] takes it from one state to another, and nothing else does:
//
//	from       to         when
//	draft      shared     its first value is committed, or it is moved over a variable
//	           kept       its first value is in the offline queue
//	           removed    it is removed, another file is moved over it, or it is closed and was never committed
//	kept       shared     the queue was replayed: it is a variable
//	           removed    it was set aside
//	temporary  shared     it is renamed to a name that is none of a temporary, or over a variable
//	           removed    it is removed, or another file is moved over it
//	parked     temporary  the variable's name is made again
//	           moving     the server is to be told: parkTime is over, the backup is renamed or removed, or the mount ends
//	moving     shared     the server has given the variable the backup's name
//	           removed    the backup is removed, and the variable with it
//	           parked     the server could not be asked
//	           temporary  the server has refused, and the backup has what no variable has
type unshared struct {
	id    uint64
	state atomic.Uint32 // a fileState; unsharedFiles.mu is held to change it

	// guarded by unsharedFiles.mu
	parent uint64
	name   string
	opens  int     // handles on a draft
	backup *backup // of one that is parked or moving

	record *estate.Draft // what an heir must know of a draft; nil: nobody is told

	// naming is held while a first commit, a removal or a renaming is under way: none of them sees half of another.
	naming sync.Mutex

	mu    sync.Mutex // guards the following
	data  []byte     // what a draft does not have
	mtime time.Time
	mode  model.Mode
	// stamped: somebody has set mtime since the last write.
	stamped bool
	edits   uint64            // of one that is kept, so far
	v       *varsync.Variable // what it has become
	// over is the version of the variable that a draft was moved over, as who moved it has seen it; 0: it was not.
	over uint64

	done  chan struct{} // closed when it is no draft any more
	ended chan struct{} // closed when it is shared or removed
}

// fileState is what an unshared file is.
type fileState uint32

// The states.
const (
	draft     fileState = iota // a variable from its creation until its first commit: its id is one that the server set aside
	temporary                  // an editor's file, or one that was removed while it was open: never a variable by this name
	parked                     // a temporary that is the backup of a variable: see backup
	moving                     // it was parked, and the server is being told
	shared                     // it is a variable; its number stands for that until the kernel forgets it
	removed                    // only its descriptors have it
	kept                       // a variable that the server does not know yet, because it cannot be reached
)

// becomes is the table above.
var becomes = map[fileState][]fileState{
	draft:     {shared, removed, kept},
	kept:      {shared, removed},
	temporary: {shared, removed, parked}, // parked: as it is made
	parked:    {temporary, moving},
	moving:    {shared, removed, parked, temporary},
}

// ID implements varsync.Node.
func (l *unshared) ID() uint64 { return l.id }

func (l *unshared) is(s fileState) bool { return fileState(l.state.Load()) == s }

// private reports whether the file has its name on this mount, whatever the server has under it. It is one look at a state
// that goes on.
func (l *unshared) private() bool {
	switch fileState(l.state.Load()) {
	case temporary, parked, moving, kept:
		return true
	}
	return false
}

// version tells the values of a kept file apart.
func (l *unshared) version() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.edits
}

// value returns a copy of what a kept file has.
func (l *unshared) value() (data []byte, version uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]byte{}, l.data...), l.edits
}

func (l *unshared) stat() (size, mtime int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int64(len(l.data)), l.mtime.UnixNano()
}

// content returns a copy of what the file has.
func (l *unshared) content() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]byte{}, l.data...)
}

// committed returns the variable that the file has become, nil if it has not.
func (l *unshared) committed() *varsync.Variable {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.v
}

// movedOver returns the version of the variable that a draft was moved over.
func (l *unshared) movedOver() (version uint64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.over, l.over != 0
}

type fileKey struct {
	parent uint64
	name   string
}

// unsharedFiles are those of a mount.
type unsharedFiles struct {
	mu     sync.RWMutex // guards the following
	ids    map[uint64]*unshared
	names  map[fileKey]*unshared
	hidden map[fileKey]*unshared // by the name that the variable has at the server: what is parked
	ending bool                  // nothing is parked any more
	next   uint64
	estate *estate.Estate // nil: nobody takes the files over

	backups sync.WaitGroup // files that are parked or moving
}

func (ls *unsharedFiles) init() {
	ls.ids, ls.names, ls.hidden = map[uint64]*unshared{}, map[fileKey]*unshared{}, map[fileKey]*unshared{}
}

// to takes a file from one state to another, and reports whether it was in the first, and may be in the second.
func (ls *unsharedFiles) to(l *unshared, from, to fileState) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return ls.toLocked(l, from, to)
}

func (ls *unsharedFiles) toLocked(l *unshared, from, to fileState) bool {
	if !l.is(from) || !slices.Contains(becomes[from], to) || to == parked && !ls.parkLocked(l, from) {
		return false
	}
	l.state.Store(uint32(to))
	b := l.backup
	switch from {
	case parked:
		b.timer.Stop()
		delete(ls.hidden, b.key)
	case moving:
		close(b.moved)
	}
	switch to {
	case moving:
		b.moved = make(chan struct{})
	case temporary:
		ls.backups.Done()
	case kept:
		close(l.done)
	case shared, removed:
		if from != kept {
			close(l.done)
		}
		if from == moving {
			ls.backups.Done()
		}
		ls.forgetLocked(l, to)
	}
	return true
}

// forgetLocked takes a file that is shared or removed out of its directory. Descriptors keep it. The number of one that is
// shared goes on standing for the variable, if that has another (somebody else made it first, or the file was a temporary).
func (ls *unsharedFiles) forgetLocked(l *unshared, to fileState) {
	close(l.ended)
	if l.record != nil {
		ls.estate.RemoveDraft(l.record)
		l.record = nil
	}
	if k := (fileKey{l.parent, l.name}); ls.names[k] == l {
		delete(ls.names, k)
	}
	if v := l.committed(); ls.ids[l.id] == l && (to == removed || v.ID() == l.id) {
		delete(ls.ids, l.id)
	}
}

// was makes a file that has become a variable by another number, as another process has left it.
func (ls *unsharedFiles) was(id uint64, v *varsync.Variable) {
	l := &unshared{id: id, v: v, done: make(chan struct{}), ended: make(chan struct{})}
	l.state.Store(uint32(shared))
	close(l.done)
	close(l.ended)
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.ids[id] == nil {
		ls.ids[id] = l
	}
}

// end takes a file to its last state, whichever it is in that may become it.
func (ls *unsharedFiles) end(l *unshared, to fileState) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.toLocked(l, fileState(l.state.Load()), to)
}

func (ls *unsharedFiles) byID(id uint64) *unshared {
	ls.mu.RLock()
	defer ls.mu.RUnlock()
	return ls.ids[id]
}

func (ls *unsharedFiles) byName(parent uint64, name string) *unshared {
	ls.mu.RLock()
	defer ls.mu.RUnlock()
	return ls.names[fileKey{parent, name}]
}

// in returns the files of a directory.
func (ls *unsharedFiles) in(parent uint64) []*unshared {
	ls.mu.RLock()
	defer ls.mu.RUnlock()
	var out []*unshared
	for k, l := range ls.names {
		if k.parent == parent {
			out = append(out, l)
		}
	}
	return out
}

// add makes a file, a draft or a temporary. id 0 takes the next one of the mount's own.
func (ls *unsharedFiles) add(id, parent uint64, name string, s fileState, mode model.Mode) *unshared {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if id == 0 {
		ls.next++
		id = unsharedBit | ls.next
	}
	l := &unshared{id: id, parent: parent, name: name, mode: mode, mtime: time.Now(), done: make(chan struct{}), ended: make(chan struct{})}
	l.state.Store(uint32(s))
	if ls.estate != nil && s == draft {
		l.record = ls.estate.AddDraft(id, uint32(mode), parent, name)
	}
	ls.ids[id] = l
	ls.names[fileKey{parent, name}] = l
	return l
}

// noteDescribed notes for an heir what a draft has been given.
func (ls *unsharedFiles) noteDescribed(l *unshared) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if l.record == nil {
		return
	}
	d := l.described()
	l.record.Describe(uint32(d.mode), d.hasMTime, d.mtime)
}

// forgotten is called when the kernel has let go of a number: one that stood for a variable of another number ends.
func (ls *unsharedFiles) forgotten(id uint64) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if l := ls.ids[id]; l != nil && l.committed() != nil {
		delete(ls.ids, id)
	}
}

// where tells where a file is, and whether it has been removed.
func (ls *unsharedFiles) where(l *unshared) (parent uint64, name string, gone bool) {
	ls.mu.RLock()
	defer ls.mu.RUnlock()
	return l.parent, l.name, l.is(removed)
}

// move gives a file another name; what had the name is gone.
func (ls *unsharedFiles) move(l *unshared, parent uint64, name string) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	k := fileKey{parent, name}
	if old := ls.names[k]; old != nil && old != l {
		ls.toLocked(old, fileState(old.state.Load()), removed)
	}
	if was := (fileKey{l.parent, l.name}); ls.names[was] == l {
		delete(ls.names, was)
	}
	l.parent, l.name = parent, name
	if l.record != nil {
		l.record.Move(parent, name)
	}
	ls.names[k] = l
}

// become records the variable that a file has become, for its descriptors too.
func (f *FS) become(l *unshared, v *varsync.Variable) {
	f.handles.become(l.id, v)
	l.mu.Lock()
	l.v = v
	l.mu.Unlock()
	f.unshared.end(l, shared)
}
