package fs

import (
	"strings"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/fs/poke"
	"github.com/commy-project/commyfs/internal/names"
	varsync "github.com/commy-project/commyfs/sync"
)

// poking is a change that is being announced: the poke thread repeats it on the mount, and its requests are answered as
// if it happened now. The tree has it already.
type poking struct {
	kind      poke.Kind
	parent    uint64
	name      string // file name
	newParent uint64
	newName   string
	id        uint64
	dir       bool
}

// pokeLookup answers a lookup of the poke thread for the name that is changing: one that appears is not there yet, one
// that disappears still is. done is false for other names.
func (n *notifier) pokeLookup(parent uint64, name string, out *fuse.EntryOut) (status fuse.Status, done bool) {
	p := n.current.Load()
	if p == nil {
		return 0, false
	}
	switch p.kind {
	case poke.Create, poke.Mkdir:
		if parent == p.parent && name == p.name {
			return fuse.ENOENT, true
		}
	case poke.Unlink, poke.Rmdir:
		if parent == p.parent && name == p.name {
			n.ghost(p, out)
			return fuse.OK, true
		}
	case poke.Rename:
		if parent == p.parent && name == p.name {
			n.ghost(p, out)
			return fuse.OK, true
		}
		if parent == p.newParent && name == p.newName {
			return fuse.ENOENT, true
		}
	}
	return 0, false
}

// ghost fills an entry for a node that the tree may not have any more. It is not cached.
func (n *notifier) ghost(p *poking, out *fuse.EntryOut) {
	out.NodeId = p.id
	n.ghostAttr(p.id, p.dir, &out.Attr)
	n.f.kernel.learn(p.id)
}

func (n *notifier) ghostAttr(id uint64, dir bool, out *fuse.Attr) {
	if node := n.f.node(id); node != nil {
		n.f.attr(node, out)
		return
	}
	out.Ino = id
	out.Mode, out.Nlink = syscall.S_IFREG|0o644, 1
	if dir {
		out.Mode, out.Nlink = syscall.S_IFDIR|0o755, 2
	}
	out.Owner = fuse.Owner{Uid: n.f.o.UID, Gid: n.f.o.GID}
}

// pokeEntry answers the poke thread's mknod or mkdir with the node that has appeared.
func (n *notifier) pokeEntry(parent uint64, name string, out *fuse.EntryOut) fuse.Status {
	p := n.current.Load()
	if p == nil || parent != p.parent || name != p.name {
		return fuse.EPERM
	}
	// By now it can be gone again, or have another name: that is announced next, and until then nothing is cached.
	node, err := n.f.find(parent, name)
	if err != nil || node == nil || node.ID() != p.id {
		n.ghost(p, out)
		return fuse.OK
	}
	n.f.entry(node, out)
	return fuse.OK
}

// pokeGone answers the poke thread's unlink or rmdir.
func (n *notifier) pokeGone(parent uint64, name string) fuse.Status {
	p := n.current.Load()
	if p == nil || parent != p.parent || name != p.name || n.taken(parent, name, p.id) {
		return fuse.EPERM
	}
	return fuse.OK
}

// taken reports whether a name stands for another node by now. The kernel holds the directory's lock: what it has under
// the name is what the tree has, and going on would take that for removed. A directory would be dead to it for good.
func (n *notifier) taken(parent uint64, name string, id uint64) bool {
	now, err := n.f.find(parent, name)
	return err != nil || now != nil && now.ID() != id
}

// pokeMoved answers the poke thread's rename.
func (n *notifier) pokeMoved(parent uint64, name string, newParent uint64, newName string) fuse.Status {
	p := n.current.Load()
	if p == nil || parent != p.parent || name != p.name || newParent != p.newParent || newName != p.newName ||
		n.taken(parent, name, p.id) || n.taken(newParent, newName, p.id) {
		return fuse.EPERM
	}
	return fuse.OK
}

// pokeAttr answers the poke thread's stat and utimensat: with what is so, changing nothing.
func (n *notifier) pokeAttr(id uint64, out *fuse.AttrOut) {
	p := n.current.Load()
	n.ghostAttr(id, p != nil && p.id == id && p.dir, &out.Attr)
	out.Ino = id
	if _, ok := n.linked.Load(id); ok {
		out.Nlink = 2
	}
}

// keepWatches prepares the kernel for a rename over a variable, which keeps its node: the kernel would take the node for
// removed and end its watches. Told before that it has two links, it takes away one. It is called in the RENAME handler,
// so the wait is bounded.
func (n *notifier) keepWatches(target varsync.Node, p place, name string) {
	stater := n.f.stater.Load()
	if !n.f.kernel.knows(target.ID()) || stater == nil {
		return
	}
	tenant, service, variable := p.target(name)
	path := filePath(append([]string{tenant, service}, components(variable)...))
	n.linked.Store(target.ID(), true)
	done := make(chan struct{})
	n.wg.Go(func() {
		defer close(done)
		n.report("stat", path, stater.Do(poke.Op{Kind: poke.StatSync, Path: path}))
		n.linked.Delete(target.ID())
	})
	t := time.NewTimer(200 * time.Millisecond)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	}
}

// components splits a variable's name.
func components(name string) []string { return strings.Split(name, "/") }

// levelOf tells at what level a component of a path stands.
func levelOf(i int) names.Level { return min(names.Level(i), names.Nested) }
