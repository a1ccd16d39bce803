package core

import (
	"github.com/commy-project/commyfs/bare"
	"github.com/commy-project/commyfs/memfile"
	"github.com/commy-project/commyfs/model"
)

// In the view a directory that is renamed is one entry. A memory file has the whole name with each variable, and the version. So has
// what finds stores in a bare service's file.

// mostRenamed is up to how many entries names and versions are changed in the file, for which all wait. With more, a new file is
// built beside the committer, and has the new ones when it takes the old one's place.
const mostRenamed = 20_000

// renameMemory brings the names in memory files to where the delta, which is in the view by now, has moved directories.
func (s *Core) renameMemory(d *delta, moved map[*service]struct{}) {
	var done set[*directory]
	for _, ev := range d.events {
		if ev.kind != model.EventRenameDir || done.has(ev.d.dir) {
			continue
		}
		done.add(ev.d.dir)
		c, now := ev.service.content.Load(), ev.d.dir.now
		if c == nil || now == nil || c.get(entryKey{now.in, now.name}).d != now {
			continue // it is gone, and was never there outside of the batch if it has no now
		}
		c.named = d.rev
		if f := c.bare.Load(); f != nil {
			ev.d.dir.renumber(c, f)
		}
		if c.mem == nil && c.building == nil {
			continue
		}
		if !s.renameInMemory(ev.service, c, ev.d.dir, moved) {
			s.rebuildMemory(ev.service, c)
			continue
		}
		if c.mem != nil {
			_ = c.mem.SetNamed(uint64(d.rev)) // fails only if the file was damaged, which put finds
			_ = c.mem.Changed()
		}
	}
}

// renameInMemory does so for one directory, unless there is too much in it.
func (s *Core) renameInMemory(svc *service, c *content, dir *directory, moved map[*service]struct{}) bool {
	left := s.most
	for w := dir.below(c); ; left-- {
		it, path, ok := w.next()
		switch v := it.v; {
		case !ok:
			return true
		case left == 0:
			return false
		case v != nil:
			version := w.version(v)
			s.writeSlot(svc, v.slot, moved, func(mem *memfile.Writer) (bool, error) {
				in := v.initial(path, version)
				return mem.Relabel(&in)
			})
		}
	}
}

// renumber tells who finds stores in a bare service's file of the versions that variables have by a rename.
func (d *directory) renumber(c *content, f *bare.File) {
	for w := d.below(c); ; {
		it, _, ok := w.next()
		if !ok {
			return
		}
		if it.v != nil {
			f.Renumber(it.v.id, w.version(it.v))
		}
	}
}

// below is a walk over all below a directory. The caller is the committer.
func (d *directory) below(c *content) *walk {
	return (frozen{c.nodes.root}).walk(d.id, d.now.in.path(d.now.name), d.version(0), true)
}

// rebuildMemory makes a memory file anew, with the names and slots as they are now. The old one is kept current until then, but for
// names and versions.
func (s *Core) rebuildMemory(svc *service, c *content) {
	if c.building != nil {
		c.building.again = true
		return
	}
	b := c.newBuild()
	s.wg.Go(func() {
		err := s.buildMemory(svc, c, b)
		_ = s.between(func() { // fails when the server closes
			if err != nil {
				s.abandonMemory(c)
			}
			var touched touched
			s.pushMoved(map[*service]struct{}{svc: {}}, &touched)
			touched.wake()
		})
	})
}
