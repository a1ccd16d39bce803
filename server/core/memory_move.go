package core

import "slices"

// What goes to another service with a directory needs a place in that one's memory file, and loses its own. If it is very much, nobody
// waits until it has its place: a new file is built beside the committer, as for a directory that is renamed. Until that takes the old
// one's place, those who have that mapped do not find what has come, and read it over the connection. What has left is
// taken out at once, so that nobody reads there what is changed elsewhere.

// leaveMemory takes what has gone to another service out of a memory file. Of what has come there, if it is much, nothing is in the file
// before it is built anew.
func (s *Core) leaveMemory(f *ferry, moved map[*service]struct{}) {
	if !f.large {
		for _, slot := range f.slots {
			s.freeSlot(f.from, slot, moved)
		}
		return
	}
	from, to := f.from.content.Load(), f.to.content.Load()
	for _, c := range []*content{from, to} {
		if c.building != nil {
			c.building.stale.Store(true)
		}
	}
	to.landing = to.mem != nil
	if from.mem == nil {
		from.free = append(from.free, f.slots...)
		return
	}
	var err error
	from.sparse, err = from.mem.DeleteAll(slices.Values(f.slots))
	if from.high = from.mem.Slots(); err != nil {
		s.wroteMemory(f.from, from, false, err, moved)
	}
}

// landMemory has the memory files built anew that lack very much, or hold very little. The delta is in the view by now.
func (s *Core) landMemory(d *delta) {
	for _, f := range d.ferries {
		for _, svc := range []*service{f.from, f.to} {
			if c := svc.content.Load(); c != nil && c.mem != nil && c.building == nil && (c.landing || c.sparse) {
				s.rebuildMemory(svc, c)
			}
		}
	}
}
