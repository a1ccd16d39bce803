package kernel

import (
	"errors"
	"syscall"
	"time"

	"github.com/commy-project/commyfs/fs/poke"
	"github.com/commy-project/commyfs/internal/names"
	varsync "github.com/commy-project/commyfs/sync"
)

// announce raises the events of a change, if anybody can be watching still.
func (c *Cache) announce(e *event) {
	switch e.Kind {
	case varsync.Modified:
		c.changed(e)
	case varsync.Created:
		c.appeared(e)
	case varsync.Deleted:
		c.disappeared(e)
		c.mu.Lock()
		delete(c.queue.leaving, e.ID)
		c.mu.Unlock()
	case varsync.Renamed:
		c.moved(e)
	case varsync.MetaChanged:
		c.described(e)
	}
}

// changed announces a new value: MODIFY, then CLOSE_WRITE, unless all of it was written here; see announceOwn.
func (c *Cache) changed(e *event) {
	if !c.Knows(e.ID, e.Parent) {
		return
	}
	c.cached(e.ID)
	op := poke.Op{Kind: poke.Modify, Path: names.Path(e.Path), MTime: time.Unix(0, e.MTime)}
	var ops []poke.Op
	if c.Raises(Modify) {
		ops = append(ops, op)
	}
	if !e.ownValue && c.Raises(CloseWrite) {
		op.Kind = poke.CloseWrite
		ops = append(ops, op)
	}
	c.touch(e.ID, ops)
}

// touch raises events of a variable.
func (c *Cache) touch(id uint64, ops []poke.Op) {
	if len(ops) == 0 {
		return
	}
	poker := c.threads.Load().poker
	defer c.pages.GoesOn(id, poker.TID())
	errs := poker.DoAll(ops)
	if errors.Is(errs[0], syscall.ENOENT) {
		// It has been renamed through this mount since: the events belong to the new name.
		now, ok := c.tree.Value(id)
		if !ok {
			return
		}
		for i := range ops {
			ops[i].Path = names.Path(now.Path)
		}
		errs = poker.DoAll(ops)
	}
	for i, err := range errs {
		c.report(ops[i], err)
	}
}

// described announces another mode or mtime: ATTRIB.
func (c *Cache) described(e *event) {
	if !c.Knows(e.ID, e.Parent) || !c.Raises(Attrib) {
		return
	}
	op := poke.Op{Kind: poke.Attrib, Path: names.Path(e.Path), MTime: time.Unix(0, e.MTime)}
	c.report(op, c.poke(op, nil))
	c.pages.GoesOn(e.ID, c.threads.Load().poker.TID())
}

// appeared announces a variable or directory. Its name can be in the kernel already, looked up before we came here: it
// is dropped and the poke tried again, or there would be no event.
func (c *Cache) appeared(e *event) {
	if !c.Knows(e.Parent) {
		return
	}
	if c.Raises(Create) {
		op := poke.Op{Kind: poke.Create, Path: names.Path(e.Path), Mode: 0o666}
		if e.Dir {
			op.Kind, op.Mode = poke.Mkdir, 0o777
		}
		at := name{e.Parent, names.File(e.Path)}
		var err error
		for range 5 {
			if err = c.poke(op, &poking{kind: op.Kind, at: at, id: e.ID, dir: e.Dir}); !errors.Is(err, syscall.EEXIST) {
				break
			}
			c.forgetName(at)
		}
		if err != nil {
			c.forgetName(at)
		}
		c.report(op, err)
	}
	if !e.Dir {
		c.changed(e)
	}
}

// standInBit marks the numbers of nodes that are nothing but a name that disappears. Others do not have it without the highest bit.
const standInBit = 1 << 62

// disappeared announces a removal. The kernel drops the name itself. Who watches a node need not have its directory. A removed
// directory is dead to the kernel for good: what is gone from here and is elsewhere has another node removed in its place.
func (c *Cache) disappeared(e *event) {
	if !c.Knows(e.ID, e.Parent) {
		return
	}
	at := name{e.Parent, names.File(e.Path)}
	c.forgetName(at) // the poke is to find the node that goes, whatever the kernel has there
	now, _ := c.tree.Find(at.dir, at.file)
	if now != 0 && (now != e.ID || e.Elsewhere) || !c.Raises(Delete) {
		return // the name stands for something new, or for what has come back: removing it would end that one's watches
	}
	p := c.removal(e, at, now)
	op := poke.Op{Kind: p.kind, Path: names.Path(e.Path)}
	err := c.poke(op, p)
	if err != nil {
		c.forgetName(at)
	}
	c.report(op, err)
}

// removal is how a removal is announced. now is what the name stands for.
func (c *Cache) removal(e *event, at name, now uint64) *poking {
	p := &poking{kind: poke.Unlink, at: at, id: e.ID, dir: e.Dir}
	if e.Dir {
		p.kind = poke.Rmdir
	}
	if now == 0 && (e.Elsewhere || c.tree.Service(e.ID) != nil) {
		c.standIns++
		p.id = standInBit | c.standIns
	}
	return p
}

// moveTries is how often a rename is tried beside somebody who looks at the names all the time.
const moveTries = 10

// moved announces a new name, or two.
func (c *Cache) moved(e *event) {
	done := c.move(e)
	list := []*varsync.Notice{&e.Notice}
	if e.with != nil {
		list = append(list, e.with)
	}
	for _, n := range list {
		if done {
			c.estate.Moved(n.ID, orRoot(n.Parent), names.File(n.Path))
		} else {
			c.estate.MovedOn(n.ID)
		}
	}
}

// move has the kernel carry out what moved announces, and reports whether it has.
func (c *Cache) move(e *event) (done bool) {
	if !c.Knows(e.ID, e.Parent, e.OldParent) && (e.with == nil || !c.Knows(e.with.ID)) {
		return false
	}
	from, to := name{e.OldParent, names.File(e.OldPath)}, name{e.Parent, names.File(e.Path)}
	forget := func() {
		c.forgetNameOf(to, e.ID)
		c.forgetNameOf(from, e.ID)
	}
	if !c.Raises(Move) || e.with == nil && c.taken(to, e.ID) {
		forget() // it has moved on: the kernel would have the node back under the old name, and not let it go
		return false
	}
	op := poke.Op{Kind: poke.Rename, Path: names.Path(e.OldPath), NewPath: names.Path(e.Path)}
	if e.with != nil {
		op.Kind = poke.Exchange
	}
	var err error
	for try := range moveTries {
		p := &poking{kind: op.Kind, at: from, to: to, id: e.ID, dir: e.Dir}
		if e.with != nil {
			p.other, p.otherDir = e.with.ID, e.with.Dir
		}
		c.current.Store(p) // from now on nobody else's answer is kept
		forget()
		err = c.poke(op, p)
		// ESTALE: somebody has looked a directory up under its new name, again since the poker has under the old one.
		stale := errors.Is(err, syscall.ESTALE)
		if err == nil && p.moved.Load() || err != nil && !stale && !errors.Is(err, syscall.EBUSY) {
			break
		}
		if stale {
			time.Sleep(time.Duration(try) * time.Millisecond) // until who looked is done
		}
	}
	if err != nil {
		forget()
	}
	c.report(op, err)
	return err == nil
}
