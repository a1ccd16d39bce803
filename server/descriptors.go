package server

import (
	"math"

	"golang.org/x/sys/unix"
)

// reservedDescriptors are kept from connections: for the store, which ends the process when it gets none, for memory files
// while they are made or grow, and for listeners. Where there are few in all it is half of them.
const reservedDescriptors = 256

// mostConnections is how many connections leave descriptors for everything else. The Go runtime has raised the limit as
// far as it may, and gives programs that it starts the old one.
func mostConnections() int {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil || lim.Cur > math.MaxInt32 {
		return math.MaxInt32
	}
	n := int(lim.Cur)
	return n - min(reservedDescriptors, n/2)
}
