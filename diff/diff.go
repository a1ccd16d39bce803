// Package diff finds the byte ranges in which a value differs from a shadow
// copy of it, and brings the shadow up to date.
//
// Guarantees: ranges are sorted, not empty and disjoint; copying them from cur
// to shadow makes both equal; with gap 0 they contain exactly the bytes that
// differ; and between two neighbours there are always more than gap equal bytes.
// The list therefore depends only on the two slices and the gap, not on the
// implementation.
//
// [Append] does not modify the shadow. It requires that cur does not change
// during the call: otherwise a change may go unreported, and a copy made
// afterwards can hide it. [Sync] is for memory that changes: it compares and
// stores each word of cur with a single load, so that ranges and shadow agree
// whatever another process writes. A later write shows up in the next call.
// Neither call is atomic: the shadow can contain old words next to new ones.
//
// Nothing here protects against mapped memory disappearing. If the caller
// recovers from a fault, the shadow is partly updated and the ranges are lost:
// fill the shadow again before using it.
package diff

import "math/bits"

// DefaultGap is the recommended gap: sending another range costs more than
// sending the cache line between two changes, and from 62 on the changes of a
// block are found without looking at single bits.
const DefaultGap = 64

// Range is a run of bytes: Len bytes from offset Off. Ranges returned by this
// package have Off >= 0 and Len > 0.
type Range struct{ Off, Len int }

// Append appends to dst the ranges in which cur differs from shadow, and
// returns the extended slice. Two differing runs with at most gap equal bytes
// between them become one range; a negative gap counts as 0. Ranges already in
// dst are not changed. It does not allocate if the capacity of dst suffices.
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

// Sync is like [Append] and also stores each differing byte in shadow, which
// then equals cur. If another process writes to cur during the call, each byte
// of shadow has one of the values that cur had during the call, and the ranges
// cover every byte of shadow that changed. Only the caller may access shadow,
// and it must not overlap cur.
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
