package fs

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/fs/estate"
	"github.com/commy-project/commyfs/internal/locks"
	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// Locks of variables are the server's (S15), those of files that only this mount has are its own. A file that has been made and not
// committed is committed first, as the empty value: who locks it wants others to see it.
//
// The kernel sends all locks here, and keeps no list of them. So it does not unlock fcntl locks by itself: a process that closes a
// file gives up its locks with FLUSH, an open file description its own with RELEASE. Descriptors that do not write send no FLUSH
// (FOPEN_NOFLUSH), until somebody has used fcntl locks of the file. Whatever was locked by a descriptor ends with its RELEASE.

// GetLk tells who is in the way of an fcntl lock.
func (f *FS) GetLk(_ <-chan struct{}, in *fuse.LkIn, out *fuse.LkOut) (status fuse.Status) {
	defer f.end(f.begin("getlk", &in.InHeader), &status)
	out.Lk.Typ = syscall.F_UNLCK
	l := f.lockOf(in)
	if h, ok := f.locks.conflict(in.NodeId, l); ok {
		out.Lk = fuse.FileLock{Start: h.Start, End: h.End, Typ: lockType(h.Exclusive), Pid: uint32(h.Pid)}
		return fuse.OK
	}
	v, _, err := f.lockable(in, false)
	if v == nil || err != nil {
		return f.errno("getlk", err)
	}
	ctx, cancel := f.opContext()
	defer cancel()
	l.ID = v.ID()
	t, err := f.c.TestLock(ctx, l)
	switch code := model.CodeOf(err); {
	case code == model.CodeUnsupported || code == model.CodeNotFound:
	case err != nil:
		return f.errno("getlk", err)
	case t.Held:
		out.Lk = fuse.FileLock{Start: t.By.Start, End: t.By.End, Typ: lockType(t.By.Exclusive)}
		if t.Near { // elsewhere the number means nothing here
			out.Lk.Pid = uint32(t.By.Pid)
		}
	}
	return fuse.OK
}

func lockType(exclusive bool) uint32 {
	if exclusive {
		return syscall.F_WRLCK
	}
	return syscall.F_RDLCK
}

// SetLk locks, or says at once that somebody else has the lock, or unlocks.
func (f *FS) SetLk(_ <-chan struct{}, in *fuse.LkIn) (status fuse.Status) {
	t := f.begin("lock", &in.InHeader)
	defer f.end(t, &status)
	if in.Lk.Typ == syscall.F_UNLCK {
		return f.errno("unlock", f.unlock(in))
	}
	return f.errno("lock", f.lock(t, nil, in))
}

// SetLkw locks, and waits for that as long as it takes, or until the caller is interrupted.
func (f *FS) SetLkw(interrupt <-chan struct{}, in *fuse.LkIn) (status fuse.Status) {
	t := f.begin("lock", &in.InHeader)
	defer f.end(t, &status)
	if in.Lk.Typ == syscall.F_UNLCK {
		return f.errno("unlock", f.unlock(in))
	}
	f.requests.blocks(t, true)
	defer f.requests.blocks(t, false)
	return f.errno("lock", f.lock(t, interrupt, in))
}

// lockOf is what a request asks for, of a variable that is to be found.
func (f *FS) lockOf(in *fuse.LkIn) model.Lock {
	l := model.Lock{Kind: model.LockRange, Owner: in.Owner, Exclusive: in.Lk.Typ == syscall.F_WRLCK, Start: in.Lk.Start, End: in.Lk.End, Pid: int(in.Lk.Pid)}
	if in.LkFlags&fuse.FUSE_LK_FLOCK != 0 {
		l.Kind, l.Start, l.End = model.LockFile, 0, model.MaxLockOffset
	}
	return l
}

// lockable returns the variable of a file, nil of one that only this mount has, which commit makes a variable if it is a draft.
// The handle is nil for what has none.
func (f *FS) lockable(in *fuse.LkIn, commit bool) (*varsync.Variable, *handle, error) {
	if isMemoryFh(in.Fh) || isControlFh(in.Fh) || in.Fh == pokeHandle {
		return nil, nil, nil
	}
	h := f.handles.get(in.Fh)
	if h == nil {
		return nil, nil, syscall.EBADF
	}
	h.mu.Lock()
	defer h.unlock()
	for {
		if _, ok := h.now().(*private); ok {
			return nil, h, nil
		}
		v := h.variable()
		if v != nil || !commit {
			return v, h, nil
		}
		if err := h.orMoved(f.commitDraft(h.l, nil, nil)); err != nil && err != errMoved {
			return nil, h, err
		}
	}
}

// lock gets a lock. Without a channel by which the caller is interrupted it does not wait for others.
func (f *FS) lock(t ticket, interrupt <-chan struct{}, in *fuse.LkIn) error {
	wait := interrupt != nil
	l := f.lockOf(in)
	if f.o.ReadOnly && l.Exclusive {
		return syscall.EROFS
	}
	v, h, err := f.lockable(in, true)
	if err != nil {
		return err
	}
	if l.Kind == model.LockRange {
		f.locks.ranges(in.NodeId)
		l.Described = wait && f.describes(in.Pid)
	}
	l.Program = programOf(in.Pid)
	ctx, cancel := f.lockContext(interrupt)
	defer cancel()
	if v == nil {
		return f.lockHere(ctx, h, in, l, wait)
	}
	l.ID, l.In = v.ID(), v.Service().ID()
	f.locks.takes(ctx, h, lockOwner{l.ID, l.Kind, l.Owner}) // before it is granted: it can be lost at once
	h.noteLock(l)
	defer f.noteUnlock(h, l.ID, 1)
	err = f.c.Lock(ctx, l, wait)
	if !wait && errors.Is(err, model.ErrLocked) && f.awaitRelease(l) {
		err = f.c.Lock(ctx, l, wait)
	}
	switch model.CodeOf(err) {
	case model.CodeUnsupported:
		f.locks.old.Do(func() {
			f.log.Warn("the server is too old to know of locks: flock and fcntl locks exclude only programs that use this mount")
		})
		return f.lockHere(ctx, h, in, l, wait)
	case model.CodeNotFound: // removed elsewhere
		return f.lockHere(ctx, h, in, l, wait)
	}
	if err != nil {
		return err
	}
	f.relocked(h, in)
	return nil
}

// noteLock has an heir know that a lock may be had by the descriptor.
func (h *handle) noteLock(l model.Lock) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asks++
	if h.record != nil {
		h.record.SetLock(estate.Lock{Owner: l.Owner, Kind: uint64(l.Kind)})
	}
}

// noteUnlock has an heir know that a descriptor has nothing to lose, if nobody has a lock of the variable any more, or asks for one:
// it was not granted, or was given up. over is how many have asked.
func (f *FS) noteUnlock(h *handle, id uint64, over int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asks -= over
	if h.record != nil && h.asks == 0 && !f.c.Locked(id) && !f.locks.isLost(id) {
		h.record.SetUnlocked()
	}
}

// relocked has the kernel, and who has locked, see what others have changed before they unlocked.
func (f *FS) relocked(h *handle, in *fuse.LkIn) {
	if !f.kernel.Await(awaitKernel) {
		f.log.Warn("the kernel may have older attributes than who had a lock before has left", "node", in.NodeId)
	}
	same := f.callers.processMates(in.Pid)
	for _, other := range f.handles.of(h.node) {
		if other == h || same(other.opener) {
			other.relocked.Store(true)
		}
	}
}

// awaitKernel is how long who gets a lock waits for the kernel to drop what is old. It takes longer only if somebody has a
// directory's lock and waits for the server.
const awaitKernel = time.Second

// lockContext ends when the caller is interrupted, or the mount ends.
func (f *FS) lockContext(interrupt <-chan struct{}) (context.Context, context.CancelFunc) {
	if interrupt == nil {
		return f.opContext()
	}
	ctx, cancel := context.WithCancel(f.ctx)
	go func() {
		select {
		case <-interrupt:
		case <-f.watchdog.hurry:
		case <-ctx.Done():
		}
		cancel()
	}()
	return ctx, cancel
}

const sysFcntl = syscall.SYS_FCNTL

// describes reports whether a thread asks for a lock of an open file description (F_OFD_SETLKW), as far as that can be seen: the
// kernel does not say. Any process that has the description can unlock it, so that to wait for it is no deadlock.
func (f *FS) describes(thread uint32) bool {
	const ofdSetLkw = 38
	nr, args := f.systemCall(thread)
	return nr == sysFcntl && len(args) > 1 && args[1] == ofdSetLkw
}

// awaitRelease waits until descriptors that were closed before are released here, if one of them can have a lock that is in the
// way: close does not wait for that. It reports whether to try again.
func (f *FS) awaitRelease(l model.Lock) bool {
	if !f.c.LockedByOther(l) {
		return false
	}
	time.Sleep(releaseBegins)
	f.locks.awaitReleases(awaitReleases)
	return true
}

const (
	// releaseBegins is how long a request for the release of a descriptor is on its way to its handler at most.
	releaseBegins = 2 * time.Millisecond
	// awaitReleases is how long those that are under way are waited for.
	awaitReleases = 200 * time.Millisecond
)

// unlock unlocks. Who has lost a lock is told.
func (f *FS) unlock(in *fuse.LkIn) error {
	l := f.lockOf(in)
	f.unlockHere(in.NodeId, l)
	v, h, err := f.lockable(in, false)
	if v == nil || err != nil {
		return err
	}
	lost := f.locks.hasLost(h, l) && !f.c.HasLock(v.ID(), l.Kind, l.Owner) // and has no other since
	ctx, cancel := f.opContext()
	defer cancel()
	for _, id := range f.locks.idsOf(h, l, v.ID()) {
		l.ID = id
		if err := f.c.Unlock(ctx, l); err != nil {
			return err
		}
	}
	if lost {
		return model.ErrLockLost
	}
	f.noteUnlock(h, v.ID(), 0)
	return nil
}

// unlockAll gives up all locks of one kind that an owner has of a file, as close does.
func (f *FS) unlockAll(h *handle, kind model.LockKind, owner uint64) {
	l := model.Lock{Kind: kind, Owner: owner, End: model.MaxLockOffset}
	f.unlockHere(h.node, l)
	for _, id := range f.locks.idsOf(h, l, 0) {
		if l.ID = id; !f.c.HasLock(id, kind, owner) {
			continue
		}
		ctx, cancel := f.opContext()
		if err := f.c.Unlock(ctx, l); err != nil {
			f.log.Debug("unlock at close", "node", h.node, "err", err)
		}
		cancel()
	}
}

// fenced reports whether a variable must not be written: a descriptor that had a lock of it and lost that is open, and nobody on
// this mount has one. Others can have it.
func (f *FS) fenced(v *varsync.Variable) error {
	if v != nil && f.locks.isLost(v.ID()) && !f.c.Locked(v.ID()) {
		return model.ErrLockLost
	}
	return nil
}

// locksLost is told by the client, which must not wait.
func (f *FS) locksLost(lost []model.Lock) {
	for _, l := range lost {
		f.locks.lose(l)
	}
	f.log.Error("locks were lost: the server was not heard of for too long, or has ended them", "locks", len(lost))
}

// lockHere gets a lock of a file that only this mount has.
func (f *FS) lockHere(ctx context.Context, h *handle, in *fuse.LkIn, l model.Lock, wait bool) error {
	if h != nil {
		f.locks.takes(ctx, h, lockOwner{0, l.Kind, l.Owner})
	}
	granted, w, err := f.locks.here(h, in, l, wait)
	if err != nil || w == nil {
		return err
	}
	select {
	case <-granted:
		return nil
	case <-ctx.Done():
		if f.locks.cancelHere(w) {
			return ctx.Err()
		}
		return nil
	}
}

func (f *FS) unlockHere(node uint64, l model.Lock) { f.locks.releaseHere(node, l) }

var lockErrno = map[error]syscall.Errno{
	locks.ErrHeld: syscall.EAGAIN, locks.ErrDeadlock: syscall.EDEADLK, locks.ErrTooMany: syscall.ENOLCK, locks.ErrRange: syscall.EINVAL,
}
