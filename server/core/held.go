package core

import (
	"cmp"
	"slices"
	"sync"

	"github.com/commy-project/commyfs/model"
)

// holds are the reports of a session that wait for services to be loaded, and those that must not overtake them. The others
// of the session go on: who reads does not wait for a service.
type holds struct {
	mu   sync.Mutex // guards the following
	list []*Held    // in the order in which they came
	concern
}

// Held is a report that waits for services to be loaded, or for a directory to be packed.
type Held struct {
	item
	load    []*service
	pack    []bulky
	loading bool // somebody is at it, or was
	ready   bool
	// keys is what it concerns: what has some of them in common stays in order. all: it concerns everything.
	keys []heldKey
	all  bool
}

// heldKey is a service by its id or by its name, or a variable.
type heldKey struct {
	serviceKey
	service, variable uint64
}

// Load loads what a report waits for, and hands it in, and those that have waited behind it. loading is called with each
// service and what loads it.
func (h *Held) Load(loading func(service uint64, load func())) {
	s := h.session
	for next := []*Held{h}; len(next) > 0; next = next[1:] {
		h := next[0]
		for _, svc := range h.load {
			loading(svc.id, func() { _ = s.core.load(s.core.ctx, svc) }) // the committer meets the error again
		}
		if len(h.load) > 0 {
			h.pack = s.bulk(h.report)
		}
		for _, b := range h.pack {
			if h.packing == nil {
				h.packing = packing{}
			}
			loading(b.service.id, func() { s.pack(h.packing, b) })
		}
		h.pack = nil
		next = append(next, s.pass(h)...)
	}
}

// hold keeps a report that must not be handed in now. It returns it if it is for the caller to load what it waits for.
func (s *Session) hold(it item, load []*service, pack []bulky) (h *Held, held bool) {
	ready := len(load)+len(pack) == 0
	hs := &s.holds
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if ready && len(hs.list) == 0 {
		return nil, false
	}
	h = &Held{item: it, load: load, pack: pack}
	h.keys, h.all = s.concerns(it.report)
	front := !hs.of(h)
	if front && ready {
		return nil, false
	}
	hs.add(h)
	hs.list = append(hs.list, h)
	if !front {
		h.load, h.pack = nil, nil // that is found out, and done, when what it waits for is
		return nil, true
	}
	h.loading = true
	return h, true
}

// needs tells what is to be done before a report is handed in: what has to be loaded, then what has to be packed.
func (s *Session) needs(r *model.Report) (load []*service, pack []bulky) {
	if load = s.unloaded(r); len(load) == 0 {
		pack = s.bulk(r)
	}
	return load, pack
}

// pass hands in what has nothing to wait for any more now that done is ready. It returns those of which something has still to
// be loaded, by the caller.
func (s *Session) pass(done *Held) (load []*Held) {
	hs := &s.holds
	hs.mu.Lock()
	defer hs.mu.Unlock()
	done.ready = true
	all := hs.list
	hs.list, hs.concern = nil, concern{}
	for _, h := range all {
		front := !hs.of(h)
		if front && !h.loading {
			h.loading = true
			h.load, h.pack = s.needs(h.report)
			if h.ready = len(h.load)+len(h.pack) == 0; !h.ready {
				load = append(load, h)
			}
		}
		if !front || !h.ready {
			hs.list = append(hs.list, h)
			hs.add(h)
		} else if !s.core.queue.push(h.item) && h.report != nil {
			s.feed.unexpect(h.report.Seq, h.reports()) // the session is over, or the server
		}
	}
	s.HurryUp()
	return load
}

// concern is what several reports concern.
type concern struct {
	keys map[heldKey]struct{}
	all  bool // there is one that concerns everything
}

func (c *concern) add(h *Held) {
	if c.keys == nil {
		c.keys = map[heldKey]struct{}{}
	}
	c.all = c.all || h.all
	for _, k := range h.keys {
		c.keys[k] = struct{}{}
	}
}

// of reports whether it concerns a report, too.
func (c *concern) of(h *Held) bool {
	if c.all || h.all {
		return c.keys != nil
	}
	for _, k := range h.keys {
		if _, ok := c.keys[k]; ok {
			return true
		}
	}
	return false
}

// concerns tells what a report concerns, nil being a function.
func (s *Session) concerns(r *model.Report) (keys []heldKey, all bool) {
	if r == nil {
		return nil, true
	}
	v := s.core.view
	for i := range r.Changes {
		c := &r.Changes[i]
		for _, id := range []uint64{c.ID, c.NewID} {
			if id != 0 {
				keys = append(keys, heldKey{variable: id})
			}
		}
		if c.ID != 0 {
			if known := v.variable(c.ID); known != nil {
				keys = append(keys, heldKey{service: known.dir.service.id})
			}
			for _, svc := range v.homes(c.ID, c.In) {
				keys = append(keys, heldKey{service: svc.id})
			}
		}
		named := [...]serviceKey{{c.Tenant, c.Service}, {cmp.Or(c.ToTenant, c.Tenant), c.ToService}}
		if c.ID == 0 && c.Service == "" {
			return nil, true // a tenant
		}
		for _, k := range named {
			if k.name == "" {
				continue
			}
			keys = append(keys, heldKey{serviceKey: k})
			if svc := v.lookup(k.tenant, k.name); svc != nil {
				keys = append(keys, heldKey{service: svc.id})
			}
		}
	}
	return keys, false
}

// unloaded are the services that a report needs and that are not in memory.
func (s *Session) unloaded(r *model.Report) (list []*service) {
	if r == nil {
		return nil
	}
	v := s.core.view
	need := func(svc *service) {
		if svc.content.Load() == nil && !slices.Contains(list, svc) {
			list = append(list, svc)
		}
	}
	for i := range r.Changes {
		c := &r.Changes[i]
		for _, svc := range s.homes(c.ID, c.In) {
			need(svc)
		}
		for _, k := range [...]serviceKey{{c.Tenant, c.Service}, {cmp.Or(c.ToTenant, c.Tenant), c.ToService}} {
			if k.name == "" || s.auth.NeedToChange(s.Principal, k.tenant) != nil {
				continue
			}
			if svc := v.lookup(k.tenant, k.name); svc != nil {
				svc.use()
				need(svc)
			}
		}
	}
	return list
}
