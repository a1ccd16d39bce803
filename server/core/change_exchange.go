package core

import (
	"cmp"

	"github.com/commy-project/commyfs/model"
)

// exchange carries out OpExchange, with what renameat2(2) would say of RENAME_EXCHANGE. Each of the two has the other's place
// afterwards and is in all else what it was: its id goes with it.
func (e *evaluator) exchange(c *model.Change) (model.Result, error) {
	if c.ID == 0 && c.Name == "" {
		switch {
		case c.ToName != "", (c.Service == "") != (c.ToService == ""):
			return model.Result{}, model.ErrCrossDevice // a service or tenant would become something else
		case c.Service == "":
			return e.exchangeTenants(c)
		}
		return e.exchangeServices(c)
	}
	t, err := e.find(c)
	if err != nil {
		return model.Result{}, err
	}
	to := serviceKey{cmp.Or(c.ToTenant, t.key.tenant), cmp.Or(c.ToService, t.key.name)}
	if c.ToName == "" {
		return model.Result{}, model.ErrCrossDevice
	}
	u, err := e.find(&model.Change{Tenant: to.tenant, Service: to.name, Name: c.ToName})
	if err != nil {
		return model.Result{}, err
	}
	if err := e.mayExchange(c, t.key.tenant, to.tenant, u.id()); err != nil {
		return model.Result{}, err
	}
	if c.HasVersion && (t.v == nil || c.IfVersion != t.v.version) {
		return model.Result{}, model.ErrConflict
	}
	if t.service != u.service {
		return e.exchangeAcross(t, u)
	}
	return e.exchangeInside(t, u)
}

// mayExchange checks the rights, which are those that two renames would need, and that the second of the two is the one that
// is meant.
func (e *evaluator) mayExchange(c *model.Change, from, to string, other uint64) error {
	for _, tenant := range []string{from, to} {
		if err := e.auth.Need(e.Principal, tenant, model.RightDelete|model.RightCreate); err != nil {
			return err
		}
	}
	if c.ToExpect != 0 && c.ToExpect != other {
		return errOther
	}
	return nil
}

// exchangeInside exchanges two of the same service, with all that is below them.
func (e *evaluator) exchangeInside(t, u target) (model.Result, error) {
	s := t.service
	switch {
	case t.path == u.path:
		r := t.result()
		r.Unchanged = true
		return r, nil
	case below(t.path, u.path), below(u.path, t.path):
		return model.Result{}, model.ErrInvalid
	}
	var steps []relabeled
	for _, way := range []struct {
		target
		to string
	}{{t, u.path}, {u, t.path}} {
		steps = append(steps, relabeled{way.entry, way.path, way.to})
		if way.d == nil {
			continue
		}
		if s.content.Load().holdsDamaged(way.path) {
			return model.Result{}, errDamaged // it would stay behind
		}
		paths, err := e.inside(s, way.path)
		if err != nil {
			return model.Result{}, err
		}
		for _, path := range paths {
			name := way.to + path[len(way.path):]
			if len(name) > e.limits.Name {
				return model.Result{}, model.ErrNameTooLong
			}
			steps = append(steps, relabeled{e.entries.get(entryKey{s, path}), path, name})
		}
	}
	e.tick()
	e.stirred(s, t.path)
	e.stirred(s, u.path)
	for _, st := range steps {
		e.put(s, st.from, entry{})
		if st.v != nil {
			e.raise(s, st.v.version)
		}
	}
	above := e.floors.get(s) // it has counted what both names have had
	for _, st := range steps {
		e.relabelTo(s, st, above)
	}
	e.emitExchanged(s, u.path, t.path, above)
	e.emitExchanged(s, t.path, u.path, above)
	return e.at(s, u.path).result(), nil
}

// relabeled is something that gets another name in its service.
type relabeled struct {
	entry
	from, to string
}

// relabelTo puts what has lost its name under its new one, a variable with a version above what the name has had.
func (e *evaluator) relabelTo(s *service, st relabeled, above uint64) {
	if st.d != nil {
		d := *st.d
		d.name = st.to
		e.put(s, st.to, entry{d: &d})
		return
	}
	v := *st.v
	v.name, v.version = st.to, max(st.v.version, above+1)
	e.put(s, st.to, entry{v: &v})
}

// at is what a path of a service names.
func (e *evaluator) at(s *service, path string) target {
	return target{e.places.get(s), s, path, e.entries.get(entryKey{s, path})}
}

// result describes what is there.
func (t target) result() model.Result {
	if t.v != nil {
		return resultOf(t.v)
	}
	return model.Result{ID: t.d.id, MTime: t.d.mtime}
}

// emitExchanged tells of one of two that have been exchanged.
func (e *evaluator) emitExchanged(s *service, name, oldName string, above uint64) {
	now, other := e.at(s, name), e.at(s, oldName)
	ev := &event{service: s, kind: model.EventRename, name: name, oldName: oldName, other: other.id(), above: above, time: e.now, was: now.v, v: now.v, d: now.d}
	if now.d != nil {
		ev.kind = model.EventRenameDir
	}
	e.emit(ev)
}

// exchangeAcross exchanges two variables of different services. Their versions rise above those that there were in the
// services where they come to be.
func (e *evaluator) exchangeAcross(t, u target) (model.Result, error) {
	if t.d != nil || u.d != nil || e.bares.get(t.service) != 0 || e.bares.get(u.service) != 0 {
		return model.Result{}, model.ErrCrossDevice
	}
	e.drop(t.v)
	e.drop(u.v)
	r := e.settle(t.v, u.service, u.path)
	e.settle(u.v, t.service, t.path)
	return r, nil
}

// exchangeServices exchanges the names of two services.
func (e *evaluator) exchangeServices(c *model.Change) (model.Result, error) {
	from, to := serviceKey{c.Tenant, c.Service}, serviceKey{c.ToTenant, c.ToService}
	if to.tenant == "" {
		to.tenant = from.tenant
	}
	s, err := e.findService(from.tenant, from.name)
	if err != nil {
		return model.Result{}, err
	}
	u, err := e.findService(to.tenant, to.name)
	if err != nil {
		return model.Result{}, err
	}
	if err := e.mayExchange(c, from.tenant, to.tenant, u.id); err != nil {
		return model.Result{}, err
	}
	r := model.Result{ID: s.id, MTime: s.mtime, Unchanged: s == u}
	if r.Unchanged {
		return r, nil
	}
	e.tick()
	e.setService(from, u)
	e.setService(to, s)
	e.places.set(u, from)
	e.places.set(s, to)
	here, there := e.tenants.get(from.tenant), e.tenants.get(to.tenant)
	e.stirredTenant(here)
	e.stirredTenant(there)
	e.tree = append(e.tree,
		&treeEvent{Origin: e.Origin, tenant: there, service: s, time: e.now, before: from, after: to, from: here},
		&treeEvent{Origin: e.Origin, tenant: here, service: u, time: e.now, before: to, after: from, from: there})
	return r, nil
}

// exchangeTenants exchanges the names of two tenants.
func (e *evaluator) exchangeTenants(c *model.Change) (model.Result, error) {
	names := [2]string{c.Tenant, c.ToTenant}
	var list [2]*tenant
	for i, name := range names {
		if e.auth.Need(e.Principal, name, 0) != nil {
			return model.Result{}, model.ErrNotFound
		}
		if list[i] = e.tenants.get(name); list[i] == nil {
			return model.Result{}, e.noTenant(name)
		}
		if e.view.damaged[name] != nil {
			return model.Result{}, errDamaged
		}
	}
	if err := e.mayExchange(c, names[0], names[1], list[1].id); err != nil {
		return model.Result{}, err
	}
	r := model.Result{ID: list[0].id, MTime: list[0].mtime, Unchanged: list[0] == list[1]}
	switch {
	case r.Unchanged:
		return r, nil
	case e.crowds.get(names[0])+e.crowds.get(names[1]) > maxRenamed:
		return model.Result{}, model.ErrCrossDevice
	}
	e.tick()
	var inside [2][]serviceName
	for i, name := range names {
		for _, n := range e.servicesOf(name) {
			key := serviceKey{name, n}
			inside[i] = append(inside[i], serviceName{e.services.get(key), n})
			e.setService(key, nil)
		}
	}
	for i, name := range names {
		to := names[1-i]
		e.setTenant(to, list[i])
		for _, in := range inside[i] {
			e.setService(serviceKey{to, in.name}, in.service)
			e.places.set(in.service, serviceKey{to, in.name})
		}
		e.tree = append(e.tree, &treeEvent{Origin: e.Origin, tenant: list[i], time: e.now, inside: inside[i],
			before: serviceKey{tenant: name}, after: serviceKey{tenant: to}})
	}
	return r, nil
}
