package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// load only loads two slices of n bytes, a multiple of 256: nothing that looks
// at all of their bytes can be faster.
func load(width int) {
	TEXT(fmt.Sprintf("load%d", width), NOSPLIT, "func(a, b *byte, n int)")
	a := Load(Param("a"), GP64())
	b := Load(Param("b"), GP64())
	n := Load(Param("n"), GP64())
	end := GP64()
	LEAQ(Mem{Base: a, Index: n, Scale: 1}, end)
	CMPQ(a, end)
	JAE(LabelRef("done"))
	align()
	Label("loop")
	for _, p := range []Register{a, b} {
		for i := 0; i < group; i += width / 8 {
			if width == 512 {
				VMOVDQU64(Mem{Base: p, Disp: i}, Z16)
			} else {
				VMOVDQU(Mem{Base: p, Disp: i}, Y0)
			}
		}
	}
	ADDQ(U32(group), a)
	ADDQ(U32(group), b)
	CMPQ(a, end)
	JB(LabelRef("loop"))
	Label("done")
	if width == 256 {
		VZEROUPPER()
	}
	RET()
}
