package fs

import (
	"strings"
	"sync"
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

// ghost is a node that may not be there.
type ghost uint64

// ID implements [varsync.Node].
func (g ghost) ID() uint64 { return uint64(g) }

// ghost fills an entry for a node that the tree may not have any more. It is not cached.
func (n *notifier) ghost(p *poking, out *fuse.EntryOut) {
	out.NodeId = p.id
	n.ghostAttr(p.id, p.dir, &out.Attr)
	n.f.kernel.learn(ghost(p.id))
}

func (n *notifier) ghostAttr(id uint64, dir bool, out *fuse.Attr) {
	if node := n.f.node(id); node != nil {
		n.f.attr(node, out)
		return
	}
	out.Ino = id
	out.Mode, out.Nlink = syscall.S_IFREG|0o644, 1
	if dir {
		out.Mode = syscall.S_IFDIR | 0o755
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
	n.f.entry(0, node, out)
	if !n.f.searchable(parent) {
		out.EntryValid = 0
	}
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
	// The kernel takes the size as it is. It has counted what this mount's editors have written since.
	if v, ok := n.f.node(id).(*varsync.Variable); ok && v.Dirty() {
		setSize(&out.Attr, v.DirtySize())
	}
	n.f.kernel.sized(id, out.Size, true)
}

// statTries is how often the kernel is asked to take the second link: an attribute reply counts for nothing in it if
// something else about the node arrived since the request was made. That can be a reply from before, which the first try
// leaves no other of, the invalidation of an announcement, whose poke then waits for the rename, and the one that ends the
// keeping for the rename before.
const statTries = 4

// keepWatches prepares the kernel for a rename over a variable, which keeps its node: the kernel would take the node for
// removed and end its watches. Told before that it has two links, it takes away one. Until it has done so, which no
// handler sees, every reply says two. It is called in the RENAME handler, so the wait is bounded; the handler calls the
// result when it knows its answer, whatever that is.
func (n *notifier) keepWatches(v *varsync.Variable, m move, thread uint32) (answered func()) {
	stater := n.f.stater.Load()
	if !n.f.kernel.knows(v.ID()) || stater == nil {
		return func() {}
	}
	before := v.Current().Version
	op := poke.Op{Kind: poke.StatSync, Path: filePath(pathOf(v))}
	k := n.keep(v.ID(), thread)
	done := make(chan struct{})
	n.wg.Go(func() {
		defer close(done)
		for range statTries {
			n.report("stat", op.Path, stater.Do(op))
		}
	})
	t := time.NewTimer(200 * time.Millisecond)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	}
	return func() {
		n.wg.Go(func() {
			<-done
			n.renamedOver(k, v, m, v.Current().Version != before)
		})
	}
}

// renamedOver ends what keepWatches began, once the kernel has carried the rename out. Until then the variable's name
// could lead to the file that was moved there, and the event of the new value with it: it is raised again.
func (n *notifier) renamedOver(k *keeping, v *varsync.Variable, m move, changed bool) {
	n.forgetName(m.newDir, m.newFile) // waits for the directory, which the kernel holds until the rename is over
	n.keepNoMore(k)
	if n.links(v.ID()) == 1 {
		n.forgetName(m.newDir, m.newFile) // who has looked it up since was told two, and would leave one when removing it
		n.forgetNode(v.ID())
	}
	if changed && !v.Gone() {
		n.add([]varsync.Notice{{Kind: varsync.Modified, Own: true, ID: v.ID(), Parent: m.newDir, Path: pathOf(v),
			MTime: v.Current().MTime}})
	}
}

// keeping is a rename over a node that the kernel may not have carried out yet.
type keeping struct {
	id     uint64
	thread threadID // that made it
	over   sync.Once
}

// threadID is a key of linked, beside the node ids.
type threadID uint32

// keep counts a rename over a node.
func (n *notifier) keep(id uint64, thread uint32) *keeping {
	k := &keeping{id: id, thread: threadID(thread)}
	n.keeps.Add(1)
	for {
		had, some := n.linked.LoadOrStore(id, 1)
		if !some || n.linked.CompareAndSwap(id, had, had.(int)+1) {
			n.linked.Store(k.thread, k)
			return k
		}
	}
}

// keepNoMore counts it down, once.
func (n *notifier) keepNoMore(k *keeping) {
	k.over.Do(func() {
		n.linked.CompareAndDelete(k.thread, k)
		defer n.keeps.Add(-1)
		for !n.linked.CompareAndDelete(k.id, 1) {
			if had, _ := n.linked.Load(k.id); had != 1 && n.linked.CompareAndSwap(k.id, had, had.(int)-1) {
				return
			}
		}
	})
}

// back is told of a thread that looks a node up: its rename over that is carried out, or it would be waiting still. What
// it does next can be to remove the node, whose watches then have to end.
func (n *notifier) back(thread uint32, id uint64) {
	if n.keeps.Load() == 0 {
		return
	}
	if k, ok := n.linked.Load(threadID(thread)); ok && thread != 0 && k.(*keeping).id == id {
		n.keepNoMore(k.(*keeping))
	}
}

// links is the number of links of a variable; see keepWatches.
func (n *notifier) links(id uint64) uint32 {
	if n.keeps.Load() > 0 {
		if _, kept := n.linked.Load(id); kept {
			return 2
		}
	}
	return 1
}

// components splits a variable's name.
func components(name string) []string { return strings.Split(name, "/") }

// levelOf tells at what level a component of a path stands.
func levelOf(i int) names.Level { return min(names.Level(i), names.Nested) }
