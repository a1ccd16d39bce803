package memfile

import (
	"fmt"
	"runtime/debug"
)

// Another process may cut the file short at any time; touching a page beyond its end is then a SIGBUS. Every function that
// touches mapped bytes therefore begins with
//
//	defer caught(debug.SetPanicOnFault(true), &err)
//
// and gets [ErrCorrupt]. It works inside the runtime's assembly copies too.
func caught(old bool, err *error) {
	debug.SetPanicOnFault(old)
	if p := recover(); p != nil {
		*err = faulted(p)
	}
}

// readDone is caught for who reads under a shard's lock, which it gives back.
func (s *shard) readDone(old bool, err *error) {
	s.mu.RUnlock()
	debug.SetPanicOnFault(old)
	if p := recover(); p != nil {
		*err = faulted(p)
	}
}

func faulted(p any) error {
	if _, ok := p.(interface{ Addr() uintptr }); !ok { // a fault at an address; other panics, nil dereferences too, have none
		panic(p)
	}
	return fmt.Errorf("%w: it was cut short", ErrCorrupt)
}
