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
	switch p := recover().(type) {
	case nil:
	case interface{ Addr() uintptr }: // a fault at an address; other panics, nil dereferences too, have none
		*err = fmt.Errorf("%w: it was cut short", ErrCorrupt)
	default:
		panic(p)
	}
}
