package sync

import (
	"fmt"
	"maps"
	"slices"
)

// Notices made anew, of where nodes were told to be and where they are: steps by which a file system could have come from the one to the
// other. Something is renamed into a directory that is where it stays, once what has its name has gone: to where it belongs, or, if it is
// removed, empty. Where these wait for each other two are exchanged, and if one is in the other, or does not exist yet, what is in the way
// goes aside for a moment, under a name that nobody has.

// retelling makes the notices.
type retelling struct {
	c     *Client
	t     *tally
	at    map[uint64]site            // where nodes are by now, of those that exist
	by    map[site]uint64            // the same by their sites
	in    map[uint64]map[uint64]bool // the same by their directories
	now   map[uint64]site            // where they are in the end
	nodes map[uint64]Node            // what they are there
	busy  map[uint64]bool            // something waits for it
	done  map[uint64]bool            // it is where it is in the end, or is gone
	made  map[uint64]bool            // told to be new
	rises map[uint64]int             // by what was renamed: the index of its last notice
	out   []Notice
	moved map[[2]uint64][]uint64 // variables, by the services that they have left and come to
}

func (c *Client) retell(t *tally) []Notice {
	r := &retelling{c: c, t: t, at: map[uint64]site{}, by: map[site]uint64{}, in: map[uint64]map[uint64]bool{}, now: map[uint64]site{},
		nodes: map[uint64]Node{}, busy: map[uint64]bool{}, done: map[uint64]bool{}, made: map[uint64]bool{}, rises: map[uint64]int{},
		moved: map[[2]uint64][]uint64{}}
	var stay, come, gone []uint64
	for id, x := range t.nodes {
		n := c.index.get(id)
		if n != nil && !isGone(n) {
			r.nodes[id], r.now[id] = n, siteOf(n)
		}
		if x.known {
			r.put(id, x.at)
		}
	}
	for id, x := range t.nodes {
		_, there := r.now[id]
		switch {
		case there && x.known:
			stay = append(stay, id)
		case there && r.shows(x):
			come = append(come, id)
		case x.known:
			gone = append(gone, id)
		default:
			r.done[id] = true // it has come and gone, or nobody knows it
			delete(r.now, id)
		}
	}
	for _, list := range [][]uint64{stay, come} {
		slices.Sort(list)
		for _, id := range list {
			r.settle(id)
		}
	}
	slices.Sort(gone)
	for _, id := range gone {
		r.remove(id)
	}
	r.beside(append(stay, come...))
	r.stamp()
	for between, ids := range r.moved {
		c.cachedMoved(between[0], between[1], ids)
	}
	return r.out
}

// shows reports whether something new is told: not what was in a service that was not known before, unless it is in something that was.
func (r *retelling) shows(x *tallied) bool {
	if !x.silent {
		return true
	}
	above := r.t.nodes[r.now[x.id].dir]
	return above != nil && (above.known || r.shows(above))
}

func (r *retelling) put(id uint64, at site) {
	r.at[id], r.by[at] = at, id
	if r.in[at.dir] == nil {
		r.in[at.dir] = map[uint64]bool{}
	}
	r.in[at.dir][id] = true
}

func (r *retelling) take(id uint64) {
	at := r.at[id]
	delete(r.at, id)
	if r.by[at] == id {
		delete(r.by, at)
	}
	delete(r.in[at.dir], id)
}

// site is where something is by now.
func (r *retelling) site(id uint64) (at site, there bool) {
	if r.t.nodes[id] != nil {
		at, there = r.at[id]
		return at, there
	}
	n := r.c.index.get(id)
	return siteOf(n), n != nil
}

// path is the path of a site by now, and service the one that it is in.
func (r *retelling) path(at site) (path []string, service uint64) {
	path = []string{at.name}
	for at.dir != 0 && len(path) < maxDeep {
		id := at.dir
		at, _ = r.site(id)
		path = append(path, at.name)
		if above, _ := r.site(at.dir); at.dir != 0 && above.dir == 0 {
			service = id
		}
	}
	slices.Reverse(path)
	return path, service
}

// maxDeep bounds paths, whatever the server says.
const maxDeep = 1 << 16

// within reports whether a directory is in something by now, or is it.
func (r *retelling) within(dir, id uint64) bool {
	for range maxDeep {
		if dir == id {
			return true
		}
		at, there := r.site(dir)
		if dir = at.dir; !there || dir == 0 {
			return false
		}
	}
	return true
}

// settle has something come to where it is in the end. If something waits for it that it waits for, it may stay where it is.
func (r *retelling) settle(id uint64) {
	to, stays := r.now[id]
	if r.done[id] || r.busy[id] || !stays {
		return
	}
	r.busy[id] = true
	defer delete(r.busy, id)
	r.settle(to.dir)
	if _, there := r.site(to.dir); to.dir != 0 && (!there || r.within(to.dir, id)) {
		return // it comes later
	}
	at, there := r.at[id]
	for at != to || !there {
		o, taken := r.by[to]
		if !taken {
			break
		}
		if _, stays := r.now[o]; stays {
			r.settle(o)
		} else {
			r.remove(o)
		}
		at, there = r.at[id] // both can have gone aside
		if r.by[to] != o {
			continue
		}
		if there && !r.within(at.dir, o) && !r.within(to.dir, id) && r.exchange(id, o) {
			at = to
			break
		}
		r.rename(o, r.aside(o))
	}
	switch {
	case !there:
		r.create(id, to)
	case at != to:
		r.rename(id, to)
	}
	r.done[id] = true
}

// remove has something be gone. If something is in it that waits for what waits for this, it may stay.
func (r *retelling) remove(id uint64) {
	at, there := r.at[id]
	if !there || r.busy[id] {
		return
	}
	r.busy[id] = true
	defer delete(r.busy, id)
	whole := r.t.nodes[id].service == 0 && at.dir != 0 // a service goes with what is in it
	for _, in := range slices.Sorted(maps.Keys(r.in[id])) {
		if _, stays := r.now[in]; stays {
			r.settle(in)
		} else if !whole || r.stays(in) {
			r.remove(in)
		}
	}
	if len(r.in[id]) > 0 && (!whole || r.stays(id)) {
		return
	}
	x := r.t.nodes[id]
	n := r.notice(Deleted, id, at)
	n.MTime, n.Elsewhere = 0, x.other != 0
	if v, ok := x.was.(*Variable); ok && x.other == 0 { // nobody says that it is anywhere else
		v.s.mu.Lock()
		v.removed = true
		v.s.mu.Unlock()
	}
	r.out = append(r.out, n)
	r.drop(id)
}

// drop takes something away with all that is in it, of which nothing is told.
func (r *retelling) drop(id uint64) {
	for in := range r.in[id] {
		r.drop(in)
	}
	r.take(id)
}

// stays reports whether something stays that is in something by now.
func (r *retelling) stays(id uint64) bool {
	for in := range r.in[id] {
		if _, stays := r.now[in]; stays || r.stays(in) {
			return true
		}
	}
	return false
}

// aside is where something can be for a moment.
func (r *retelling) aside(id uint64) site {
	at := r.at[id]
	if _, service := r.path(at); service != 0 && service != id {
		at.dir = service // which is in nothing that moves
	}
	for i := id; ; i++ {
		to := site{at.dir, fmt.Sprintf("~%d", i)}
		if _, taken := r.by[to]; !taken && !r.takes(to) {
			return to
		}
	}
}

// takes reports whether something is at a site in the end that has always been there.
func (r *retelling) takes(at site) bool {
	switch n := r.c.index.get(at.dir).(type) {
	case *Dir:
		return n.childLocked(at.name) != nil
	case *Service:
		return n.root.childLocked(at.name) != nil
	}
	return false
}

// notice is one about something, which is at a site by now.
func (r *retelling) notice(kind NoticeKind, id uint64, at site) Notice {
	x := r.t.nodes[id]
	out := Notice{Kind: kind, ID: id, Parent: at.dir}
	out.Path, out.Service = r.path(at)
	if x != nil {
		out.Dir, out.Own = x.dir, x.own
	}
	switch n := r.nodes[id].(type) {
	case *Variable:
		out.MTime = n.mtime
	case *Dir:
		out.MTime = n.mtime
	case *Service:
		out.MTime = n.mtime
	case *Tenant:
		out.MTime = n.mtime
	}
	return out
}

func (r *retelling) create(id uint64, to site) {
	r.put(id, to)
	n := r.notice(Created, id, to)
	n.Variable, _ = r.nodes[id].(*Variable)
	r.made[id] = true
	r.out = append(r.out, n)
}

func (r *retelling) rename(id uint64, to site) {
	from := r.at[id]
	old := r.notice(Renamed, id, from)
	r.take(id)
	r.put(id, to)
	n := r.notice(Renamed, id, to)
	n.OldParent, n.OldPath, n.OldService = from.dir, old.Path, old.Service
	r.rises[id] = len(r.out)
	r.out = append(r.out, n)
}

// exchange has two get each other's place, unless they are of different levels.
func (r *retelling) exchange(id, other uint64) bool {
	x, y := r.t.nodes[id], r.t.nodes[other]
	if (x.service == 0) != (y.service == 0) {
		return false
	}
	from, to := r.at[id], r.at[other]
	one, two := r.notice(Renamed, id, from), r.notice(Renamed, other, to)
	r.take(id)
	r.take(other)
	r.put(id, to)
	r.put(other, from)
	one.OldParent, one.OldPath, one.OldService = one.Parent, one.Path, one.Service
	two.OldParent, two.OldPath, two.OldService = two.Parent, two.Path, two.Service
	one.Parent, one.Path, one.Service = two.OldParent, two.OldPath, two.OldService
	two.Parent, two.Path, two.Service = one.OldParent, one.OldPath, one.OldService
	r.rises[id], r.rises[other] = len(r.out), len(r.out)+1
	r.out = append(r.out, one, two)
	return true
}
