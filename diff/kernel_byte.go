package diff

// The byte kernel is written to be obviously right, and nothing else.

func firstByte(a, b []byte, pos int) int {
	for pos < len(a) && a[pos] == b[pos] {
		pos++
	}
	return pos
}

func scanByte(a, b []byte, pos int, out *[entries]entry, store bool) (next, n int) {
	for ; pos < len(a) && n < len(out); pos += block {
		var mask uint64
		for i := range min(block, len(a)-pos) {
			x := a[pos+i]
			if x == b[pos+i] {
				continue
			}
			mask |= 1 << i
			if store {
				b[pos+i] = x
			}
		}
		if mask != 0 {
			out[n] = entry{pos, mask}
			n++
		}
	}
	return min(pos, len(a)), n
}
