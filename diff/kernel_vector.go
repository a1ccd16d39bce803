//go:build (amd64 || arm64) && !noasm && !race

package diff

import "unsafe"

// The assembly of scan and sync looks at whole blocks; the bytes before and after
// them are compared here, in words. That of first takes the last block once more,
// with the bytes behind it. So nothing touches a byte outside of the slices.
//
// For each instruction set X there are
//
//	firstX(a, b *byte, n, pos int) int
//	scanX(a, b *byte, n, pos int, out *[entries]entry, cnt int) (next, total int)
//	syncX, the same
//
// with the results of first, [kernel.scan] and [kernel.syncScan]. For firstX,
// n-pos is at least block, or 1 for AVX-512, which loads less under a mask. For
// the others it is a multiple of block; cnt entries are in out already, and leave
// room for a group of four.

// peel is from how many bytes on the loads of a are brought to cache lines. A
// load that straddles two of them takes twice the time.
const peel = 512

func scanVector(k kernel, a, b []byte, pos int, out *[entries]entry, store bool) (next, n int) {
	if len(a)-pos >= peel {
		if head := -(int(uintptr(unsafe.Pointer(unsafe.SliceData(a)))) + pos) & (block - 1); head > 0 {
			if mask := tailMask(a[pos:pos+head], b[pos:pos+head], store); mask != 0 {
				out[0] = entry{pos, mask}
				n = 1
			}
			pos += head
		}
	}
	whole := pos + (len(a)-pos)&^(block-1)
	pos, n = scanBlocks(k, a[:whole], b[:whole], pos, out, n, store)
	if pos == whole && pos < len(a) && n < len(out) {
		if mask := tailMask(a[pos:], b[pos:len(a)], store); mask != 0 {
			out[n] = entry{pos, mask}
			n++
		}
		pos = len(a)
	}
	return pos, n
}
