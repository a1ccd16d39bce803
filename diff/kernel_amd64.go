//go:build !noasm && !race

package diff

import (
	"unsafe"

	"github.com/klauspost/cpuid/v2"
)

//go:generate go run -C _asm . kernels -out ../kernel_amd64.s

// supported reports whether the machine has what the assembly of k needs. It
// names every extension that the generated file says is required, and those of
// the bit operations with them; the operating system's part is cpuid's to check.
func supported(k kernel) bool {
	switch k {
	case kernelAVX512:
		return cpuid.CPU.Supports(cpuid.AVX512F, cpuid.AVX512BW, cpuid.AVX512DQ, cpuid.BMI1, cpuid.BMI2)
	case kernelAVX2:
		return cpuid.CPU.Supports(cpuid.AVX2, cpuid.CMOV)
	default:
		return false
	}
}

//go:noinline
func (k kernel) first(a, b []byte, pos int) int {
	if n := len(a) - pos; 0 < n && n <= piece {
		switch {
		case k == kernelAVX512:
			return firstAVX512(unsafe.SliceData(a), unsafe.SliceData(b), len(a), pos)
		case k == kernelAVX2 && n >= block:
			return firstAVX2(unsafe.SliceData(a), unsafe.SliceData(b), len(a), pos)
		}
	}
	return k.firstOther(a, b, pos)
}

func scanBlocks(k kernel, a, b []byte, pos int, out *[entries]entry, cnt int, store bool) (next, total int) {
	pa, pb, n := unsafe.SliceData(a), unsafe.SliceData(b), len(a)
	switch {
	case k == kernelAVX512 && store:
		return syncAVX512(pa, pb, n, pos, out, cnt)
	case k == kernelAVX512:
		return scanAVX512(pa, pb, n, pos, out, cnt)
	case store:
		return syncAVX2(pa, pb, n, pos, out, cnt)
	default:
		return scanAVX2(pa, pb, n, pos, out, cnt)
	}
}

//go:noescape
func firstAVX512(a, b *byte, n, pos int) int

//go:noescape
func scanAVX512(a, b *byte, n, pos int, out *[entries]entry, cnt int) (next, total int)

//go:noescape
func syncAVX512(a, b *byte, n, pos int, out *[entries]entry, cnt int) (next, total int)

//go:noescape
func firstAVX2(a, b *byte, n, pos int) int

//go:noescape
func scanAVX2(a, b *byte, n, pos int, out *[entries]entry, cnt int) (next, total int)

//go:noescape
func syncAVX2(a, b *byte, n, pos int, out *[entries]entry, cnt int) (next, total int)
