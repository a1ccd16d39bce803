package sync

import "strings"

// Cursor walks over the entries of a directory, in the order of their names, as they were when the cursor was made, whatever
// comes, goes or is renamed since. It costs nothing to make, and as much memory as what changes meanwhile. It is for one
// goroutine at a time.
type Cursor struct {
	d    *Dir
	dirs []nameLeaf[*Dir]
	vars []nameLeaf[*Variable]
	// where it is
	dir, variable spot
	// were are the names that entries had which have been renamed since; guarded by Service.mu.
	were map[Node]string
}

// spot is a place in a frozen list.
type spot struct{ leaf, item int }

// Cursor begins to walk over the directory. The cursor must be closed.
func (d *Dir) Cursor() *Cursor {
	d.s.mu.Lock()
	defer d.s.mu.Unlock()
	c := &Cursor{d: d, dirs: d.dirs.freeze(), vars: d.vars.freeze()}
	if d.cursors == nil {
		d.cursors = map[*Cursor]struct{}{}
	}
	d.cursors[c] = struct{}{}
	return c
}

// Close ends the walk.
func (c *Cursor) Close() {
	c.d.s.mu.Lock()
	defer c.d.s.mu.Unlock()
	if delete(c.d.cursors, c); len(c.d.cursors) == 0 {
		c.d.cursors = nil
	}
}

// renaming has the cursors remember the name of an entry that is about to get another, here or elsewhere.
func (d *Dir) renaming(n Node, name string) {
	for c := range d.cursors {
		if _, ok := c.were[n]; ok {
			continue
		}
		if c.were == nil {
			c.were = map[Node]string{}
		}
		c.were[n] = name
	}
}

// Next fills dst with the entries that come next and returns how many these are; 0: that was all.
func (c *Cursor) Next(dst []Child) (n int) {
	c.d.s.mu.RLock()
	defer c.d.s.mu.RUnlock()
	for n < len(dst) {
		d, v := at(c.dirs, c.dir), at(c.vars, c.variable)
		switch {
		case d == nil && v == nil:
			return n
		case v == nil || d != nil && strings.Compare(c.nameLocked(d, d.name), c.nameLocked(v, v.name)) < 0:
			dst[n] = Child{c.nameLocked(d, d.name), c.nowLocked(d, d.gone)}
			c.dir = after(c.dirs, c.dir)
		default:
			dst[n] = Child{c.nameLocked(v, v.name), c.nowLocked(v, v.gone)}
			c.variable = after(c.vars, c.variable)
		}
		n++
	}
	return n
}

// nowLocked is what an entry has become: another node, if it has moved to another service, alone or with the directory.
func (c *Cursor) nowLocked(n Node, gone bool) Node {
	if gone {
		if now := c.d.s.c.index.get(n.ID()); now != nil && serviceOfNode(now).epoch == c.d.s.epoch {
			return now
		}
	}
	return n
}

// nameLocked is the name that an entry had when the cursor was made.
func (c *Cursor) nameLocked(n Node, now string) string {
	if c.were != nil {
		if name, ok := c.were[n]; ok {
			return name
		}
	}
	return now
}

// Rewind goes back to the first entry.
func (c *Cursor) Rewind() { c.dir, c.variable = spot{}, spot{} }

func at[T named](leaves []nameLeaf[T], s spot) (it T) {
	if s.leaf < len(leaves) {
		it = leaves[s.leaf].items[s.item]
	}
	return it
}

func after[T named](leaves []nameLeaf[T], s spot) spot {
	if s.item++; s.item == len(leaves[s.leaf].items) {
		s = spot{s.leaf + 1, 0}
	}
	return s
}
