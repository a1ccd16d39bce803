package core

import "github.com/commy-project/commyfs/model"

// publish shows what the engine has stored: in the memory files, then in the view, and, in the same instant as far as
// anybody can see, to the watchers. What is below a directory that was renamed comes last in the memory files.
func (s *Core) publish(d *delta, t *touched) {
	moved := map[*service]struct{}{}
	s.writeBare(d)
	s.writeMemory(d, moved)
	v := s.view
	v.mu.Lock()
	gone := v.apply(d)
	v.forgetHistory(d)
	s.endWatches(d)
	s.broadcast(d, t)
	s.broadcastTree(d, t)
	v.mu.Unlock()
	s.renameMemory(d, moved)
	s.landMemory(d)
	for _, svc := range gone {
		if c := svc.content.Load(); c != nil {
			s.closeMemory(c)
		}
		s.removeBare(svc)
	}
	s.pushMoved(moved, t)
}

// broadcast queues the events for all who watch. The caller holds view.mu.
func (s *Core) broadcast(d *delta, t *touched) {
	var order []*news
	of := map[*service]*news{}
	var last *service
	for _, ev := range d.events {
		if ev.moved != 0 && ev.service != last {
			clear(of) // what comes to one service comes behind what leaves the other
		}
		last = ev.service
		n := of[ev.service]
		if n == nil {
			n = &news{rev: d.rev}
			of[ev.service] = n
			order = append(order, n)
		}
		n.add(ev)
		ev.service.content.Load().log.add(ev)
	}
	for _, n := range order {
		s.watchers(n.events[0].service, func(w *watch) {
			w.session.feed.events(w, n)
			t.add(w.session)
		})
	}
}

// broadcastTree queues what has happened to tenants and services, as each watcher may see it. The caller holds view.mu.
func (s *Core) broadcastTree(d *delta, t *touched) {
	if len(d.tree) == 0 {
		return
	}
	for w := range s.treeWatchers {
		var list []model.TreeChange
		for _, ev := range d.tree {
			list = append(list, ev.changes(w)...)
		}
		if len(list) == 0 {
			continue
		}
		if !w.feed.changes(d.rev, list) {
			w.sub.Fail(errStuck)
		}
		t.add(w)
	}
}

// forgetHistory lets nobody resume a watch across a service's stay in another tenant: what happened there may not be for
// its eyes. The caller holds view.mu.
func (v *view) forgetHistory(d *delta) {
	forget := func(svc *service) {
		svc.since.Store(d.rev)
		if c := svc.content.Load(); c != nil {
			c.log = eventLog{since: d.rev}
		}
	}
	for _, ev := range d.tree {
		if ev.before.tenant == ev.after.tenant {
			continue
		}
		if ev.service != nil {
			forget(ev.service)
		}
		for _, in := range ev.inside {
			forget(in.service)
		}
	}
}

// endWatches ends the watches of services that are gone, or out of their watchers' sight, before these get to know what
// happened there since. The caller holds view.mu.
func (s *Core) endWatches(d *delta) {
	end := func(svc *service) { s.watchers(svc, func(*watch) {}) }
	for _, ev := range d.tree {
		if ev.service != nil {
			end(ev.service)
		}
		for _, in := range ev.inside {
			end(in.service)
		}
	}
}

// watchers calls fn with the watches of a service, and ends those of who may not read it. The caller holds view.mu.
func (s *Core) watchers(svc *service, fn func(*watch)) {
	svc.watchMu.Lock()
	defer svc.watchMu.Unlock()
	for w := range svc.watches {
		if now, err := w.session.readableLocked(svc.id); now != svc || err != nil {
			delete(svc.watches, w)
			w.session.feed.forget(w)
			w.session.uncache(svc.id)
			continue
		}
		fn(w)
	}
}

// changes is the event as a session may know of it: what becomes visible to it is new, what it no longer may see is gone.
func (ev *treeEvent) changes(s *Session) []model.TreeChange {
	own := ev.Client != "" && ev.Client == s.client.id
	sees := func(k serviceKey) bool { return k != serviceKey{} && s.auth.Rights(s.Principal, k.tenant) != 0 }
	before, after := sees(ev.before), sees(ev.after)
	if !before && !after {
		return nil
	}
	if ev.service != nil {
		c := model.TreeChange{Own: own, Gone: !after, Time: ev.time}
		c.Service = ev.service.treeInfo(ev.tenant.id, ev.after.name)
		if !after {
			c.Service.Tenant, c.Service.Name = ev.from.id, ev.before.name
		}
		return []model.TreeChange{c}
	}
	c := model.TreeChange{Own: own, Gone: !after, Time: ev.time}
	c.Tenant = model.Tenant{ID: ev.tenant.id, Name: ev.after.tenant, MTime: ev.tenant.mtime, Mode: ev.tenant.mode, Rights: s.auth.Rights(s.Principal, ev.after.tenant)}
	if !after {
		c.Tenant.Name, c.Tenant.Rights = ev.before.tenant, 0
	}
	if after == before || ev.before == (serviceKey{}) || ev.after == (serviceKey{}) {
		return []model.TreeChange{c}
	}
	// The tenant was renamed out of the session's sight, or into it: so are its services.
	var list []model.TreeChange
	for _, in := range ev.inside {
		list = append(list, model.TreeChange{Own: own, Gone: !after, Service: in.service.treeInfo(ev.tenant.id, in.name)})
	}
	if after {
		return append([]model.TreeChange{c}, list...)
	}
	return append(list, c)
}

// treeInfo describes the service, under a name, to those who watch the tree. The caller holds view.mu.
func (s *service) treeInfo(tenant uint64, name string) model.Service {
	return model.Service{ID: s.id, Tenant: tenant, Name: name, MTime: s.mtime, Mode: s.mode, Bare: s.bare}
}
