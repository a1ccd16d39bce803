package diff

import (
	"fmt"
	"strings"
	"sync/atomic"
)

// active is the one row that this process uses.
var active atomic.Uint32

func init() {
	for k, row := range rows {
		if row.available {
			active.Store(uint32(k))
			return
		}
	}
}

// Implementation names the implementation that this process uses.
func Implementation() string { return rows[active.Load()].name }

// Implementations names those that this build has and this machine can run, best
// first. The first is used unless [Use] says otherwise.
func Implementations() []string {
	var names []string
	for _, row := range rows {
		if row.available {
			names = append(names, row.name)
		}
	}
	return names
}

// Use has this process use the implementation of that name from the next call
// on. They differ in nothing but speed: it is for measurements, and for finding
// out whether one is to blame for a fault. The error for a name that is not
// among [Implementations] lists them.
func Use(name string) error {
	for k, row := range rows {
		if row.available && row.name == name {
			active.Store(uint32(k))
			return nil
		}
	}
	return fmt.Errorf("unknown diff implementation %q: must be one of %s", name, strings.Join(Implementations(), ", "))
}
