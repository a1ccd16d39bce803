package kernel

import (
	"fmt"
	"strings"
)

// Events says which inotify events are left out for changes made elsewhere. The zero value leaves out none.
type Events uint8

// The events that can be left out.
const (
	Create Events = 1 << iota
	Modify
	CloseWrite
	Delete
	Move
	Attrib
	all = Create | Modify | CloseWrite | Delete | Move | Attrib
)

var eventNames = map[string]Events{
	"create": Create, "modify": Modify, "close_write": CloseWrite, "delete": Delete, "move": Move, "attrib": Attrib,
}

// ParseEvents reads which events are raised: "all", "none", or a list of create, modify, close_write, attrib, delete, move.
func ParseEvents(s string) (Events, error) {
	switch s {
	case "", "all":
		return 0, nil
	case "none":
		return all, nil
	}
	without := all
	for name := range strings.SplitSeq(s, ",") {
		e, ok := eventNames[strings.TrimSpace(name)]
		if !ok {
			return 0, fmt.Errorf("unknown event %q: must be all, none, or a list of create,modify,close_write,attrib,delete,move", name)
		}
		without &^= e
	}
	return without, nil
}

// Raises reports whether these events are raised, all of them.
func (c *Cache) Raises(e Events) bool { return c.events&e == 0 }
