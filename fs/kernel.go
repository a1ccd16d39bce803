package fs

import (
	"encoding/binary"
	"errors"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/fs/mountpoint"
	varsync "github.com/commy-project/commyfs/sync"
)

// Mountpoint is where the kernel has the mount.
func (m *Mounted) Mountpoint() *mountpoint.Mountpoint { return m.mp }

// kernel is what the kernel holds of the tree, and the way to tell it that something changed.
type kernel struct {
	// fd is the mountpoint's descriptor of the FUSE device: go-fuse sends notifications one at a time, and one that waits for
	// a directory lock would hold up all others.
	fd     int
	shards [16]lookups
}

type lookups struct {
	mu sync.Mutex
	m  map[uint64]known // by node id
	// pages has the nodes of which it was given pages since they were last invalidated.
	pages map[uint64]struct{}
	// sizes has what it was last told, of files. empty marks those that it may take for empty.
	sizes map[uint64]uint64
	empty map[uint64]struct{}
}

// known is a node that the kernel holds.
type known struct {
	refs    uint64
	service *varsync.Service // that has it; nil above services
}

func (k *kernel) init() {
	k.fd = -1
	for i := range k.shards {
		k.shards[i].m, k.shards[i].pages = map[uint64]known{}, map[uint64]struct{}{}
		k.shards[i].sizes, k.shards[i].empty = map[uint64]uint64{}, map[uint64]struct{}{}
	}
}

// learn counts a reference that a reply gives to the kernel. While the kernel holds a node its service is held too: who looks
// at what the kernel caches, or has a watch on it, asks nothing of us, and its changes must come.
func (k *kernel) learn(n varsync.Node) {
	var service *varsync.Service
	switch n := n.(type) {
	case *varsync.Service:
		service = n
	case interface{ Service() *varsync.Service }:
		service = n.Service()
	}
	s := &k.shards[n.ID()%16]
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.m[n.ID()]
	if service == nil {
		service = was.service
	}
	if service != was.service {
		service.Hold()
		was.release()
	}
	s.m[n.ID()] = known{was.refs + 1, service}
}

func (n known) release() {
	if n.service != nil {
		n.service.Release()
	}
}

// forget counts n references down and reports whether none is left.
func (k *kernel) forget(id, n uint64) bool {
	s := &k.shards[id%16]
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.m[id]
	if was.refs > n {
		s.m[id] = known{was.refs - n, was.service}
		return false
	}
	was.release()
	delete(s.m, id)
	delete(s.pages, id)
	delete(s.sizes, id)
	delete(s.empty, id)
	return true
}

// sized records the size of a file that a reply tells. The kernel takes one that answers SETATTR as it is, any other only if
// nothing else was told since it asked.
func (k *kernel) sized(id, size uint64, taken bool) {
	s := &k.shards[id%16]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sizes[id] = size
	if size == 0 {
		s.empty[id] = struct{}{}
	} else if taken {
		delete(s.empty, id)
	}
}

// lastSize returns the size that was told last.
func (k *kernel) lastSize(id uint64) uint64 {
	s := &k.shards[id%16]
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sizes[id]
}

// takesForEmpty reports whether the kernel may take a file for empty.
func (k *kernel) takesForEmpty(id uint64) bool {
	s := &k.shards[id%16]
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.empty[id]
	return ok
}

// grow makes the kernel take a file for one of at least so many bytes, size > 0. It is given the last byte of a page that it
// does not take for read.
func (k *kernel) grow(id uint64, size int64) error {
	if (size-1)%blockSize == 0 {
		size++ // the first byte of a page at the end of the file would be taken for the whole page
	}
	body := make([]byte, 0, 25)
	body = binary.NativeEndian.AppendUint64(body, id)
	body = binary.NativeEndian.AppendUint64(body, uint64(size-1))
	body = binary.NativeEndian.AppendUint32(body, 1)
	body = binary.NativeEndian.AppendUint32(body, 0)
	body = append(body, 0)
	return k.notify(fuse.NOTIFY_STORE_CACHE, body)
}

// invalidateAttr drops cached attributes of a node, and the answer to a question for them that the kernel has asked. It waits
// for nothing.
func (k *kernel) invalidateAttr(id uint64) {
	body := make([]byte, 0, 24)
	body = binary.NativeEndian.AppendUint64(body, id)
	body = binary.NativeEndian.AppendUint64(body, ^uint64(0)) // no pages
	body = binary.NativeEndian.AppendUint64(body, 0)
	_ = k.notify(fuse.NOTIFY_INVAL_INODE, body) // it fails when the mount ends
}

// paged records that the kernel is given pages of a node.
func (k *kernel) paged(id uint64) {
	s := &k.shards[id%16]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pages[id] = struct{}{}
}

// hasPages reports whether the kernel can have pages of a node.
func (k *kernel) hasPages(id uint64) bool {
	s := &k.shards[id%16]
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.pages[id]
	return ok
}

// knows reports whether the kernel holds the node: one that it does not hold nobody can be watching.
func (k *kernel) knows(id uint64) bool {
	if id == rootID {
		return true
	}
	s := &k.shards[id%16]
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.m[id].refs > 0
}

// invalidateNode drops cached attributes and pages of a node.
func (k *kernel) invalidateNode(id uint64) error {
	s := &k.shards[id%16]
	s.mu.Lock()
	delete(s.pages, id)
	s.mu.Unlock()
	body := make([]byte, 0, 24)
	body = binary.NativeEndian.AppendUint64(body, id)
	body = binary.NativeEndian.AppendUint64(body, 0) // from offset 0
	body = binary.NativeEndian.AppendUint64(body, 0) // to the end
	return k.notify(fuse.NOTIFY_INVAL_INODE, body)
}

// invalidateEntry makes the kernel look a name up again. It waits for the lock of the directory, and no signal ends that:
// if the process is killed meanwhile, it takes an abort of the connection.
func (k *kernel) invalidateEntry(parent uint64, name string) error {
	body := make([]byte, 0, 17+len(name))
	body = binary.NativeEndian.AppendUint64(body, parent)
	body = binary.NativeEndian.AppendUint32(body, uint32(len(name)))
	body = binary.NativeEndian.AppendUint32(body, 0)
	body = append(body, name...)
	body = append(body, 0)
	return k.notify(fuse.NOTIFY_INVAL_ENTRY, body)
}

// notify writes one notification: a reply to no request, with its code where the error would be.
func (k *kernel) notify(code int32, body []byte) error { return k.send(code, 0, body) }

// answer ends a request for its handler; what the handler answers then reaches nobody.
func (k *kernel) answer(unique uint64, status fuse.Status) error {
	return k.send(int32(status), unique, nil)
}

// send writes to the kernel. What the kernel does not have, a name or a request that was answered already, is no error.
func (k *kernel) send(code int32, unique uint64, body []byte) error {
	msg := make([]byte, 0, 16+len(body))
	msg = binary.NativeEndian.AppendUint32(msg, uint32(16+len(body)))
	msg = binary.NativeEndian.AppendUint32(msg, uint32(-code))
	msg = binary.NativeEndian.AppendUint64(msg, unique)
	msg = append(msg, body...)
	for {
		_, err := unix.Write(k.fd, msg)
		switch {
		case err == unix.EINTR:
			continue
		case errors.Is(err, unix.ENOENT):
			return nil
		}
		return err
	}
}
