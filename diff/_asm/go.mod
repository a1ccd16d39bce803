// The generator of the assembly, a module of its own so that avo is no dependency of commyfs.
module github.com/commy-project/commyfs/diff/_asm

go 1.26.0

require github.com/mmcloughlin/avo v0.6.0

require (
	golang.org/x/mod v0.41.0 // indirect
	golang.org/x/sync v0.23.0 // indirect
	// What avo asks for does not build since Go 1.25.
	golang.org/x/tools v0.51.0 // indirect
)
