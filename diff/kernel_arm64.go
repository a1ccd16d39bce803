//go:build !noasm && !race

package diff

import "unsafe"

// supported: every arm64 machine has NEON.
func supported(k kernel) bool { return k == kernelNEON }

//go:noinline
func (k kernel) first(a, b []byte, pos int) int {
	if n := len(a) - pos; k == kernelNEON && block <= n && n <= piece {
		return firstNEON(unsafe.SliceData(a), unsafe.SliceData(b), len(a), pos)
	}
	return k.firstOther(a, b, pos)
}

func scanBlocks(_ kernel, a, b []byte, pos int, out *[entries]entry, cnt int, store bool) (next, total int) {
	if store {
		return syncNEON(unsafe.SliceData(a), unsafe.SliceData(b), len(a), pos, out, cnt)
	}
	return scanNEON(unsafe.SliceData(a), unsafe.SliceData(b), len(a), pos, out, cnt)
}

//go:noescape
func firstNEON(a, b *byte, n, pos int) int

//go:noescape
func scanNEON(a, b *byte, n, pos int, out *[entries]entry, cnt int) (next, total int)

//go:noescape
func syncNEON(a, b *byte, n, pos int, out *[entries]entry, cnt int) (next, total int)
