package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

type avx2 struct{}

const half = block / 2

var (
	ymm = [...]VecPhysical{Y0, Y1, Y2, Y3, Y4, Y5, Y6, Y7}
	eq  = [...]VecPhysical{Y8, Y9, Y10, Y11, Y12, Y13, Y14, Y15}
)

func (avx2) name() string { return "AVX2" }

func (avx2) unequal(n int, a, b Mem, label string) {
	for i := range 2 * n {
		VMOVDQU(at(a, i*half), ymm[i])
	}
	for i := range 2 * n {
		VPCMPEQB(at(b, i*half), ymm[i], eq[i])
	}
	for k := n; k > 0; k /= 2 {
		for i := range k {
			VPAND(eq[i+k], eq[i], eq[i])
		}
	}
	all := GP32()
	VPMOVMSKB(eq[0], all)
	CMPL(all, I32(-1))
	JNE(LabelRef(label))
}

func (avx2) mask(i int, b Mem) Register {
	low, high := GP64(), GP64()
	VPCMPEQB(at(b, 2*i*half), ymm[2*i], eq[0])
	VPCMPEQB(at(b, (2*i+1)*half), ymm[2*i+1], eq[1])
	VPMOVMSKB(eq[0], low.As32())
	VPMOVMSKB(eq[1], high.As32())
	SHLQ(Imm(32), high)
	ORQ(high, low)
	NOTQ(low)
	return low
}

func (avx2) store(i int, b Mem) {
	VMOVDQU(ymm[2*i], at(b, 2*i*half))
	VMOVDQU(ymm[2*i+1], at(b, (2*i+1)*half))
}

func (avx2) end() { VZEROUPPER() }
