package estate

import (
	"math/bits"
	"slices"

	"golang.org/x/sys/unix"
)

// Bytes that are kept, of values that are being written, are in blocks of a power of two, which are split and joined as a buddy
// allocator does. Which are taken the records say that name them; which are free, only the process that has the estate.

const (
	minBlock    = 6  // of 64 bytes
	maxBlock    = 22 // of 4 MiB
	arenaSize   = 64 << 20
	returnBlock = 18 // a block from 256 KiB on is given back to the system when it is free
)

// extent is a block of the arena: where, and its size as a power of two, 0: none.
type extent struct {
	at    uint32
	order uint32
}

// arena has what is free.
type arena struct {
	free [maxBlock + 1][]uint32
}

func (a *arena) init(taken []extent) {
	*a = arena{}
	slices.SortFunc(taken, func(x, y extent) int { return int(x.at) - int(y.at) })
	for at := uint32(0); at < arenaSize; at += 1 << maxBlock {
		taken = a.fill(at, maxBlock, taken)
	}
}

// fill makes what is free of a block free, and returns those of taken that are behind it.
func (a *arena) fill(at, order uint32, taken []extent) []extent {
	end := at + 1<<order
	if len(taken) == 0 || taken[0].at >= end {
		a.free[order] = append(a.free[order], at)
		return taken
	}
	if taken[0].order >= order {
		return taken[1:]
	}
	taken = a.fill(at, order-1, taken)
	return a.fill(at+1<<(order-1), order-1, taken)
}

// take returns a block for n bytes; false: there is none.
func (a *arena) take(n int) (extent, bool) {
	order := uint32(max(minBlock, bits.Len(uint(max(n, 1)-1))))
	from := order
	for from <= maxBlock && len(a.free[from]) == 0 {
		from++
	}
	if from > maxBlock {
		return extent{}, false
	}
	list := a.free[from]
	at := list[len(list)-1]
	a.free[from] = list[:len(list)-1]
	for from > order {
		from--
		a.free[from] = append(a.free[from], at+1<<from)
	}
	return extent{at, order}, true
}

func (a *arena) put(x extent) {
	for x.order < maxBlock {
		buddy := x.at ^ 1<<x.order
		i := slices.Index(a.free[x.order], buddy)
		if i < 0 {
			break
		}
		list := a.free[x.order]
		list[i] = list[len(list)-1]
		a.free[x.order] = list[:len(list)-1]
		x.at, x.order = min(x.at, buddy), x.order+1
	}
	a.free[x.order] = append(a.free[x.order], x.at)
}

// takeExtent returns a block for n bytes; false: there is no room.
func (e *Estate) takeExtent(n int) (extent, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.arena.take(n)
}

func (e *Estate) putExtent(x extent) {
	if x.order == 0 {
		return
	}
	if x.order >= returnBlock {
		_ = unix.Madvise(e.bytes(x), unix.MADV_REMOVE) // it stays taken otherwise
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.arena.put(x)
}

func (e *Estate) bytes(x extent) []byte {
	at := arenaAt + int(x.at)
	return e.mem[at : at+1<<x.order : at+1<<x.order]
}

// isSound reports whether an extent that a record names can be one.
func (x extent) isSound(n int64) bool {
	return x.order >= minBlock && x.order <= maxBlock && x.at%(1<<x.order) == 0 && x.at < arenaSize && n >= 0 && n <= 1<<x.order
}
