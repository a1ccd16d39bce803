package core

// apply brings the view to where a transaction has brought the store: the transactions after one at which the view was right,
// in their order, or all that the store holds as if it were one. It returns the services that are gone. The caller holds
// v.mu.
func (v *view) apply(d *delta) (gone map[uint64]*service) {
	gone = v.applyTree(d)
	if len(d.ferries) > 0 {
		v.unindex(d)
	}
	for _, f := range d.ferries {
		f.apply(v)
	}
	for id, in := range d.inside {
		svc := v.services[id]
		if svc == nil {
			continue
		}
		c := svc.content.Load()
		if c == nil {
			continue // it is loaded when it is wanted
		}
		v.unindexIn(c, in)
		c.apply(in)
		for _, st := range in.vars {
			if st.variable != nil {
				v.byID.put(st.variable)
			}
		}
	}
	for id, size := range d.bares {
		if svc := v.services[id]; svc != nil && size != 0 { // 0: the service is gone
			svc.bare = size
		}
	}
	for id, floor := range d.floors {
		if svc := v.services[id]; svc != nil {
			if c := svc.content.Load(); c != nil {
				c.floor = floor
			}
		}
	}
	for id, sid := range d.moved {
		if sid == 0 {
			delete(v.moved, id)
		} else {
			v.moved[id] = sid
		}
	}
	for k, i := range d.islands {
		v.setIsland(k, i)
	}
	for id, svc := range gone {
		delete(v.services, id)
		if svc.content.Load() != nil {
			v.removeLoaded(svc)
		}
	}
	v.rev = d.rev
	return gone
}

// unindex has variables of which the delta tells not found by their ids any more.
func (v *view) unindex(d *delta) {
	for id, in := range d.inside {
		if svc := v.services[id]; svc != nil {
			if c := svc.content.Load(); c != nil {
				v.unindexIn(c, in)
			}
		}
	}
}

func (v *view) unindexIn(c *content, in *contentDelta) {
	for _, st := range in.vars {
		if was := c.get(st.entryKey).v; was != nil {
			v.byID.drop(was)
		}
	}
}

// applyTree does so for tenants and services. It returns the services that are gone. The names that a batch gives anew are
// freed first: what had one may have got another.
func (v *view) applyTree(d *delta) (gone map[uint64]*service) {
	gone = map[uint64]*service{}
	for k := range d.services {
		if svc := k.tenant.services[k.name]; svc != nil {
			delete(k.tenant.services, k.name)
			gone[svc.id] = svc
		}
	}
	for name := range d.tenants {
		if t := v.tenants[name]; t != nil {
			delete(v.tenants, name)
			delete(v.prefixed, t.prefix)
		}
	}
	for name, st := range d.tenants {
		if t := st.tenant; t != nil {
			t.name, t.meta = name, st.meta
			v.tenants[name], v.prefixed[t.prefix] = t, t
		}
	}
	for k, st := range d.services {
		if st.service == nil {
			continue
		}
		svc := v.services[st.service.id]
		if svc == nil {
			svc = st.service
			v.services[svc.id] = svc
			if svc.content.Load() != nil {
				v.addLoaded(svc)
			}
		}
		delete(gone, svc.id)
		svc.name, svc.tenant, svc.meta = k.name, k.tenant, st.meta
		k.tenant.services[k.name] = svc
	}
	return gone
}

// apply does so for the content of a service. What goes is taken away first: a directory is at one place at a time.
func (c *content) apply(d *contentDelta) {
	c.layouts.apply(d.layouts)
	for _, st := range d.vars {
		if st.variable == nil && c.get(st.entryKey).v != nil {
			c.put(st.entryKey, entry{})
		}
	}
	for _, st := range d.dirs {
		if was := c.get(st.entryKey).d; st.dir == nil && was != nil {
			c.put(st.entryKey, entry{})
			if !st.left {
				c.prefixed(was.dir, true)
			}
		}
	}
	for _, st := range d.dirs {
		if st.dir == nil {
			continue
		}
		if was := c.get(st.entryKey).d; was != nil && was.dir != st.dir.dir && !st.left {
			c.prefixed(was.dir, true)
		}
	}
	for _, st := range d.dirs {
		if st.dir == nil {
			continue
		}
		c.put(st.entryKey, entry{d: st.dir})
		st.dir.dir.now = st.dir
		c.prefixed(st.dir.dir, st.dir.isOwnPrefix())
	}
	for _, st := range d.vars {
		if st.variable != nil {
			c.put(st.entryKey, entry{v: st.variable})
		}
	}
}

// prefixed keeps content.prefixes, for a directory that is gone, or whose prefix is its own, or is not.
func (c *content) prefixed(d *directory, own bool) {
	switch {
	case d.home != c.root.home: // nothing is made there that could have it
	case own && c.prefixes[d.prefix] == d:
		delete(c.prefixes, d.prefix)
	case !own:
		if c.prefixes == nil {
			c.prefixes = map[string]*directory{}
		}
		c.prefixes[d.prefix] = d
	}
}
