package core

import "github.com/commy-project/commyfs/memfile"

// A variable has a slot for its service's memory file, also while there is none. A file that is built beside the committer has the slots
// that the variables have then.

// fixed tells that a file is being built: what is free in the one that there is need not be kept for anybody in the new one.
func (c *content) fixed() bool { return c.building != nil && !c.building.stale.Load() }

// takeSlot takes a slot that nothing has, while a file is built one that was never in use.
func (c *content) takeSlot() uint32 {
	slot := c.high
	switch last := len(c.free) - 1; {
	case c.fixed():
		if c.mem != nil {
			c.mem.Extend(slot + 1)
		}
	case c.mem != nil:
		slot = c.mem.Alloc()
	case last >= 0:
		slot, c.free = c.free[last], c.free[:last]
	}
	c.high = max(c.high, slot+1)
	return slot
}

// expect prepares for taking many slots, of what the file that is built by now would lack.
func (c *content) expect(n int) {
	if c.building != nil {
		c.building.stale.Store(true)
	}
	if c.mem != nil {
		c.mem.Grow(n)
	}
}

// giveSlot frees a slot that was taken.
func (c *content) giveSlot(slot uint32) {
	switch {
	case c.mem != nil:
		_, _ = c.mem.Delete(slot) // fails only if the file was damaged, which put finds
	case !c.fixed():
		c.free = append(c.free, slot)
	}
}

// writeSlot has a service's memory file changed, if there is one, and the one that is being built once it is.
func (s *Core) writeSlot(svc *service, slot uint32, moved map[*service]struct{}, change func(*memfile.Writer) (bool, error)) {
	c := svc.content.Load()
	if c.mem != nil && (!c.landing || c.mem.Has(slot)) {
		rotated, err := change(c.mem)
		s.wroteMemory(svc, c, rotated, err, moved)
	}
	if c.building != nil {
		c.building.changes = append(c.building.changes, change)
	}
}

// freeSlot is writeSlot for what is gone.
func (s *Core) freeSlot(svc *service, slot uint32, moved map[*service]struct{}) {
	if c := svc.content.Load(); c.mem == nil && !c.fixed() {
		c.free = append(c.free, slot)
		return
	}
	s.writeSlot(svc, slot, moved, func(mem *memfile.Writer) (bool, error) { return mem.Delete(slot) })
}
