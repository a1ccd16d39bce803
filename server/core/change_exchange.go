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
	if c.HasVersion && (t.v == nil || t.conflicts(c)) {
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
	switch {
	case t.path == u.path:
		r := t.result()
		r.Unchanged = true
		return r, nil
	case below(t.path, u.path), below(u.path, t.path):
		return model.Result{}, model.ErrInvalid
	}
	for _, way := range []struct {
		target
		to string
	}{{t, u.path}, {u, t.path}} {
		if way.d != nil && !e.fitsBelow(way.d.dir, way.to) {
			return model.Result{}, model.ErrNameTooLong
		}
	}
	e.tick()
	e.stirred(t.at.in)
	e.stirred(u.at.in)
	e.put(t.at, entry{})
	e.put(u.at, entry{})
	e.raise(t.service, max(e.highest(t.entry), e.highest(u.entry)))
	above := e.floors.get(t.service) // it has counted what both names have had
	first, second := u, t
	first.entry, second.entry = e.relabel(t.entry, u.at, above), e.relabel(u.entry, t.at, above)
	e.emitExchanged(first, second, above)
	e.emitExchanged(second, first, above)
	return first.result(), nil
}

// result describes what is there.
func (t target) result() model.Result {
	if t.v != nil {
		return resultOf(t.v)
	}
	return model.Result{ID: t.d.id, MTime: t.d.mtime}
}

// emitExchanged tells of one of two that have been exchanged.
func (e *evaluator) emitExchanged(now, other target, above uint64) {
	ev := &event{
		service: now.service, kind: model.EventRename, name: now.path, oldName: other.path, other: other.id(), above: above, time: e.now,
		was: now.v, v: now.v, d: now.d,
	}
	if now.d != nil {
		ev.kind = model.EventRenameDir
	}
	e.emit(ev)
}

// exchangeAcross exchanges two of different services, with all that is below them. Their versions rise above those that there were
// in the services where they come to be.
func (e *evaluator) exchangeAcross(t, u target) (model.Result, error) {
	if e.bares.get(t.service) != 0 || e.bares.get(u.service) != 0 {
		return model.Result{}, model.ErrCrossDevice
	}
	if t.d != nil && !e.fitsBelow(t.d.dir, u.path) || u.d != nil && !e.fitsBelow(u.d.dir, t.path) {
		return model.Result{}, model.ErrNameTooLong
	}
	if e.brought > maxBrought {
		return model.Result{}, model.ErrTooLarge
	}
	first, err := e.lift(t, u.service, u.id())
	if err != nil {
		return model.Result{}, err
	}
	second, err := e.lift(u, t.service, t.id())
	if err != nil {
		return model.Result{}, err
	}
	r := e.land(first, u.at, u.path, u.id())
	e.land(second, t.at, t.path, t.id())
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
	here, there := e.tenants.get(from.tenant), e.tenants.get(to.tenant)
	e.setService(placeKey{here, from.name}, u)
	e.setService(placeKey{there, to.name}, s)
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
	if r.Unchanged {
		return r, nil
	}
	e.tick()
	for i, name := range names {
		to := names[1-i]
		e.setTenant(to, list[i])
		e.tree = append(e.tree, e.renamedTenant(list[i], name, to))
	}
	return r, nil
}
