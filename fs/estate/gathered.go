package estate

import "slices"

// What a descriptor has written and not committed is kept in a block of the arena. The record has room for two descriptions of it,
// so that one counts while the other is made: a process that dies meanwhile has lost nothing.

// gathered describes what a descriptor has gathered.
type gathered struct {
	at     extent
	length int64
	last   uint64 // the WRITE that was gathered last
	base   uint64
}

// movedAtMost is how many bytes are copied to another block because some of them change; more change in place, and do not count
// meanwhile.
const movedAtMost = 64 << 10

func (h *Handle) now() *gathered  { return &h.gathered[h.which.Load()&1] }
func (h *Handle) next() *gathered { return &h.gathered[(h.which.Load()+1)&1] }

// isKept reports whether what is gathered counts.
func (h *Handle) isKept() bool {
	w := Writing(h.wrote.Load())
	return w == Kept || w == Resting
}

// Keep keeps what a descriptor gathers: data, of which the bytes from from to to are new since the last Keep, or all if anything
// else was noted since. unique is the WRITE's. It reports false if there is no room: then nothing is kept.
func (e *Estate) Keep(h *Handle, w Writing, base uint64, data []byte, from, to int, unique uint64) bool {
	now, next, counts := h.now(), h.next(), h.isKept()
	if !counts {
		from, to = 0, len(data)
	}
	at, fits := now.at, now.at.order > 0 && len(data) <= 1<<now.at.order
	if counts && fits && from < to && from < int(now.length) { // bytes change that count
		if fits = len(data) > movedAtMost; fits {
			h.wrote.Store(uint32(Gathered))
		}
	}
	if !fits {
		var ok bool
		if at, ok = e.takeExtent(max(len(data), 1)); !ok {
			h.wrote.Store(uint32(Gathered))
			return false
		}
		from, to = 0, len(data)
	}
	copy(e.bytes(at)[from:to], data[from:to])
	*next = gathered{at, int64(len(data)), unique, base}
	h.Report.reset() // it was about less than this
	h.which.Store((h.which.Load() + 1) & 1)
	h.wrote.Store(uint32(w))
	if now.at != at {
		e.putExtent(now.at)
	}
	now.at = extent{}
	return true
}

// IsKept reports whether Keep would keep nothing new.
func (h *Handle) IsKept(w Writing, base uint64, length int) bool {
	g := h.now()
	return Writing(h.wrote.Load()) == w && g.base == base && g.length == int64(length)
}

// SetStamp notes the time that what is gathered has been given, 0: none.
func (h *Handle) SetStamp(nano int64) { h.stamp = nano }

// Stamp returns what SetStamp noted.
func (h *Handle) Stamp() int64 { return h.stamp }

// Kept returns what a descriptor has gathered, and the WRITE that was last; false: it is not kept.
func (e *Estate) Kept(h *Handle) (data []byte, unique uint64, ok bool) {
	g := h.now()
	if !h.isKept() || !g.at.isSound(g.length) {
		return nil, 0, false
	}
	return slices.Clone(e.bytes(g.at)[:g.length]), g.last, true
}

// Drop gives back the memory of what a descriptor has gathered, once something else is noted.
func (e *Estate) Drop(h *Handle) {
	x := h.now().at
	h.now().at = extent{}
	e.putExtent(x)
}
