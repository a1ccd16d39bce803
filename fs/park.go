package fs

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"syscall"
	"time"

	"github.com/commy-project/commyfs/internal/names"
	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// parkTime is how long a variable that was renamed to a temporary name stays what it was at the server.
const parkTime = 2 * time.Second

// parked is a variable that was renamed to a temporary name: an editor makes a backup and is about to write the file
// anew. Until its name is made again, or parkTime has passed, the server is not told: the variable keeps its number, its
// watchers and, for everybody else, its value. In this mount its name is gone, and the temporary name is a local file
// with the value it had.
type parked struct {
	v     *varsync.Variable
	l     *local
	was   []byte // the value that l began with
	key   localKey
	timer *time.Timer
	done  chan struct{} // closed when it is over
	tried bool          // it could not be carried out, and that was logged
}

// mayPark reports whether the server can be expected to carry the rename out later: a refusal has to come at once.
func mayPark(v *varsync.Variable) bool {
	const need = model.RightCreate | model.RightDelete
	return v.Service().Tenant().Rights()&need == need
}

// park starts it. The caller has checked that the names are such.
func (f *FS) park(v *varsync.Variable, m move) error {
	ctx, cancel := f.opContext()
	defer cancel()
	if err := v.Flush(ctx); err != nil {
		f.log.Debug("writes before a rename", "err", err)
	}
	value, _, err := v.Load(nil)
	if err != nil {
		return err
	}
	if d, ok := m.dst.(*local); ok {
		if err := f.discard(d); err != nil {
			return err
		}
	}
	p := &parked{v: v, was: value, key: localKey{m.oldDir, m.oldName}, done: make(chan struct{})}
	p.l = f.locals.add(0, m.newDir, m.newName, true, v.Mode())
	p.l.mu.Lock()
	p.l.data = slices.Clone(value)
	p.l.mu.Unlock()
	f.hide(p)
	return nil
}

// over ends the parking of what was taken.
func (f *FS) over(p *parked) {
	close(p.done)
	f.parking.Done()
}

// reclaim makes the name of a parked variable stand for it again: somebody creates the file, or moves another over it.
// It returns nil if nothing of that name is parked.
func (f *FS) reclaim(parent uint64, name string) *varsync.Variable {
	p := f.locals.parkedOf(parent, name)
	if p == nil || !f.locals.take(p) {
		return nil
	}
	f.over(p)
	return p.v
}

// unpark carries the rename out at the server: nobody has made the name again. It does nothing if somebody has, or is
// carrying it out already.
func (f *FS) unpark(p *parked) error {
	if !f.locals.take(p) {
		return nil
	}
	defer f.over(p)
	return f.carryOut(p)
}

// later is unpark when the time is over, or the mount.
func (f *FS) later(p *parked) {
	if err := f.unpark(p); err != nil && !p.tried {
		parent, name, _ := f.locals.where(p.l)
		f.log.Warn("a rename to a temporary name could not be carried out", "file", names.Path(append(pathOfDir(f.node(parent)), name)), "err", err)
	}
}

// unparkName carries out what keeps a name from being made into something that is no variable.
func (f *FS) unparkName(parent uint64, name string) error {
	p := f.locals.parkedOf(parent, name)
	if p == nil {
		return nil
	}
	return f.unpark(p)
}

// carryOut tells the server what the variable is called by now. The rename was acknowledged: where it cannot be done, the
// backup stays what it is.
func (f *FS) carryOut(p *parked) error {
	ctx, cancel := f.opContext()
	defer cancel()
	parent, name, _ := f.locals.where(p.l)
	to, err := f.place(parent)
	if err == nil {
		err = f.moveParked(ctx, p, to, name)
	}
	switch {
	case err == nil:
		v, _ := f.lookup(to, name).(*varsync.Variable)
		err = f.handOver(ctx, p.l, p.was, v)
	case f.parkAgain(p, err):
		return err
	default:
		err = f.keepBackup(ctx, p, move{to: to, newName: name}, err)
	}
	f.kernel.Refresh(parent, fileName(name, to.level))
	return err
}

func (f *FS) moveParked(ctx context.Context, p *parked, to place, name string) error {
	ch := model.Change{Op: model.OpRename, ID: p.v.ID()}
	ch.ToTenant, ch.ToService, ch.ToName = to.target(name)
	_, err := f.c.Report(ctx, ch)
	return err
}

// parkAgain starts anew what was taken and did not succeed, if the server could not be asked and the mount goes on.
func (f *FS) parkAgain(p *parked, err error) bool {
	switch model.CodeOf(err) {
	case model.CodeUnavailable, model.CodeDisconnected:
		return f.hide(p.again())
	}
	return errors.Is(err, context.DeadlineExceeded) && f.hide(p.again())
}

// again is what was taken, to be parked once more.
func (p *parked) again() *parked {
	return &parked{v: p.v, l: p.l, was: p.was, key: p.key, done: make(chan struct{}), tried: true}
}

// hide has a variable be parked, unless another of its name is, or the mount ends.
func (f *FS) hide(p *parked) bool {
	f.locals.mu.Lock()
	defer f.locals.mu.Unlock()
	if f.locals.ending || f.locals.hidden[p.key] != nil {
		return false
	}
	f.parking.Add(1)
	f.locals.hidden[p.key] = p
	p.timer = time.AfterFunc(parkTime, func() { f.later(p) })
	return true
}

// keepBackup is for a variable that cannot be moved, for a reason that stays. If that has the backup's value still, the
// backup has nothing of its own; else it becomes a variable, or, should that be refused as well, stays in this mount.
func (f *FS) keepBackup(ctx context.Context, p *parked, m move, cause error) error {
	p.l.mu.Lock()
	data := slices.Clone(p.l.data)
	p.l.mu.Unlock()
	if !p.v.Gone() && bytes.Equal(data, p.was) {
		f.locals.remove(p.l)
		return cause
	}
	if m.to.dir == nil {
		return cause
	}
	v, err := f.publish(ctx, m, data, p.l.described())
	if err != nil {
		return errors.Join(cause, err)
	}
	return f.handOver(ctx, p.l, data, v)
}

// renameBackup moves the backup of a parked variable: back to where it was only what was written to it counts, anywhere
// else the variable moves there.
func (f *FS) renameBackup(p *parked, m move) error {
	if m.to.dir == nil {
		return syscall.EPERM
	}
	if m.dst != nil && isDir(m.dst) {
		return syscall.EISDIR
	}
	d, _ := m.dst.(*local)
	if d == p.l {
		d = nil
	}
	if d != nil {
		if err := d.hold(); err != nil {
			return err
		}
		defer d.release()
	}
	if !f.locals.take(p) {
		<-p.done
		return syscall.ESTALE // the backup has just become the variable: the kernel looks again
	}
	defer f.over(p)
	ctx, cancel := f.opContext()
	defer cancel()
	if p.key == (localKey{m.newDir, m.newName}) {
		v, was := p.v, p.was
		if v.Gone() { // removed by somebody else: it is made anew
			p.l.mu.Lock()
			was = slices.Clone(p.l.data)
			p.l.mu.Unlock()
			var err error
			if v, err = f.publish(ctx, m, was, p.l.described()); err != nil {
				return err
			}
		}
		err := f.handOver(ctx, p.l, was, v)
		return err
	}
	if err := f.moveParked(ctx, p, m.to, m.newName); err != nil {
		f.hide(p.again())
		return err
	}
	var err error
	if d != nil {
		err = f.discardHeld(d)
	}
	f.locals.move(p.l, m.newDir, m.newName)
	v, _ := f.lookup(m.to, m.newName).(*varsync.Variable)
	err = errors.Join(err, f.handOver(ctx, p.l, p.was, v))
	return err
}

// discard removes a file of this mount.
func (f *FS) discard(l *local) error {
	if err := l.hold(); err != nil {
		return err
	}
	defer l.release()
	return f.discardHeld(l)
}

// discardHeld is discard of what the caller holds. Removing the backup of a parked variable removes the variable.
func (f *FS) discardHeld(l *local) error {
	p := f.locals.parkedAs(l)
	if p == nil {
		f.locals.remove(l)
		return nil
	}
	if !f.locals.take(p) {
		<-p.done
		return syscall.ESTALE
	}
	defer f.over(p)
	ctx, cancel := f.opContext()
	defer cancel()
	_, err := f.c.Report(ctx, model.Change{Op: model.OpDelete, ID: p.v.ID()})
	if err != nil && !errors.Is(err, model.ErrNotFound) {
		f.hide(p.again())
		return err
	}
	f.locals.remove(l)
	return err
}

// unparkAll carries out what is waiting, at the end of the mount.
func (f *FS) unparkAll() {
	f.locals.mu.Lock()
	f.locals.ending = true
	var all []*parked
	for _, p := range f.locals.hidden {
		all = append(all, p)
	}
	f.locals.mu.Unlock()
	for _, p := range all {
		f.later(p)
	}
	f.parking.Wait()
}

// take ends a variable's being parked. One caller gets true: it has to call over.
func (ls *locals) take(p *parked) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.hidden[p.key] != p {
		return false
	}
	p.timer.Stop()
	delete(ls.hidden, p.key)
	return true
}

// parkedOf returns the parked variable whose name it is.
func (ls *locals) parkedOf(parent uint64, name string) *parked {
	ls.mu.RLock()
	defer ls.mu.RUnlock()
	return ls.hidden[localKey{parent, name}]
}

// isHidden reports whether a name stands for a parked variable, which this mount does not show.
func (ls *locals) isHidden(parent uint64, name string) bool { return ls.parkedOf(parent, name) != nil }

// parkedAs returns the parked variable whose backup l is.
func (ls *locals) parkedAs(l *local) *parked {
	ls.mu.RLock()
	defer ls.mu.RUnlock()
	for _, p := range ls.hidden {
		if p.l == l {
			return p
		}
	}
	return nil
}
