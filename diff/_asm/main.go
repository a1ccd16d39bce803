// Command _asm generates the amd64 assembly of package diff and the loops that
// its benchmark compares with: `go generate ./diff/...` in the repository runs
// it. What the kernels promise is said in ../kernel.go and ../kernel_amd64.go.
package main

import (
	"os"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
)

func main() {
	// The name is cut off for flag.Parse in Generate.
	what := os.Args[1]
	os.Args = append(os.Args[:1], os.Args[2:]...)

	switch what {
	case "kernels":
		ConstraintExpr("amd64,!noasm,!race")
		for _, w := range []vector{avx512{}, avx2{}} {
			first(w)
			scan(w, "scan", false)
			scan(w, "sync", true)
		}
	case "loads":
		ConstraintExpr("amd64,!noasm")
		load(512)
		load(256)
	default:
		panic("neither kernels nor loads: " + what)
	}
	Generate()
}

// align has the next instruction start a cache line: a loop that straddles one
// line more than it must was seen to cost 10 % from L1. avo knows no directives.
func align() {
	Instruction(&ir.Instruction{Opcode: "PCALIGN", Operands: []Op{Imm(64)}})
}
