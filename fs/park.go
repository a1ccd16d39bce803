package fs

import (
	"bytes"
	"slices"
	"time"

	varsync "github.com/commy-project/commyfs/sync"
	"github.com/commy-project/commyfs/transport"
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
}

// park starts it. The caller has checked that the names are such.
func (f *FS) park(v *varsync.Variable, m move) error {
	value, _, err := v.Load(nil)
	if err != nil {
		return err
	}
	p := &parked{v: v, was: value, key: localKey{m.oldDir, m.oldName}}
	p.l = f.locals.add(0, m.newDir, m.newName, true)
	p.l.mu.Lock()
	p.l.data = slices.Clone(value)
	p.l.mu.Unlock()
	f.locals.mu.Lock()
	f.locals.hidden[p.key] = p
	p.timer = time.AfterFunc(parkTime, func() { f.unpark(p) })
	f.locals.mu.Unlock()
	f.notes.refreshName(m.newDir, m.newFile) // the kernel has the variable's node there now
	return nil
}

// reclaim makes the name of a parked variable stand for it again: somebody creates the file, or moves another over it.
// It returns nil if nothing of that name is parked.
func (f *FS) reclaim(parent uint64, name string) *varsync.Variable {
	if p := f.locals.takeHidden(parent, name); p != nil {
		return p.v
	}
	return nil
}

// unpark carries the rename out at the server: nobody has made the name again.
func (f *FS) unpark(p *parked) {
	if f.locals.takeHidden(p.key.parent, p.key.name) != p {
		return
	}
	parent, name, removed := f.locals.where(p.l)
	p.l.mu.Lock()
	data := p.l.data
	p.l.mu.Unlock()
	to, err := f.place(parent)
	if err == nil {
		err = f.moveParked(p, to, name, removed, data)
	}
	if err != nil {
		f.log.Warn("a rename to a temporary name could not be carried out", "variable", p.v.ID(), "err", err)
	}
	if !removed {
		f.locals.remove(p.l)
		f.notes.refreshName(parent, fileName(name, to.level))
	}
}

func (f *FS) moveParked(p *parked, to place, name string, removed bool, data []byte) error {
	ctx, cancel := f.opContext()
	defer cancel()
	if removed {
		_, err := f.c.Report(ctx, transport.Change{Op: transport.OpDelete, ID: p.v.ID()})
		return err
	}
	ch := transport.Change{Op: transport.OpRename, ID: p.v.ID()}
	ch.ToTenant, ch.ToService, ch.ToName = to.target(name)
	if _, err := f.c.Report(ctx, ch); err != nil {
		return err
	}
	if bytes.Equal(data, p.was) {
		return nil
	}
	_, err := p.v.Commit(ctx, varsync.Edit{Kind: varsync.EditReplace, Data: data})
	return err
}

// unparkAll carries out what is waiting, at the end of the mount.
func (f *FS) unparkAll() {
	f.locals.mu.RLock()
	var all []*parked
	for _, p := range f.locals.hidden {
		all = append(all, p)
	}
	f.locals.mu.RUnlock()
	for _, p := range all {
		f.unpark(p)
	}
}

// takeHidden ends a variable's being parked, if it is.
func (ls *locals) takeHidden(parent uint64, name string) *parked {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	k := localKey{parent, name}
	p := ls.hidden[k]
	if p != nil {
		p.timer.Stop()
		delete(ls.hidden, k)
	}
	return p
}

// isHidden reports whether a name stands for a parked variable, which this mount does not show.
func (ls *locals) isHidden(parent uint64, name string) bool {
	ls.mu.RLock()
	defer ls.mu.RUnlock()
	return ls.hidden[localKey{parent, name}] != nil
}

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
