package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// avx512 wants F, BW, and DQ. Only registers from 16 on are used: they leave no
// upper halves behind that would slow down SSE code, so that VZEROUPPER is not
// needed.
type avx512 struct{}

var (
	zmm  = [...]VecPhysical{Z16, Z17, Z18, Z19}
	temp = [...]VecPhysical{Z20, Z21}
)

func (avx512) name() string { return "AVX512" }

func (avx512) unequal(n int, a, b Mem, label string) {
	for i := range n {
		VMOVDQU64(at(a, i*block), zmm[i])
	}
	switch n {
	case 1:
		VPXORQ(b, zmm[0], temp[0])
	case 4:
		VPXORQ(b, zmm[0], temp[0])
		VPXORQ(at(b, block), zmm[1], temp[1])
		// 0xf6: the third or else the two others are unequal.
		VPTERNLOGQ(U8(0xf6), at(b, 2*block), zmm[2], temp[0])
		VPTERNLOGQ(U8(0xf6), at(b, 3*block), zmm[3], temp[1])
		VPORQ(temp[0], temp[1], temp[0])
	default:
		panic("one block or four")
	}
	VPTESTMQ(temp[0], temp[0], K1)
	KORTESTB(K1, K1)
	JNZ(LabelRef(label))
}

func (avx512) mask(i int, b Mem) Register {
	mask, k := GP64(), K()
	VPCMPUB(U8(4), at(b, i*block), zmm[i], k) // 4: not equal
	KMOVQ(k, mask)
	return mask
}

func (avx512) store(i int, b Mem) { VMOVDQU64(zmm[i], at(b, i*block)) }

func (avx512) end() {}

// short loads under a mask: bytes that it leaves out are not looked at and may be
// on a page that is not there.
func (avx512) short(rest, pa, pb, index Register, none, found string) {
	bits := GP64()
	MOVQ(I32(-1), bits)
	BZHIQ(rest, bits, bits)
	KMOVQ(bits, K1)
	VMOVDQU8_Z(Mem{Base: pa}, K1, zmm[0])
	VPCMPUB(U8(4), Mem{Base: pb}, zmm[0], K1, K2)
	KMOVQ(K2, bits)
	BSFQ(bits, index) // zero flag: no bit set
	JNZ(LabelRef(found))
	JMP(LabelRef(none))
}
