package fs

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/commy-project/commyfs/internal/names"
	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// parkTime is how long a variable that was renamed to a temporary name stays what it was at the server.
const parkTime = 2 * time.Second

// backup is a variable that was renamed to a temporary name: an editor makes a backup and is about to write the file
// anew. Until its name is made again, or parkTime has passed, the server is not told: the variable keeps its number, its
// watchers and, for everybody else, its value. In this mount its name is gone, and the temporary name is a file of the mount
// with the value it had.
type backup struct {
	v       *varsync.Variable
	was     []byte // the value that the file began with
	version uint64 // of that value
	key     fileKey
	timer   *time.Timer
	moved   chan struct{} // closed when the file is not moving any more
	warned  atomic.Bool   // it could not be carried out, and that was logged
}

// variable is the variable, wherever it is by now.
func (b *backup) variable() *varsync.Variable { return b.v.Now() }

// mayPark reports whether the server can be expected to carry the rename out later: a refusal has to come at once.
func mayPark(v *varsync.Variable) bool {
	const need = model.RightCreate | model.RightDelete
	return v.Service().Tenant().Rights()&need == need
}

// park starts it. The caller has checked that the names are such.
func (f *FS) park(m move) error {
	v := m.src.(*varsync.Variable)
	ctx, cancel := f.opContext()
	defer cancel()
	if err := v.Flush(ctx); err != nil {
		f.log.Debug("writes before a rename", "err", err)
	}
	value, meta, err := v.Load(nil)
	if err != nil {
		return err
	}
	if d, ok := m.dst.(*unshared); ok {
		if err := f.discard(d); err != nil {
			return err
		}
	}
	l := f.unshared.add(0, m.newDir, m.newName, temporary, v.Mode())
	l.mu.Lock()
	l.data = slices.Clone(value)
	l.mu.Unlock()
	l.backup = &backup{v: v, was: value, version: meta.Version, key: fileKey{m.oldDir, m.oldName}}
	l.backup.timer = time.AfterFunc(parkTime, func() { f.later(l) })
	f.unshared.to(l, temporary, parked)
	return nil
}

// parkLocked has a variable be parked, unless another of its name is, or the mount ends.
func (ls *unsharedFiles) parkLocked(l *unshared, from fileState) bool {
	b := l.backup
	if ls.ending || ls.hidden[b.key] != nil {
		return false
	}
	if from == temporary {
		ls.backups.Add(1)
	}
	ls.hidden[b.key] = l
	b.timer.Reset(parkTime)
	return true
}

// moves makes a parked file one that is moving, which the caller ends. A file that has just been is what the server has made
// of it: the kernel, told ESTALE, looks again.
func (f *FS) moves(l *unshared) error {
	if f.unshared.to(l, parked, moving) {
		return nil
	}
	f.unshared.mu.RLock()
	moved := l.backup.moved
	f.unshared.mu.RUnlock()
	if moved != nil {
		<-moved
	}
	return syscall.ESTALE
}

// stays ends what was moving and has become nothing else: it is parked once more, or stays in this mount.
func (f *FS) stays(l *unshared, again bool) bool {
	if again && f.unshared.to(l, moving, parked) {
		return true
	}
	f.unshared.to(l, moving, temporary)
	return false
}

// reclaim makes the name of a parked variable stand for it again: somebody creates the file, or moves another over it.
// It returns nil if nothing of that name is parked, else also the version that the variable had when it was.
func (f *FS) reclaim(parent uint64, name string) (v *varsync.Variable, version uint64) {
	l := f.unshared.parkedOf(parent, name)
	if l == nil || !f.unshared.to(l, parked, temporary) {
		return nil, 0
	}
	return l.backup.variable(), l.backup.version
}

// unpark carries the rename out at the server: nobody has made the name again. It does nothing if somebody has, or is
// carrying it out already.
func (f *FS) unpark(l *unshared) error {
	if !f.unshared.to(l, parked, moving) {
		return nil
	}
	return f.carryOut(l)
}

// later is unpark when the time is over, or the mount.
func (f *FS) later(l *unshared) {
	if err := f.unpark(l); err != nil && !l.backup.warned.Swap(true) {
		parent, name, _ := f.unshared.where(l)
		f.log.Warn("a rename to a temporary name could not be carried out", "file", names.Path(append(pathOfDir(f.node(parent)), name)), "err", err)
	}
}

// unparkName carries out what keeps a name from being made into something that is no variable.
func (f *FS) unparkName(parent uint64, name string) error {
	l := f.unshared.parkedOf(parent, name)
	if l == nil {
		return nil
	}
	return f.unpark(l)
}

// carryOut tells the server what the variable is called by now. The rename was acknowledged: where it cannot be done, the
// backup stays what it is.
func (f *FS) carryOut(l *unshared) error {
	ctx, cancel := f.opContext()
	defer cancel()
	parent, name, _ := f.unshared.where(l)
	to, err := f.place(parent)
	if err == nil {
		err = f.moveParked(ctx, l, to, name)
	}
	switch {
	case err == nil:
		v, _ := f.lookup(to, name).(*varsync.Variable)
		err = f.handOver(ctx, l, l.backup.was, v)
	case unreachable(err) && f.stays(l, true):
		return err
	default:
		err = f.keepBackup(ctx, l, move{to: to, newName: name}, err)
	}
	f.stays(l, false)
	f.kernel.Refresh(parent, fileName(name, to.level))
	return err
}

func (f *FS) moveParked(ctx context.Context, l *unshared, to place, name string) error {
	ch := model.Change{Op: model.OpRename, ID: l.backup.variable().ID()}
	return f.atPlaces(ctx, func() error {
		to.aimTo(&ch, name)
		_, err := f.c.Report(ctx, ch)
		return err
	}, &to)
}

// unreachable reports whether an error is that the server could not be asked.
func unreachable(err error) bool {
	switch model.CodeOf(err) {
	case model.CodeUnavailable, model.CodeDisconnected:
		return true
	}
	return errors.Is(err, context.DeadlineExceeded)
}

// keepBackup is for a variable that cannot be moved, for a reason that stays. If that has the backup's value still, the
// backup has nothing of its own; else it becomes a variable, or, should that be refused as well, stays in this mount.
func (f *FS) keepBackup(ctx context.Context, l *unshared, m move, cause error) error {
	data := l.content()
	if !l.backup.variable().Gone() && bytes.Equal(data, l.backup.was) {
		f.unshared.end(l, removed)
		return cause
	}
	if m.to.dir == nil {
		return cause
	}
	v, err := f.publish(ctx, m, data, l.described())
	if err != nil {
		return errors.Join(cause, err)
	}
	return f.handOver(ctx, l, data, v)
}

// renameBackup moves the backup of a parked variable: back to where it was only what was written to it counts, anywhere
// else the variable moves there.
func (f *FS) renameBackup(m move) error {
	l := m.src.(*unshared)
	release, err := m.hold()
	if err != nil {
		return err
	}
	defer release()
	if err := f.moves(l); err != nil {
		return err
	}
	defer f.stays(l, false)
	ctx, cancel := f.opContext()
	defer cancel()
	if l.backup.key == (fileKey{m.newDir, m.newName}) {
		v, was := l.backup.variable(), l.backup.was
		if v.Gone() { // removed by somebody else: it is made anew
			was = l.content()
			if v, err = f.publish(ctx, m, was, l.described()); err != nil {
				return err
			}
		}
		return f.handOver(ctx, l, was, v)
	}
	if err := f.moveParked(ctx, l, m.to, m.newName); err != nil {
		f.stays(l, true)
		return err
	}
	err = f.discardReplaced(m)
	f.unshared.move(l, m.newDir, m.newName)
	v, _ := f.lookup(m.to, m.newName).(*varsync.Variable)
	return errors.Join(err, f.handOver(ctx, l, l.backup.was, v))
}

// discard removes a file of this mount.
func (f *FS) discard(l *unshared) error {
	if err := l.hold(); err != nil {
		return err
	}
	defer l.naming.Unlock()
	return f.discardHeld(l)
}

// discardHeld is discard of what the caller holds. Removing the backup of a parked variable removes the variable.
func (f *FS) discardHeld(l *unshared) error {
	if !l.is(parked) && !l.is(moving) {
		f.unshared.end(l, removed)
		return nil
	}
	if err := f.moves(l); err != nil {
		return err
	}
	ctx, cancel := f.opContext()
	defer cancel()
	_, err := f.c.Report(ctx, model.Change{Op: model.OpDelete, ID: l.backup.variable().ID()})
	if err != nil && !errors.Is(err, model.ErrNotFound) {
		f.stays(l, true)
		return err
	}
	f.unshared.to(l, moving, removed)
	return err
}

// unparkAll carries out what is waiting, at the end of the mount.
func (f *FS) unparkAll() {
	f.unshared.mu.Lock()
	f.unshared.ending = true
	all := slices.Collect(maps.Values(f.unshared.hidden))
	f.unshared.mu.Unlock()
	for _, l := range all {
		f.later(l)
	}
	f.unshared.backups.Wait()
}

// parkedOf returns the backup of the parked variable whose name it is. This mount does not show that.
func (ls *unsharedFiles) parkedOf(parent uint64, name string) *unshared {
	ls.mu.RLock()
	defer ls.mu.RUnlock()
	return ls.hidden[fileKey{parent, name}]
}

// hiddenIn returns the names in a directory that stand for a parked variable.
func (ls *unsharedFiles) hiddenIn(parent uint64) map[string]struct{} {
	ls.mu.RLock()
	defer ls.mu.RUnlock()
	hidden := map[string]struct{}{}
	for k := range ls.hidden {
		if k.parent == parent {
			hidden[k.name] = struct{}{}
		}
	}
	return hidden
}

// isHidden reports whether a name stands for a parked variable, which this mount does not show.
func (ls *unsharedFiles) isHidden(parent uint64, name string) bool {
	return ls.parkedOf(parent, name) != nil
}
