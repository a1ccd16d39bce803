//go:build race

package diff

import (
	"runtime"
	"unsafe"
)

const raceEnabled = true

// raceRead tells the race detector, which does not see into assembly (that of
// bytes.Equal included), that p is read.
func raceRead(p []byte) {
	if len(p) > 0 {
		runtime.RaceReadRange(unsafe.Pointer(unsafe.SliceData(p)), len(p))
	}
}
