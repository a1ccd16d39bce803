package core

import (
	"cmp"

	"github.com/commy-project/commyfs/model"
)

// A directory with very much in it is packed beside the committer before it goes to another service: the variables in it are made
// anew for that. The committer takes what has not changed since, and gives it slots. So others wait for very little of it.

// packing has what is packed of directories, by these.
type packing map[*directory]*packed

// packed is what is in a directory. Nobody else has any of it before the committer has put it into another service.
type packed struct {
	in    *directory  // what the directory is to be; the committer makes it that
	was   []entry     // what is in it, in the order of names
	now   []*variable // what of that is to be there, without slots; nil: a directory
	slots []uint32    // which these have
}

// It can take much memory: maxPacks is how many reports are packed for at a time, maxPacked how many of those can wait for the
// committer. For more than that it does all by itself.
const (
	maxPacks  = 1
	maxPacked = 4
)

// bulky is a directory that a change takes to another service, with very much in it.
type bulky struct {
	*directory
	nodes frozen // of its service
}

// bulk returns the directory, or the two, with very much in it that a report takes to another service: the first of them. It looks
// at no more than that for the whole report: what takes less in each of very many changes is refused, as too much.
func (s *Session) bulk(r *model.Report) (list []bulky) {
	if r == nil {
		return nil
	}
	left := s.core.most
	for i := range r.Changes {
		c := &r.Changes[i]
		from := serviceKey{c.Tenant, c.Service}
		to := serviceKey{cmp.Or(c.ToTenant, c.Tenant), cmp.Or(c.ToService, c.Service)}
		if c.Op != model.OpRename && c.Op != model.OpExchange || c.ID != 0 || c.Name == "" || from == to {
			continue
		}
		goes, comes := model.RightDelete, model.RightCreate
		if c.Op == model.OpExchange {
			goes, comes = goes|comes, goes|comes
		}
		if s.auth.Need(s.Principal, from.tenant, goes) != nil || s.auth.Need(s.Principal, to.tenant, comes) != nil {
			continue // it is refused
		}
		most := left
		if b, ok := s.core.bulky(from, c.Name, &left); ok {
			list = append(list, b)
			left = most
		}
		if c.Op == model.OpExchange {
			if b, ok := s.core.bulky(to, c.ToName, &left); ok {
				list = append(list, b)
			}
		}
		if len(list) > 0 {
			break // a report is refused that takes another one behind it
		}
	}
	return list
}

// bulky finds a directory with more than left entries in it, of which it takes those that it has seen. The committer does not wait
// for its looking.
func (s *Core) bulky(k serviceKey, path string, left *int) (b bulky, ok bool) {
	if b, ok = s.directoryAt(k, path); !ok {
		return b, false
	}
	for list := []*directory{b.directory}; len(list) > 0; list = list[1:] {
		for part := range b.nodes.in(list[0].id) {
			if *left -= len(part); *left < 0 {
				return b, true
			}
			for _, n := range part {
				if n.d != nil {
					list = append(list, n.d.dir)
				}
			}
		}
	}
	return b, false
}

// directoryAt is the directory of a loaded service at a path, with what there is in the service by now.
func (s *Core) directoryAt(k serviceKey, path string) (b bulky, ok bool) {
	v := s.view
	v.mu.RLock()
	defer v.mu.RUnlock()
	t := v.tenants[k.tenant]
	if t == nil || t.services[k.name] == nil {
		return b, false
	}
	c := t.services[k.name].content.Load()
	if c == nil {
		return b, false
	}
	n, _, _ := c.find(path)
	if n.d == nil {
		return b, false
	}
	return bulky{n.d.dir, c.nodes.freeze()}, true
}

// pack packs a directory for a report, when it is its turn, if that is worth it.
func (s *Session) pack(p packing, b bulky) {
	c := s.core
	if !c.queue.worthPacking(&s.line) {
		return
	}
	c.packs <- struct{}{}
	defer func() { <-c.packs }()
	if c.queue.worthPacking(&s.line) {
		c.pack(p, b)
	}
}

// pack packs what is in a directory, and in those below.
func (s *Core) pack(p packing, b bulky) {
	steps := 0
	for list := []*directory{b.directory}; len(list) > 0; list = list[1:] {
		d := &packed{in: &directory{}}
		p[list[0]] = d
		for part := range b.nodes.in(list[0].id) {
			d.was = append(d.was, part...)
		}
		d.now, d.slots = make([]*variable, len(d.was)), make([]uint32, len(d.was))
		for i, n := range d.was {
			if steps++; steps%stepSize == 0 {
				b.service.steps.Add(1)
			}
			if n.d != nil {
				list = append(list, n.d.dir)
				continue
			}
			v := *n.v
			v.dir = d.in
			d.now[i], d.slots[i] = &v, v.slot
		}
	}
}

// unpacking is how far the committer has come with what was packed of a directory.
type unpacking struct {
	*packed
	next int
}

// take returns what is packed of an entry, and the slot that this has; nil: nothing. Entries come in the order of names.
func (u *unpacking) take(n entry) (v *variable, slot uint32) {
	if u.packed == nil {
		return nil, 0
	}
	for ; u.next < len(u.was); u.next++ {
		if u.was[u.next] == n {
			u.next++
			return u.now[u.next-1], u.slots[u.next-1]
		}
		if u.was[u.next].name() > n.name() {
			break
		}
	}
	return nil, 0
}
