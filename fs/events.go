package fs

import (
	"fmt"
	"strings"
)

// EventSet says which inotify events are raised for changes made elsewhere. The zero value raises all.
type EventSet uint8

// The events that can be left out.
const (
	withoutCreate EventSet = 1 << iota
	withoutModify
	withoutCloseWrite
	withoutDelete
	withoutMove
	withoutAttrib
	withoutAny = withoutCreate | withoutModify | withoutCloseWrite | withoutDelete | withoutMove | withoutAttrib
)

var eventNames = map[string]EventSet{
	"create": withoutCreate, "modify": withoutModify, "close_write": withoutCloseWrite, "delete": withoutDelete,
	"move": withoutMove, "attrib": withoutAttrib,
}

// ParseEvents reads "all", "none", or a list of create, modify, close_write, attrib, delete, move.
func ParseEvents(s string) (EventSet, error) {
	switch s {
	case "", "all":
		return 0, nil
	case "none":
		return withoutAny, nil
	}
	set := withoutAny
	for name := range strings.SplitSeq(s, ",") {
		e, ok := eventNames[strings.TrimSpace(name)]
		if !ok {
			return 0, fmt.Errorf("unknown event %q: must be all, none, or a list of create,modify,close_write,attrib,delete,move", name)
		}
		set &^= e
	}
	return set, nil
}
