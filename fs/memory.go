package fs

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/fs/estate"
	"github.com/commy-project/commyfs/internal/names"
	varsync "github.com/commy-project/commyfs/sync"
)

// Every service on this host has a file that is not listed, [memoryName]: its memory as bytes (S8). The kernel reads, writes and
// maps the backing file itself where it can (passthrough); else we read and write it, see [memoryPages].
//
// A backing file has a node of its own: the kernel has one backing file for an inode at a time, and a named service gets another
// one now and then. The kernel keeps neither names nor attributes of these nodes.
const memoryName = ".service.mem"

// Node and handle numbers that nothing else has: ids of the server have no top bit, those of unshared files no second one.
const (
	memoryBits   = 3 << 62
	memorySerial = 48
	memoryFh     = 1 << 62
)

func isMemory(node uint64) bool  { return node&memoryBits == memoryBits }
func isMemoryFh(fh uint64) bool  { return fh&memoryBits == memoryFh }
func isMemoryName(s string) bool { return names.Reserved(s, names.Variable) && s == memoryName }

// memoryFiles are the nodes and descriptors of [memoryName].
type memoryFiles struct {
	mu      sync.Mutex // guards the following
	nodes   map[uint64]*memoryNode
	current map[uint64]*memoryNode // by the service's id: the one that its name leads to
	serial  uint64
	handles map[uint64]*memoryHandle
	last    uint64

	known atomic.Bool // somebody has looked for one since the mount began
}

// of is the node of a service's memory that its name leads to, nil if the kernel has none.
func (m *memoryFiles) of(s *varsync.Service) *memoryNode {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.current[s.ID()]
}

// paged reports whether the kernel may keep pages of a node.
func (m *memoryFiles) paged(n *memoryNode) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return n.opens > 0 && n.pages != nil
}

type memoryNode struct {
	id    uint64
	s     *varsync.Service
	inode uint64 // see varsync.MemoryStat

	// Guarded by memoryFiles.mu: how many have it open; how, as long as somebody has: the kernel's number of the backing
	// file, or through us.
	opens   int
	file    uint64 // inode number of the backing file
	backing int32
	direct  bool
	pages   *memoryPages // direct, and of a bare service
}

// ID implements [varsync.Node].
func (n *memoryNode) ID() uint64 { return n.id }

// Service is the service that it is the memory of.
func (n *memoryNode) Service() *varsync.Service { return n.s }

// memoryHandle is an open file description.
type memoryHandle struct {
	node   *memoryNode
	file   *os.File // nil: it is of a process that has died, and cannot be had again
	writes bool
	record *estate.Handle // what an heir must know; nil: nobody is told
}

func (m *memoryFiles) init() {
	m.nodes, m.current, m.handles = map[uint64]*memoryNode{}, map[uint64]*memoryNode{}, map[uint64]*memoryHandle{}
}

// find returns the node of a service's memory.
func (m *memoryFiles) find(s *varsync.Service, st varsync.MemoryStat) *memoryNode {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.current[s.ID()]
	if n != nil && n.inode == st.Inode && n.s == s {
		return n
	}
	if n != nil {
		m.dropLocked(n)
	}
	m.known.Store(true)
	m.serial++
	n = &memoryNode{id: memoryBits | m.serial&(1<<14-1)<<memorySerial | s.ID()&(1<<memorySerial-1), s: s, inode: st.Inode}
	m.nodes[n.id], m.current[s.ID()] = n, n
	return n
}

// dropLocked forgets a node that no name leads to and nobody has open.
func (m *memoryFiles) dropLocked(n *memoryNode) {
	if m.current[n.s.ID()] == n {
		delete(m.current, n.s.ID())
	}
	if n.opens == 0 && m.nodes[n.id] == n {
		delete(m.nodes, n.id)
	}
}

func (m *memoryFiles) node(id uint64) *memoryNode {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.nodes[id]
}

func (m *memoryFiles) forgotten(id uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := m.nodes[id]; n != nil {
		m.dropLocked(n)
	}
}

func (m *memoryFiles) handle(fh uint64) *memoryHandle {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.handles[fh]
}

// lookupMemory answers a lookup of [memoryName] in a loaded service.
func (f *FS) lookupMemory(h *fuse.InHeader, s *varsync.Service, out *fuse.EntryOut) fuse.Status {
	st, ok := s.MemoryStat()
	if !ok {
		return fuse.ENOENT
	}
	n := f.memory.find(s, st)
	out.NodeId = n.id
	f.kernel.Learn(h.Pid, n.id, s)
	f.memoryAttr(n, st, &out.Attr)
	return fuse.OK
}

func (f *FS) memoryAttr(n *memoryNode, st varsync.MemoryStat, out *fuse.Attr) {
	f.attr(n, out)
	setSize(out, st.Size)
	setTimes(out, st.MTime)
}

// getMemoryAttr answers stat. Of a file that another one took the place of, a descriptor knows.
func (f *FS) getMemoryAttr(in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	n := f.memory.node(in.NodeId)
	if n == nil {
		return fuse.Status(syscall.ESTALE)
	}
	if st, ok := n.s.MemoryStat(); ok && st.Inode == n.inode {
		f.memoryAttr(n, st, &out.Attr)
		return fuse.OK
	}
	st, err := f.memory.statOpen(n)
	if err != nil {
		return f.errno("getattr", err)
	}
	f.memoryAttr(n, st, &out.Attr)
	return fuse.OK
}

// statOpen describes the backing file of a node that is open.
func (m *memoryFiles) statOpen(n *memoryNode) (varsync.MemoryStat, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, h := range m.handles {
		if h.node == n && h.file != nil {
			st, err := h.file.Stat()
			if err != nil {
				return varsync.MemoryStat{}, err
			}
			return varsync.MemoryStat{Size: st.Size(), MTime: st.ModTime().UnixNano()}, nil
		}
	}
	return varsync.MemoryStat{}, syscall.ESTALE
}

// setMemoryAttr refuses what would change the file, but not what O_TRUNC asks for: the bytes stay, as on a device.
func (f *FS) setMemoryAttr(in *fuse.SetAttrIn, out *fuse.AttrOut) error {
	n := f.memory.node(in.NodeId)
	if n == nil {
		return syscall.ESTALE
	}
	st, ok := n.s.MemoryStat()
	switch {
	case !ok || st.Inode != n.inode:
		return syscall.ESTALE
	case in.Valid&(fuse.FATTR_MODE|fuse.FATTR_UID|fuse.FATTR_GID) != 0, in.Valid&fuse.FATTR_SIZE == 0:
		return syscall.EPERM
	}
	if err := f.may(&in.InHeader, n, mayWrite); err != nil {
		return err
	}
	if in.Size > uint64(st.Size) {
		return syscall.EFBIG
	}
	f.memoryAttr(n, st, &out.Attr)
	return nil
}

// openMemory opens it. All who have a node open at a time have it in the same way.
func (f *FS) openMemory(in *fuse.OpenIn, out *fuse.OpenOut) error {
	n := f.memory.node(in.NodeId)
	if n == nil {
		return syscall.ESTALE
	}
	if err := errors.Join(f.mayOpen(&in.InHeader, n, in.Flags), f.may(&in.InHeader, n.s, mayExec)); err != nil {
		return err
	}
	if in.Flags&syscall.O_APPEND != 0 && writes(in.Flags) {
		return syscall.ENOTSUP
	}
	ctx, cancel := f.opContext()
	defer cancel()
	file, err := n.s.OpenMemory(ctx, writes(in.Flags))
	if err != nil {
		return orStale(err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil || n.inode != 0 && st.Ino != n.inode {
		_ = file.Close()
		return syscall.ESTALE // another one has taken its place: the kernel looks the name up again
	}
	m := &f.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	if n.opens > 0 && st.Ino != n.file { // that of a bare service was made anew
		m.dropLocked(n)
		_ = file.Close()
		return syscall.ESTALE
	}
	if n.file = st.Ino; n.opens == 0 {
		n.backing, err = f.passThrough(file)
		n.pages = nil
		if n.direct = err != nil; n.direct {
			f.log.Debug("memory is read and written by the mount", "service", n.s.ID(), "err", err)
			if n.s.Bare() != 0 {
				n.pages = &memoryPages{}
			}
		}
	}
	n.opens++
	m.nodes[n.id] = n
	h := &memoryHandle{node: n, file: file, writes: writes(in.Flags)}
	switch {
	case n.pages != nil:
		out.OpenFlags = 0
		n.pages.opened(h.writes)
	case n.direct: // a memory file is valid as a whole only: pages of different moments are of no use
		out.OpenFlags = fuse.FOPEN_DIRECT_IO
	default:
		out.OpenFlags, out.BackingID = fuse.FOPEN_PASSTHROUGH, n.backing
	}
	out.OpenFlags |= fuse.FOPEN_NOFLUSH
	m.last++
	out.Fh = memoryFh | m.last
	m.handles[out.Fh] = h
	f.bequeathMemory(h, in, out)
	return nil
}

func (f *FS) releaseMemory(fh uint64) {
	m := &f.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.handles[fh]
	if h == nil {
		return
	}
	delete(m.handles, fh)
	if h.record != nil {
		f.estate.RemoveHandle(h.record)
	}
	if h.file != nil {
		_ = h.file.Close()
	}
	n := h.node
	if n.pages != nil {
		n.pages.closed(h.writes)
	}
	if n.opens--; n.opens > 0 {
		return
	}
	if !n.direct {
		f.endPassThrough(n.backing)
	}
	if m.current[n.s.ID()] != n {
		m.dropLocked(n)
	}
}

// readMemory and the following serve descriptors that the kernel does not serve itself.
func (f *FS) readMemory(in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	h := f.memory.handle(in.Fh)
	if h == nil {
		return nil, fuse.EBADF
	}
	if h.file == nil {
		return nil, fuse.EIO
	}
	if p := h.node.pages; p != nil {
		n, err := p.read(h.file, buf, int64(in.Offset))
		if err != nil {
			return nil, f.errno("read", err)
		}
		return fuse.ReadResultData(buf[:n]), fuse.OK
	}
	if in.ReadFlags&fuse.READ_LOCKOWNER == 0 {
		return nil, fuse.EINVAL // into the page cache, which would not follow: programs fall back to reading
	}
	n, err := unix.Pread(int(h.file.Fd()), buf, int64(in.Offset))
	if err != nil {
		return nil, f.errno("read", err)
	}
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

func (f *FS) writeMemory(in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	h := f.memory.handle(in.Fh)
	if h == nil {
		return 0, fuse.EBADF
	}
	if h.file == nil {
		return 0, fuse.EIO
	}
	if size := h.node.s.Bare(); in.Offset > uint64(size) || uint64(len(data)) > uint64(size)-in.Offset {
		return 0, fuse.Status(syscall.EFBIG)
	}
	err := error(nil)
	switch p := h.node.pages; {
	case p == nil:
		err = pwriteAll(h.file, data, int64(in.Offset))
	case in.WriteFlags&fuse.WRITE_CACHE != 0:
		err = p.writeBack(h.file, data, int64(in.Offset))
	default:
		err = p.write(h.file, data, int64(in.Offset))
	}
	if err != nil {
		return 0, f.errno("write", err)
	}
	return uint32(len(data)), fuse.OK
}

func (f *FS) syncMemory(fh uint64) error {
	h := f.memory.handle(fh)
	switch {
	case h == nil:
	case h.file == nil:
		return syscall.EIO
	default:
		return unix.Fdatasync(int(h.file.Fd()))
	}
	return nil
}
