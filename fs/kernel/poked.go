package kernel

import (
	"sync/atomic"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/fs/poke"
)

// poking is a change that is being announced: the poke thread repeats it on the mount, and its requests are answered as
// if it happened now. The tree has it already.
type poking struct {
	kind poke.Kind
	at   name
	to   name // poke.Rename, poke.Exchange
	id   uint64
	dir  bool
	// what the node is exchanged with, and whether that is a directory: poke.Exchange
	other    uint64
	otherDir bool
	// poke.Rename, poke.Exchange: the kernel has asked for the names, and has the nodes under them that they had before.
	askedAt, askedTo atomic.Bool
	moved            atomic.Bool // the kernel has asked for the rename
}

// moves reports whether a name is one of two that are being changed: whoever else asks for it meanwhile must not keep the
// answer, or the kernel would take that for what was there before.
func (p *poking) moves(k name) bool {
	return p != nil && (p.kind == poke.Rename || p.kind == poke.Exchange) && (k == p.at || k == p.to)
}

// PokeLookup answers a lookup of the poke thread for the name that is changing: one that appears is not there yet, one
// that disappears still is. done is false for other names.
func (c *Cache) PokeLookup(dir uint64, file string, out *fuse.EntryOut) (status fuse.Status, done bool) {
	p := c.current.Load()
	if p == nil {
		return 0, false
	}
	there := p.kind == poke.Unlink || p.kind == poke.Rmdir || p.kind == poke.Rename || p.kind == poke.Exchange
	switch (name{dir, file}) {
	case p.at:
		if !there {
			return fuse.ENOENT, true
		}
		p.askedAt.Store(true)
		c.ghost(p.at, p.id, p.dir, out)
		return fuse.OK, true
	case p.to:
		if p.kind == poke.Exchange {
			p.askedTo.Store(true)
			c.ghost(p.to, p.other, p.otherDir, out)
			return fuse.OK, true
		}
		return fuse.ENOENT, true
	}
	return 0, false
}

// ghost fills an entry for a node under a name that the tree may not have. It is not cached.
func (c *Cache) ghost(at name, id uint64, dir bool, out *fuse.EntryOut) {
	c.Learn(0, id, nil)
	c.tell(at, id)
	out.NodeId = id
	c.tree.Attr(id, dir, &out.Attr)
	c.Sized(id, out.Size, false)
}

// PokeEntry answers the poke thread's mknod or mkdir with the node that has appeared. By now it can be gone again, or have
// another name: then the kernel is to look again.
func (c *Cache) PokeEntry(dir uint64, file string, out *fuse.EntryOut) fuse.Status {
	p := c.current.Load()
	if p == nil || p.at != (name{dir, file}) {
		return fuse.EPERM
	}
	c.ghost(p.at, p.id, p.dir, out)
	if !c.stands(p.at, p.id) {
		c.Refresh(dir, file)
	}
	return fuse.OK
}

// PokeGone answers the poke thread's unlink or rmdir.
func (c *Cache) PokeGone(dir uint64, file string) fuse.Status {
	p := c.current.Load()
	if p == nil || p.at != (name{dir, file}) || c.taken(p.at, p.id) {
		return fuse.EPERM
	}
	c.Removed(dir, file)
	return fuse.OK
}

// taken reports whether a name stands for another node by now. The kernel holds the directory's lock: what it has under
// the name is what the tree has, and going on would take that for removed. A directory would be dead to it for good.
func (c *Cache) taken(k name, id uint64) bool {
	now, err := c.tree.Find(k.dir, k.file)
	return err != nil || now != 0 && now != id
}

// PokeMoved answers the poke thread's rename.
func (c *Cache) PokeMoved(dir uint64, file string, newDir uint64, newFile string) fuse.Status {
	p := c.current.Load()
	if p == nil || p.at != (name{dir, file}) || p.to != (name{newDir, newFile}) || c.taken(p.to, p.id) {
		return fuse.EPERM
	}
	p.moved.Store(true)
	if p.kind == poke.Exchange {
		if c.taken(p.at, p.other) {
			return fuse.EPERM
		}
		if !p.askedAt.Load() || !p.askedTo.Load() {
			return fuse.EBUSY // it has what is there now, and would exchange that
		}
		c.Exchanged(p.id, p.other, dir, file, newDir, newFile)
		return fuse.OK
	}
	if c.taken(p.at, p.id) && !p.askedAt.Load() {
		return fuse.EBUSY // it has what is there now, and would rename that
	}
	c.Renamed(p.id, dir, file, newDir, newFile)
	return fuse.OK
}

// PokeAttr answers our threads' stat and utimensat: with what is so, changing nothing. The kernel takes the size as it is, and
// the link: one that it has just removed itself it would not take for removed any more.
func (c *Cache) PokeAttr(id uint64, out *fuse.AttrOut) fuse.Status {
	p := c.current.Load()
	dir := p != nil && (p.id == id && p.dir || p.other == id && p.otherDir)
	if !c.tree.Attr(id, dir, &out.Attr) && !c.Leaving(id) {
		return fuse.Status(syscall.ESTALE)
	}
	out.Ino = id
	c.Sized(id, out.Size, true)
	return fuse.OK
}
