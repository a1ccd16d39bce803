package estate

import (
	"hash/fnv"
	"sync/atomic"
	"unsafe"
)

// What was renamed elsewhere is announced by a rename on the mount, and only some time later it is noted that all has been announced up
// to then. An heir that knows where the kernel has a node by its last rename does not announce that once more.

// maxMoved is of how many nodes that is known. It is a power of two.
const maxMoved = 1 << 12

// moved is where the last rename that was announced has brought a node.
type moved struct {
	id  atomic.Uint64 // 0: the record does not count
	dir atomic.Uint64
	sum atomic.Uint64 // of the name
}

func (e *Estate) movedOf(id uint64) *moved {
	return (*moved)(unsafe.Pointer(&e.mem[movedAt+int(id%maxMoved)*int(unsafe.Sizeof(moved{}))]))
}

func sumOf(name string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return h.Sum64()
}

// Moved notes that a rename was announced that has brought a node to a name in a directory.
func (e *Estate) Moved(id, dir uint64, name string) {
	if e == nil {
		return
	}
	m := e.movedOf(id)
	m.id.Store(0)
	m.dir.Store(dir)
	m.sum.Store(sumOf(name))
	m.id.Store(id)
}

// MovedOn notes that a node may be elsewhere by something else than what was announced.
func (e *Estate) MovedOn(id uint64) {
	if e != nil {
		e.movedOf(id).id.CompareAndSwap(id, 0)
	}
}

// HasMoved reports whether the last that was announced of a node is that it has come to a name in a directory.
func (e *Estate) HasMoved(id, dir uint64, name string) bool {
	if e == nil {
		return false
	}
	m := e.movedOf(id)
	return m.id.Load() == id && m.dir.Load() == dir && m.sum.Load() == sumOf(name)
}

// AllMovedOn is MovedOn of all nodes.
func (e *Estate) AllMovedOn() {
	if e == nil {
		return
	}
	for i := range uint64(maxMoved) {
		e.movedOf(i).id.Store(0)
	}
}
