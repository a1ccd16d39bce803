package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// These three are as in ../kernel.go and ../kernel_vector.go.
const (
	block   = 64
	entries = 128
	peel    = 512
)

// group is how many bytes the loops look at before they branch.
const group = 4 * block

// vector is what differs between the instruction sets. What it loads from a and
// compares it keeps in registers, so that the mask of a block and what sync
// stores of it come from one and the same load.
type vector interface {
	name() string
	// unequal loads the n blocks at a and jumps to label if any differs from b.
	unequal(n int, a, b Mem, label string)
	// mask gives the mask of the i-th of the loaded blocks.
	mask(i int, b Mem) Register
	// store puts the i-th of the loaded blocks into b.
	store(i int, b Mem)
	// end comes before each return.
	end()
}

// shorter is a vector that can load less than a block.
type shorter interface {
	// short is first for rest bytes: it jumps to none, or to found with index set.
	short(rest, pa, pb, index Register, none, found string)
}

// first is the function of that name: firstX(a, b *byte, n, pos int) int.
func first(v vector) {
	s, isShorter := v.(shorter)
	TEXT("first"+v.name(), NOSPLIT, "func(a, b *byte, n, pos int) int")
	a := Load(Param("a"), GP64())
	b := Load(Param("b"), GP64())
	n := Load(Param("n"), GP64())
	pos := Load(Param("pos"), GP64())
	pa, pb, end, last := GP64(), GP64(), GP64(), GP64()
	index := GP64()
	LEAQ(Mem{Base: a, Index: pos, Scale: 1}, pa)
	LEAQ(Mem{Base: b, Index: pos, Scale: 1}, pb)
	LEAQ(Mem{Base: a, Index: n, Scale: 1}, end)

	Comment("Bring pa to a cache line, unless there is too little for that to pay: one load looks at what is before.")
	step, rest := GP64(), GP64()
	MOVQ(pa, step)
	NEGQ(step)
	ANDQ(Imm(block-1), step)
	JZ(LabelRef("groups"))
	MOVQ(end, rest)
	SUBQ(pa, rest)
	CMPQ(rest, U32(peel))
	JB(LabelRef("groups"))
	v.unequal(1, Mem{Base: pa}, Mem{Base: pb}, "one")
	ADDQ(step, pa)
	ADDQ(step, pb)

	Label("groups")
	LEAQ(Mem{Base: end, Disp: -group}, last)
	CMPQ(pa, last)
	JA(LabelRef("blocks"))
	align()
	Label("loop")
	v.unequal(group/block, Mem{Base: pa}, Mem{Base: pb}, "some")
	Label("next")
	ADDQ(U32(group), pa)
	ADDQ(U32(group), pb)
	CMPQ(pa, last)
	JBE(LabelRef("loop"))

	Label("blocks")
	ADDQ(U32(group-block), last)
	CMPQ(pa, last)
	JA(LabelRef("tail"))
	Label("single")
	v.unequal(1, Mem{Base: pa}, Mem{Base: pb}, "one")
	ADDQ(Imm(block), pa)
	ADDQ(Imm(block), pb)
	CMPQ(pa, last)
	JBE(LabelRef("single"))

	Label("tail")
	Comment("Less than a block is left: the last 64 bytes once more, with it.")
	CMPQ(pa, end)
	JAE(LabelRef("none"))
	if isShorter {
		MOVQ(n, rest)
		SUBQ(pos, rest)
		CMPQ(rest, Imm(block))
		JB(LabelRef("little"))
	}
	SUBQ(pa, last)
	ADDQ(last, pa)
	ADDQ(last, pb)
	v.unequal(1, Mem{Base: pa}, Mem{Base: pb}, "one")

	Label("none")
	Store(n, ReturnIndex(0))
	v.end()
	RET()

	for i := range group / block {
		if i == 0 {
			Label("some")
		}
		mask := v.mask(i, Mem{Base: pb})
		BSFQ(mask, index) // zero flag: no bit set
		JNZ(LabelRef("found"))
		ADDQ(Imm(block), pa)
	}
	Comment("Somebody wrote b in between.")
	SUBQ(U32(group), pa)
	JMP(LabelRef("next"))

	Label("one")
	mask := v.mask(0, Mem{Base: pb})
	Comment("If somebody wrote b in between, any index will do, but not an undefined one.")
	BTSQ(Imm(block-1), mask)
	BSFQ(mask, index)
	Label("found")
	SUBQ(a, pa)
	ADDQ(index, pa)
	Store(pa, ReturnIndex(0))
	v.end()
	RET()

	if isShorter {
		Label("little")
		s.short(rest, pa, pb, index, "none", "found")
	}
}

// scan is scanX or, if store is set, syncX:
// (a, b *byte, n, pos int, out *[entries]entry, cnt int) (next, total int).
func scan(v vector, name string, store bool) {
	TEXT(name+v.name(), NOSPLIT, "func(a, b *byte, n, pos int, out *byte, cnt int) (next, total int)")
	a := Load(Param("a"), GP64())
	b := Load(Param("b"), GP64())
	end := Load(Param("n"), GP64())
	pos := Load(Param("pos"), GP64())
	out := Load(Param("out"), GP64())
	cnt := Load(Param("cnt"), GP64())
	pa, pb, last, slot, full := GP64(), GP64(), GP64(), GP64(), GP64()
	LEAQ(Mem{Base: a, Index: pos, Scale: 1}, pa)
	LEAQ(Mem{Base: b, Index: pos, Scale: 1}, pb)
	ADDQ(a, end)
	SHLQ(Imm(4), cnt)
	LEAQ(Mem{Base: out, Index: cnt, Scale: 1}, slot)
	LEAQ(Mem{Base: out, Disp: 16 * (entries - group/block)}, full)

	LEAQ(Mem{Base: end, Disp: -group}, last)
	CMPQ(pa, last)
	JA(LabelRef("blocks"))
	align()
	Label("loop")
	v.unequal(group/block, Mem{Base: pa}, Mem{Base: pb}, "some")
	Label("next")
	ADDQ(U32(group), pa)
	ADDQ(U32(group), pb)
	CMPQ(pa, last)
	JBE(LabelRef("loop"))

	Label("blocks")
	Comment("Fewer blocks than a group, and room for them all.")
	ADDQ(U32(group-block), last)
	CMPQ(pa, last)
	JA(LabelRef("done"))
	Label("single")
	v.unequal(1, Mem{Base: pa}, Mem{Base: pb}, "one")
	Label("after")
	ADDQ(Imm(block), pa)
	ADDQ(Imm(block), pb)
	CMPQ(pa, last)
	JBE(LabelRef("single"))

	Label("done")
	SUBQ(a, pa)
	Store(pa, ReturnIndex(0))
	SUBQ(out, slot)
	SHRQ(Imm(4), slot)
	Store(slot, ReturnIndex(1))
	v.end()
	RET()

	off, next := GP64(), GP64()
	emit := func(i int) {
		mask := v.mask(i, Mem{Base: pb})
		if i > 0 {
			ADDQ(Imm(block), off)
		}
		MOVQ(off, Mem{Base: slot})
		MOVQ(mask, Mem{Base: slot, Disp: 8})
		LEAQ(Mem{Base: slot, Disp: 16}, next)
		TESTQ(mask, mask)
		CMOVQNE(next, slot)
	}
	Label("some")
	Comment("Write an entry for every block, and over it if its mask is 0: branches would be guesses.")
	MOVQ(pa, off)
	SUBQ(a, off)
	for i := range group / block {
		emit(i)
	}
	if store {
		for i := range group / block {
			v.store(i, Mem{Base: pb})
		}
	}
	CMPQ(slot, full)
	JBE(LabelRef("next"))
	ADDQ(U32(group), pa)
	JMP(LabelRef("done"))

	Label("one")
	MOVQ(pa, off)
	SUBQ(a, off)
	emit(0)
	if store {
		v.store(0, Mem{Base: pb})
	}
	JMP(LabelRef("after"))
}

func at(m Mem, offset int) Mem {
	m.Disp += offset
	return m
}

func init() {
	if group%block != 0 || entries < 2*group/block {
		panic(fmt.Sprintf("a group of %d bytes does not suit %d entries", group, entries))
	}
}
