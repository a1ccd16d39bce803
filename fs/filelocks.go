package fs

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/internal/locks"
	"github.com/commy-project/commyfs/model"
)

// fileLocks is what the mount knows of locks: those of files that only it has, and by which descriptors others were taken.
type fileLocks struct {
	old  sync.Once    // the log says that the server knows of no locks
	some atomic.Bool  // somebody has asked for a lock
	lost atomic.Int64 // descriptors that have lost one

	mu      sync.Mutex   // guards the following; a leaf
	table   *locks.Table // of files that only this mount has, by the kernel's numbers
	waits   map[*locks.Waiter]chan struct{}
	owners  map[lockOwner]map[*handle]struct{} // by which descriptors each has taken locks
	ids     map[*handle]map[lockOwner]struct{}
	losers  map[*handle]map[lockOwner]struct{}
	fences  map[uint64]int // descriptors that have lost a lock of a variable
	ranged  map[uint64]struct{}
	closing map[*handle]chan struct{}         // descriptors with locks that are being released
	others  map[uint64]map[lockOwner]struct{} // by which owners locks were taken by a descriptor of what is neither variable nor its like
}

// lockOwner is who has locks of a variable.
type lockOwner struct {
	id    uint64
	kind  model.LockKind
	owner uint64
}

const (
	maxLocksHere = 64 << 10
	maxRanged    = 64 << 10
)

func (ls *fileLocks) init() {
	ls.table = locks.New(locks.Limits{Total: maxLocksHere})
	ls.waits, ls.owners, ls.ids = map[*locks.Waiter]chan struct{}{}, map[lockOwner]map[*handle]struct{}{}, map[*handle]map[lockOwner]struct{}{}
	ls.losers, ls.fences, ls.ranged = map[*handle]map[lockOwner]struct{}{}, map[uint64]int{}, map[uint64]struct{}{}
	ls.closing, ls.others = map[*handle]chan struct{}{}, map[uint64]map[lockOwner]struct{}{}
}

// ranges notes that somebody uses fcntl locks of a file: who closes it from now on says so.
func (ls *fileLocks) ranges(node uint64) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if len(ls.ranged) < maxRanged {
		ls.ranged[node] = struct{}{}
	}
}

// unranged forgets that of a file that nobody has open any more.
func (ls *fileLocks) unranged(f *FS, node uint64) {
	if !ls.isRanged(node) {
		return
	}
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if len(f.handles.of(node)) == 0 {
		delete(ls.ranged, node)
	}
}

func (ls *fileLocks) isRanged(node uint64) bool {
	if !ls.some.Load() {
		return false
	}
	ls.mu.Lock()
	defer ls.mu.Unlock()
	_, ok := ls.ranged[node]
	return ok
}

// takes notes that an owner takes a lock by a descriptor, of a variable, or (0) of what only this mount has. What the owner has
// by descriptors that are being released is given up when it returns: it would be taken for this lock.
func (ls *fileLocks) takes(ctx context.Context, h *handle, o lockOwner) {
	ls.some.Store(true)
	ls.mu.Lock()
	if ls.owners[o] == nil {
		ls.owners[o] = map[*handle]struct{}{}
	}
	ls.owners[o][h] = struct{}{}
	if ls.ids[h] == nil {
		ls.ids[h] = map[lockOwner]struct{}{}
	}
	ls.ids[h][o] = struct{}{}
	h.locked.Store(true)
	var released []chan struct{}
	for other := range ls.owners[o] {
		if done := ls.closing[other]; done != nil && other != h {
			released = append(released, done)
		}
	}
	ls.mu.Unlock()
	for _, done := range released {
		select {
		case <-done:
		case <-ctx.Done():
		}
	}
}

// idsOf returns the variables of which an owner can have locks by a descriptor, with the present one of the descriptor.
func (ls *fileLocks) idsOf(h *handle, l model.Lock, present uint64) (ids []uint64) {
	handles := append(h.fs.handles.of(h.node), h)
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if present != 0 {
		ids = append(ids, present)
	}
	for _, other := range handles {
		for o := range ls.ids[other] {
			if o.kind == l.Kind && o.owner == l.Owner && o.id != 0 && !slices.Contains(ids, o.id) {
				ids = append(ids, o.id)
			}
		}
	}
	return ids
}

// lose notes that a lock is lost. All descriptors by which it was taken are marked until they are closed.
func (ls *fileLocks) lose(l model.Lock) {
	o := lockOwner{l.ID, l.Kind, l.Owner}
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for h := range ls.owners[o] {
		if ls.losers[h] == nil {
			ls.losers[h] = map[lockOwner]struct{}{}
		}
		if _, again := ls.losers[h][o]; !again {
			ls.losers[h][o] = struct{}{}
			ls.fences[l.ID]++
			ls.lost.Add(1)
		}
	}
}

func (ls *fileLocks) isLost(id uint64) bool {
	if ls.lost.Load() == 0 {
		return false
	}
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return ls.fences[id] > 0
}

// hasLost reports whether an owner has lost a lock that it took by a descriptor.
func (ls *fileLocks) hasLost(h *handle, l model.Lock) bool {
	if ls.lost.Load() == 0 {
		return false
	}
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for o := range ls.losers[h] {
		if o.kind == l.Kind && o.owner == l.Owner {
			return true
		}
	}
	return false
}

// closes notes that a descriptor is being released, and returns which owners' locks end with it. closed is to be called when they
// are given up. Nobody waits for a release: meanwhile an owner can have taken locks by another descriptor of the file, that are
// not to end, because a process has opened it again, or because the kernel has given an open file description the number of
// this one.
func (ls *fileLocks) closes(h *handle) (owners []lockOwner, closed func()) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for o := range ls.ids[h] {
		if !ls.hasOtherLocked(o, h) {
			owners = append(owners, o)
		}
	}
	done := make(chan struct{})
	ls.closing[h] = done
	return owners, func() {
		ls.mu.Lock()
		defer ls.mu.Unlock()
		for o := range ls.ids[h] {
			if delete(ls.owners[o], h); len(ls.owners[o]) == 0 {
				delete(ls.owners, o)
			}
		}
		delete(ls.ids, h)
		for o := range ls.losers[h] {
			if ls.fences[o.id]--; ls.fences[o.id] == 0 {
				delete(ls.fences, o.id)
			}
			ls.lost.Add(-1)
		}
		delete(ls.losers, h)
		delete(ls.closing, h)
		close(done)
	}
}

// hasOtherLocked reports whether an owner has taken locks of a descriptor's file by another one that is open.
func (ls *fileLocks) hasOtherLocked(o lockOwner, h *handle) bool {
	for other := range ls.owners[o] {
		if other != h && ls.closing[other] == nil && (o.id != 0 || other.node == h.node) {
			return true
		}
	}
	return false
}

// closesOther gives up the locks of a descriptor that has no handle.
func (ls *fileLocks) closesOther(in *fuse.ReleaseIn) {
	if !ls.some.Load() {
		return
	}
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for o := range ls.others[in.Fh] {
		granted, _ := ls.table.Release(in.NodeId, hereLock(model.Lock{Kind: o.kind, Owner: o.owner, End: model.MaxLockOffset}))
		ls.wakeLocked(granted)
	}
	delete(ls.others, in.Fh)
}

// awaitReleases waits for the descriptors that are being released.
func (ls *fileLocks) awaitReleases(most time.Duration) {
	ls.mu.Lock()
	var list []chan struct{}
	for _, done := range ls.closing {
		list = append(list, done)
	}
	ls.mu.Unlock()
	t := time.NewTimer(most)
	defer t.Stop()
	for _, done := range list {
		select {
		case <-done:
		case <-t.C:
			return
		}
	}
}

func hereLock(l model.Lock) locks.Lock {
	return locks.Lock{
		Kind: locks.Kind(l.Kind), Owner: locks.Owner{ID: l.Owner}, Exclusive: l.Exclusive, Start: l.Start, End: l.End, Described: l.Described,
		Pid: l.Pid, Program: l.Program,
	}
}

// here gets a lock of a file that only this mount has, or a place in the line, and what is closed when that is granted.
func (ls *fileLocks) here(h *handle, in *fuse.LkIn, l model.Lock, wait bool) (<-chan struct{}, *locks.Waiter, error) {
	ls.some.Store(true)
	ls.mu.Lock()
	defer ls.mu.Unlock()
	w, granted, err := ls.table.Acquire(in.NodeId, hereLock(l), wait, 0)
	ls.wakeLocked(granted)
	if err != nil {
		return nil, nil, lockErrno[err]
	}
	if h == nil {
		o := lockOwner{0, l.Kind, l.Owner}
		if ls.others[in.Fh] == nil {
			ls.others[in.Fh] = map[lockOwner]struct{}{}
		}
		ls.others[in.Fh][o] = struct{}{}
	}
	if w == nil {
		return nil, nil, nil
	}
	c := make(chan struct{})
	ls.waits[w] = c
	return c, w, nil
}

func (ls *fileLocks) wakeLocked(granted []*locks.Waiter) {
	for _, w := range granted {
		close(ls.waits[w])
		delete(ls.waits, w)
	}
}

func (ls *fileLocks) cancelHere(w *locks.Waiter) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	granted, ok := ls.table.Cancel(w)
	ls.wakeLocked(granted)
	if ok {
		delete(ls.waits, w)
	}
	return ok
}

func (ls *fileLocks) releaseHere(node uint64, l model.Lock) {
	if !ls.some.Load() {
		return
	}
	ls.mu.Lock()
	defer ls.mu.Unlock()
	granted, _ := ls.table.Release(node, hereLock(l))
	ls.wakeLocked(granted)
}

func (ls *fileLocks) conflict(node uint64, l model.Lock) (locks.Lock, bool) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return ls.table.Conflict(node, hereLock(l))
}
