// Package diff finds the byte ranges in which a value differs from a shadow
// copy of it, and brings the shadow up to date.
//
// What a list of ranges promises: ranges are sorted, not empty and disjoint;
// copying them from cur over shadow makes both equal; with gap 0 they hold
// exactly the bytes that differ; and two neighbours always have more than gap
// equal bytes between them. The list is therefore a function of the two slices
// and the gap alone, whichever implementation computes it.
//
// [Append] only looks. It is meant for bytes that nobody changes meanwhile. If
// somebody does, each byte in flight may or may not be reported, and a copy made
// afterwards can swallow a change that no range told of. [Sync] is for that
// case: every word of cur decides and is stored by one and the same load, so
// ranges and shadow agree whatever another process writes into cur. What it
// wrote too late shows in the next call. Neither call is atomic: the shadow
// can hold an old word beside a new one.
//
// Nothing here guards against mapped memory going away. A fault that the caller
// recovers from leaves the shadow partly updated and the ranges lost; such a
// shadow is good for nothing but being filled anew.
package diff

import "math/bits"

// DefaultGap is the gap to use unless there is a reason for another: a range
// costs more to send than the cache line that keeps two changes apart, and from
// 62 on a block's changes are found without a look at its single bits.
const DefaultGap = 64

// Range is a run of bytes: Len bytes from offset Off. Ranges returned by this
// package have Off >= 0 and Len > 0.
type Range struct{ Off, Len int }

// Append appends to dst the ranges in which cur differs from shadow, and
// returns the extended slice. Two differing runs with at most gap equal bytes
// between them become one range; a negative gap counts as 0. Ranges already in
// dst are left as they are. There is no allocation while the capacity of dst
// suffices.
//
// Append panics if the slices differ in length.
func Append(dst []Range, cur, shadow []byte, gap int) []Range {
	check(cur, shadow)
	k := kernel(active.Load())
	if pos := k.first(cur, shadow, 0); pos < len(cur) {
		return k.collect(dst, cur, shadow, pos, gap, false)
	}
	return dst
}

// Sync appends to dst what [Append] would, and stores each differing byte in
// shadow, which then equals cur. Another process may write cur meanwhile: then
// shadow holds, for every byte, one of the values that cur had during the call,
// and the ranges cover every byte of shadow that changed. The shadow belongs to
// the caller alone and must not overlap cur.
//
// Sync panics if the slices differ in length, without touching the shadow.
func Sync(dst []Range, cur, shadow []byte, gap int) []Range {
	check(cur, shadow)
	k := kernel(active.Load())
	if pos := k.first(cur, shadow, 0); pos < len(cur) {
		return k.collect(dst, cur, shadow, pos, gap, true)
	}
	return dst
}

// check is what Append and Sync begin with.
func check(cur, shadow []byte) {
	if len(cur) != len(shadow) {
		panic("diff: slices of unequal length")
	}
	raceRead(cur)
	raceRead(shadow)
}

// collect is Append, or Sync if store is set, of slices that first differ at pos.
// The common case, nothing differs, ends before it.
func (k kernel) collect(dst []Range, cur, shadow []byte, pos, gap int, store bool) []Range {
	gap = max(gap, 0)
	start, stop := 0, 0 // the range being built; none while stop is 0

	if len(cur) <= block && k != kernelByte {
		// Most values are small, and to clear the buffer of collectBlocks
		// would cost them more than all the rest.
		if mask := tailMask(cur, shadow, store); mask != 0 {
			one := [1]entry{{0, mask}}
			dst, start, stop = ranges(dst, one[:], gap, start, stop)
		}
		return finish(dst, start, stop)
	}
	// Back to the start of the block: loads keep the alignment of the slices.
	return k.collectBlocks(dst, cur, shadow, pos&^(block-1), gap, store)
}

// collectBlocks has the kernel write masks, and turns them into ranges.
func (k kernel) collectBlocks(dst []Range, cur, shadow []byte, pos, gap int, store bool) []Range {
	start, stop := 0, 0
	var buf [entries]entry
	for pos < len(cur) {
		end := min(pos+piece, len(cur))
		var n int
		if store {
			pos, n = k.syncScan(cur[:end], shadow[:end], pos, &buf)
		} else {
			pos, n = k.scan(cur[:end], shadow[:end], pos, &buf)
		}
		dst, start, stop = ranges(dst, buf[:n], gap, start, stop)
	}
	return finish(dst, start, stop)
}

// finish appends the last range that ranges has built.
func finish(dst []Range, start, stop int) []Range {
	if stop > 0 {
		dst = append(dst, Range{start, stop - start})
	}
	return dst
}

// ranges appends the ranges that the entries amount to. The range from start to
// stop (none if stop is 0) may still grow, as may that it returns.
func ranges(dst []Range, list []entry, gap, start, stop int) (out []Range, newStart, newStop int) {
	for _, e := range list {
		m := e.mask
		if gap >= block-2 { // no gap inside a block can be larger
			lo := e.off + bits.TrailingZeros64(m)
			if stop == 0 || lo-stop > gap {
				if stop > 0 {
					dst = append(dst, Range{start, stop - start})
				}
				start = lo
			}
			stop = e.off + bits.Len64(m)
			continue
		}
		for m != 0 {
			low := bits.TrailingZeros64(m)
			lo := e.off + low
			if stop == 0 || lo-stop > gap {
				if stop > 0 {
					dst = append(dst, Range{start, stop - start})
				}
				start = lo
			}
			// The carry runs through the lowest run of ones and ends
			// just behind it (or outside the word).
			carried := m + 1<<low
			stop = lo + bits.TrailingZeros64(^(m >> low))
			m &= carried
		}
	}
	return dst, start, stop
}
