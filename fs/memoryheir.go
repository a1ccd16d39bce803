package fs

import (
	"cmp"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/fs/estate"
	varsync "github.com/commy-project/commyfs/sync"
)

// bequeathMemory notes an open memory file. What the kernel passes through goes on by itself, whoever has the mount: the number of
// the backing file is the connection's.
func (f *FS) bequeathMemory(h *memoryHandle, in *fuse.OpenIn, out *fuse.OpenOut) {
	if f.estate == nil {
		return
	}
	o := estate.Opened{Fh: out.Fh, Node: in.NodeId, Flags: in.Flags, Opener: in.Pid, Inode: h.node.file}
	if !h.node.direct {
		o.Backing = h.node.backing
	}
	if h.record = f.estate.AddHandle(o); h.record != nil {
		h.record.SetKind(estate.Memory)
	}
}

// inheritMemory makes an open memory file of the process before. If the backing file is another by now, what the kernel does not
// do itself fails.
func (f *FS) inheritMemory(rec *estate.Handle) {
	o := rec.Opened()
	m := &f.memory
	m.known.Store(true)
	m.last = max(m.last, o.Fh&^memoryBits)
	m.serial = max(m.serial, o.Node>>memorySerial&(1<<14-1))
	n := m.nodes[o.Node]
	if n == nil {
		s, _ := f.c.Node(o.Node & (1<<memorySerial - 1)).(*varsync.Service)
		if s == nil { // it is gone
			f.estate.RemoveHandle(rec)
			return
		}
		n = &memoryNode{id: o.Node, s: s, file: o.Inode, backing: o.Backing, direct: o.Backing == 0}
		m.nodes[o.Node] = n
		if st, ok := s.MemoryStat(); ok && cmp.Or(st.Inode, o.Inode) == o.Inode {
			n.inode = st.Inode
			m.current[s.ID()] = n
		}
	}
	h := &memoryHandle{node: n, record: rec, writes: writes(o.Flags)}
	if n.direct && n.s.Bare() != 0 {
		if n.pages == nil {
			n.pages = &memoryPages{} // the kernel's pages have no likeness any more: what was stored into them is refused
		}
		n.pages.opened(h.writes)
	}
	ctx, cancel := f.opContext()
	defer cancel()
	if file, err := n.s.OpenMemory(ctx, writes(o.Flags)); err == nil {
		var st unix.Stat_t
		if unix.Fstat(int(file.Fd()), &st) == nil && st.Ino == o.Inode {
			h.file = file
		} else {
			_ = file.Close()
		}
	}
	n.opens++
	m.handles[o.Fh] = h
}
