package memfile

import (
	"iter"
	"runtime/debug"
	"slices"
)

// Alloc returns a free slot and keeps it for a [Writer.Put]. [Writer.Delete] gives it back.
func (w *Writer) Alloc() uint32 {
	var i uint32
	if n := len(w.free); n > 0 {
		i = w.free[n-1]
		w.free = w.free[:n-1]
	} else {
		i = uint32(len(w.cur.slots))
		w.cur.grow(i)
	}
	w.cur.slots[i].state = slotReserved
	return i
}

// Extend keeps all slots below n that the file does not have yet for a [Writer.Put]: the caller has given them away by
// itself. [Writer.FreeReserved] frees those that were not put.
func (w *Writer) Extend(n uint32) {
	for i := uint32(len(w.cur.slots)); i < n; i++ {
		w.cur.grow(i)
		w.cur.slots[i].state = slotReserved
	}
}

// FreeReserved frees all slots that are kept for a [Writer.Put].
func (w *Writer) FreeReserved() {
	for i := len(w.cur.slots) - 1; i >= 0; i-- { // the first are taken first
		if s := &w.cur.slots[i]; s.state == slotReserved {
			s.state = slotFree
			w.free = append(w.free, uint32(i))
		}
	}
}

// Grow prepares for many an Alloc.
func (w *Writer) Grow(n int) { w.cur.slots = slices.Grow(w.cur.slots, max(0, n-len(w.free))) }

// Slots is how many slots there are, in use or not: all are below it.
func (w *Writer) Slots() uint32 { return uint32(len(w.cur.slots)) }

// Has reports whether a variable is in the slot.
func (w *Writer) Has(slot uint32) bool {
	return slot < uint32(len(w.cur.slots)) && w.cur.slots[slot].state == slotUsed
}

// Delete frees the slot. A file that has become mostly empty is replaced by a smaller one, which rotated tells.
func (w *Writer) Delete(slot uint32) (rotated bool, err error) {
	if err := w.usable(slot); err != nil {
		return false, err
	}
	if err := w.cur.remove(slot); err != nil {
		return false, w.failed(err)
	}
	w.free = append(w.free, slot)
	return w.shrink(), nil
}

// DeleteAll frees very many slots. It leaves the file as it is: sparse tells that it is worth building anew.
func (w *Writer) DeleteAll(slots iter.Seq[uint32]) (sparse bool, err error) {
	fl := w.cur
	defer caught(debug.SetPanicOnFault(true), &err)
	for slot := range slots {
		if err := w.usable(slot); err != nil {
			return false, err
		}
		fl.empty(slot)
	}
	n := len(fl.slots)
	for n > 0 && fl.slots[n-1].state == slotFree {
		n--
	}
	fl.slots, w.free = fl.slots[:n], w.free[:0]
	for i := n - 1; i >= 0; i-- {
		if fl.slots[i].state == slotFree {
			w.free = append(w.free, uint32(i))
		}
	}
	sparse = fl.values.have > minShrink && fl.live <= fl.values.have/valueUnit/shrinkRatio ||
		fl.dir.have > minShrink && int64(n)*entrySize <= fl.dir.have/shrinkRatio
	if sparse {
		w.shrinkAt = -1 // which is the caller's by now
	}
	return sparse, nil
}
