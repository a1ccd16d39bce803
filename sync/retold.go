package sync

import (
	"bytes"
	"maps"
	"slices"
)

// What a retelling tells beside where things are: what else has changed of them, and how far a service is told then.

// beside tells of new values, times and modes. All is where it is in the end.
func (r *retelling) beside(there []uint64) {
	for _, id := range there {
		r.compare(id)
	}
	last := map[uint64]int{} // by variables: the index of the notice of their rises
	for _, rise := range r.t.risen {
		id := rise.Variable
		if n := r.c.index.get(id); n == nil || r.made[id] {
			continue
		}
		i, ok := last[id]
		if !ok {
			i = r.carries(id)
			last[id] = i
		}
		r.out[i].Risen = append(r.out[i].Risen, rise)
	}
	for _, of := range []map[uint64]*Notice{r.t.modified, r.t.meta} {
		for _, id := range slices.Sorted(maps.Keys(of)) {
			n := r.c.index.get(id)
			if n == nil || isGone(n) || r.made[id] || of[id].Kind == MetaChanged && r.t.modified[id] != nil {
				continue
			}
			if x := r.t.nodes[id]; x != nil && !x.known {
				continue
			}
			out := *of[id]
			out.Risen = nil
			at := siteOf(n)
			if _, top := n.(*Service); !top || out.Parent != 0 {
				out.Parent = at.dir
			}
			var service uint64
			out.Path, service = r.path(at)
			if out.Service != 0 {
				out.Service = service
			}
			if v, ok := n.(*Variable); ok && out.Kind == Modified {
				out.Variable = v
			}
			r.out = append(r.out, out)
		}
	}
}

// carries is the index of the notice that tells of the versions of a variable: of its being renamed, or what it is in, or of its own.
func (r *retelling) carries(id uint64) int {
	for up := id; up != 0; {
		if i, ok := r.rises[up]; ok {
			return i
		}
		at, there := r.site(up)
		if !there {
			break
		}
		up = at.dir
	}
	n := r.c.index.get(id)
	r.nodes[id] = n
	r.rises[id] = len(r.out)
	r.out = append(r.out, r.notice(MetaChanged, id, siteOf(n)))
	return r.rises[id]
}

// compare finds out what else has changed of what has become another node.
func (r *retelling) compare(id uint64) {
	x := r.t.nodes[id]
	n := r.nodes[id]
	if x.was == nil || x.was == n || !x.known {
		return
	}
	old, now := lockedState(x.was), lockedState(n)
	to := serviceOfNode(n)
	v, variable := n.(*Variable)
	if o, ok := x.was.(*Variable); ok && variable {
		v.takeEdits(o)
		if x.service != to.id {
			k := [2]uint64{x.service, to.id}
			r.moved[k] = append(r.moved[k], id)
		}
	}
	out := &Notice{Kind: MetaChanged, Dir: x.dir, ID: id, MTime: now.mtime, Service: to.id}
	switch {
	case old.version == now.version || r.t.modified[id] != nil:
	case old.mtime == now.mtime && old.size == now.size && old.writer == now.writer &&
		(old.value == nil || now.value == nil || bytes.Equal(old.value, now.value)):
		r.t.risen = append(r.t.risen, Rise{id, old.version, now.version})
	default:
		out.Kind = Modified
		r.t.modified[id] = out
		return
	}
	if (old.mtime != now.mtime || old.mode != now.mode) && r.t.meta[id] == nil {
		r.t.meta[id] = out
	}
}

func lockedState(n Node) state {
	s := serviceOfNode(n)
	if s == nil {
		return state{}
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return stateOf(n)
}

// stamp says which revisions the notices are of.
func (r *retelling) stamp() {
	last := map[uint64]int{}
	rev := map[uint64]int64{}
	for i := range r.out {
		n := &r.out[i]
		for _, id := range []uint64{n.Service, n.OldService} {
			if s := r.c.serviceByID(id); s != nil {
				_, rev[id] = s.progress()
				last[id] = i
			}
		}
	}
	before := func(id uint64) int64 {
		if at, ok := r.t.before[id]; ok {
			return at
		}
		return rev[id]
	}
	for i := range r.out {
		n := &r.out[i]
		told := func(id uint64) int64 {
			if last[id] == i {
				return rev[id]
			}
			return before(id)
		}
		if n.Rev, n.Before, n.Told, n.OldRev, n.OldTold = 0, 0, 0, 0, 0; n.Service != 0 {
			n.Rev, n.Before, n.Told = rev[n.Service], before(n.Service), told(n.Service)
		}
		if n.Kind == Renamed && n.OldService != 0 {
			n.OldRev, n.OldTold = rev[n.OldService], told(n.OldService)
		} else {
			n.OldService = 0
		}
	}
}
