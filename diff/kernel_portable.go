package diff

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// The portable kernel has the runtime's vectorised bytes.Equal skip what is
// equal, strip by strip, and takes apart in 64-bit words only what is not.

// strip is what bytes.Equal is given at once: long enough for its cost to be
// that of the bytes, short enough for a second look to be cheap.
const strip = 1 << 10

func firstPortable(a, b []byte, pos int) int {
	b = b[:len(a)]
	for pos < len(a) {
		end := min(pos+strip, len(a))
		if bytes.Equal(a[pos:end], b[pos:end]) {
			pos = end
			continue
		}
		if pos = firstWords(a[:end], b[:end], pos); pos < end {
			return pos
		}
		// Somebody wrote a in between and the difference is gone: go on.
	}
	return len(a)
}

// scanPortable serves scan and syncScan. To store, it flips in b the bits that
// differ, instead of reading a once more: mask and stored bytes come from the
// same d and cannot disagree.
func scanPortable(a, b []byte, pos int, out *[entries]entry, store bool) (next, n int) {
	b = b[:len(a)]
	for pos < len(a) {
		end := min(pos+strip, len(a))
		if bytes.Equal(a[pos:end], b[pos:end]) {
			pos = end
			continue
		}
		if n > len(out)-strip/block {
			return pos, n
		}
		for ; end-pos >= block; pos += block {
			x, y := (*[block]byte)(a[pos:]), (*[block]byte)(b[pos:])
			d0 := difference(x[0:], y[0:])
			d1 := difference(x[8:], y[8:])
			d2 := difference(x[16:], y[16:])
			d3 := difference(x[24:], y[24:])
			d4 := difference(x[32:], y[32:])
			d5 := difference(x[40:], y[40:])
			d6 := difference(x[48:], y[48:])
			d7 := difference(x[56:], y[56:])
			if d0|d1|d2|d3|d4|d5|d6|d7 == 0 {
				continue
			}
			if store {
				flip(y[0:], d0)
				flip(y[8:], d1)
				flip(y[16:], d2)
				flip(y[24:], d3)
				flip(y[32:], d4)
				flip(y[40:], d5)
				flip(y[48:], d6)
				flip(y[56:], d7)
			}
			out[n] = entry{pos, wordMask(d0) | wordMask(d1)<<8 | wordMask(d2)<<16 | wordMask(d3)<<24 |
				wordMask(d4)<<32 | wordMask(d5)<<40 | wordMask(d6)<<48 | wordMask(d7)<<56}
			n++
		}
		if pos < end { // less than a block: the end of the slices
			if mask := tailMask(a[pos:end], b[pos:end], store); mask != 0 {
				out[n] = entry{pos, mask}
				n++
			}
			pos = end
		}
	}
	return pos, n
}

// firstWords is first for a few bytes.
func firstWords(a, b []byte, pos int) int {
	b = b[:len(a)]
	for ; len(a)-pos >= 8; pos += 8 {
		if d := difference(a[pos:], b[pos:]); d != 0 {
			return pos + bits.TrailingZeros64(d)/8
		}
	}
	if rest := len(a) - pos; rest > 0 && len(a) >= 8 {
		// The last word, less what is before pos.
		at := len(a) - 8
		d := difference(a[at:], b[at:]) >> (8 * (8 - rest))
		return min(pos+bits.TrailingZeros64(d)/8, len(a))
	}
	for pos < len(a) && a[pos] == b[pos] {
		pos++
	}
	return pos
}

// tailMask is the mask of a block that is cut short.
func tailMask(a, b []byte, store bool) (mask uint64) {
	i := 0
	for ; len(a)-i >= 8; i += 8 {
		d := difference(a[i:], b[i:])
		mask |= wordMask(d) << i
		if store {
			flip(b[i:], d)
		}
	}
	for ; i < len(a); i++ {
		d := a[i] ^ b[i]
		if d != 0 {
			mask |= 1 << i
		}
		if store {
			b[i] ^= d
		}
	}
	return mask
}

// difference has a bit set for each bit in which the first 8 bytes differ. The
// compiler makes one load of each operand of it.
func difference(a, b []byte) uint64 {
	return binary.LittleEndian.Uint64(a) ^ binary.LittleEndian.Uint64(b)
}

func flip(b []byte, d uint64) {
	binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^d)
}

// wordMask has bit i set if byte i of d is not 0.
func wordMask(d uint64) uint64 {
	const low7 = 0x7f7f7f7f7f7f7f7f
	// Adding 0x7f carries into a byte's top bit unless its low 7 bits are 0,
	// and never out of the byte.
	top := ((d&low7 + low7) | d) &^ low7
	// The product moves bit 8*i to bit 56+i; no two of its terms meet.
	return top >> 7 * 0x0102040810204080 >> 56
}
