package core

import (
	"cmp"
	"unsafe"

	"github.com/commy-project/commyfs/model"
)

// rename carries out OpRename, with what rename(2) would say. What is named decides what the new name is: a tenant's, a
// service's, or a path in a service. A part of the new name that is left out is that of the old one.
func (e *evaluator) rename(c *model.Change) (model.Result, error) {
	if c.ID == 0 && c.Name == "" {
		if c.ToName != "" {
			return model.Result{}, model.ErrCrossDevice // a service or tenant would become a directory
		}
		if c.Service == "" {
			return e.renameTenant(c)
		}
		return e.renameService(c)
	}
	t, err := e.find(c)
	if err != nil {
		return model.Result{}, err
	}
	to := serviceKey{cmp.Or(c.ToTenant, t.key.tenant), cmp.Or(c.ToService, t.key.name)}
	if c.ToName == "" {
		if t.d != nil {
			return model.Result{}, model.ErrCrossDevice
		}
		return model.Result{}, model.ErrInvalid
	}
	if err := e.auth.Need(e.Principal, t.key.tenant, model.RightDelete); err != nil {
		return model.Result{}, err
	}
	if t.d != nil {
		return e.renameDir(t, to, c)
	}
	if t.conflicts(c) {
		return model.Result{}, model.ErrConflict
	}
	return e.renameVariable(t, to, c)
}

// renameVariable moves a variable to a free name, or its value into the variable that has the name.
func (e *evaluator) renameVariable(t target, to serviceKey, c *model.Change) (model.Result, error) {
	if to == t.key && c.ToName == t.path {
		r := resultOf(t.v)
		r.Unchanged = true
		return r, nil
	}
	s, at, there, err := e.room(to.tenant, to.name, c.ToName, c.Parents)
	if err != nil {
		return model.Result{}, err
	}
	switch {
	case there.d != nil:
		return model.Result{}, model.ErrIsDirectory
	case there.v != nil && c.NoReplace:
		return model.Result{}, model.ErrExists
	case there.v != nil:
		if err := e.auth.Need(e.Principal, to.tenant, model.RightWrite); err != nil {
			return model.Result{}, err
		}
		data := t.v.data()
		if l := e.layouts.get(layoutKey{s, there.v.id}); l != nil {
			if data, err = fit(l, data, there.v.data()); err != nil {
				return model.Result{}, err
			}
		}
		e.drop(t.v)
		// What describes the value comes with it.
		with := &model.Change{HasMTime: true, MTime: t.v.mtime}
		if t.v.mode != there.v.mode {
			with.Mode = model.NewMode(t.v.mode.Perm(false))
		}
		r := e.set(there.v, data, nil, with, false)
		r.Unchanged = false // the old name is gone
		return r, nil
	}
	if err := e.auth.NeedNew(e.Principal, to.tenant, model.RightCreate); err != nil {
		return model.Result{}, err
	}
	if s != t.service && (e.bares.get(s) != 0 || e.bares.get(t.service) != 0) {
		return model.Result{}, model.ErrCrossDevice // it has no place there, or would leave its own
	}
	if s != t.service {
		return e.transfer(t, at, c.ToName)
	}
	e.tick()
	e.put(t.at, entry{})
	above := e.floors.get(s)
	v := e.relabel(t.entry, at, above).v
	e.stirred(t.at.in)
	e.stirred(at.in)
	e.emit(&event{service: s, kind: model.EventRename, name: c.ToName, oldName: t.path, above: above, time: e.now, was: t.v, v: v})
	return resultOf(v), nil
}

// relabel gives what has lost its name another one in its service. What is in a directory hangs on it and goes along. Versions
// rise above the floor, because that has counted what there was before under the new names. The floor rises as if all had been
// deleted, so that the versions seen under the old names do not start anew. above is what the floor was before the rename that this
// is a part of.
func (e *evaluator) relabel(was entry, at entryKey, above uint64) (now entry) {
	e.raise(at.in.service, e.highest(was))
	if was.v != nil {
		e.astray(was.v, at.in)
		v := *was.v
		v.dir, v.name = at.in, at.name
		v.version = max(v.version, above+1)
		now.v = &v
	} else {
		e.stranded(was.d, at.in)
		d := *was.d
		d.least = d.dir.versionBy(0, e.infos.get) // that of a directory around it may count no more
		d.in, d.name = at.in, at.name
		if d.dir.had {
			d.least = max(d.least, above+1)
		}
		now.d = &d
	}
	e.put(at, now)
	return now
}

// settle puts a variable that was dropped into another service, at that path. It keeps its id, and its version rises above both
// floors.
func (e *evaluator) settle(was *variable, at entryKey, path string) model.Result {
	s := at.in.service
	v := *was
	v.dir, v.name = at.in, at.name
	v.version = max(was.version, e.floors.get(s)) + 1
	e.tick()
	v.writer = e.writer
	v.slot = e.slot(s)
	e.put(at, entry{v: &v})
	e.moved.set(v.id, s.id)
	e.stirred(at.in)
	e.emit(&event{service: s, kind: model.EventSet, name: path, time: e.now, v: &v})
	return resultOf(&v)
}

// renameDir moves a directory and everything below it, at once or not at all.
func (e *evaluator) renameDir(t target, to serviceKey, c *model.Change) (model.Result, error) {
	if to == t.key && t.path == c.ToName {
		return model.Result{ID: t.d.id, MTime: t.d.mtime, Unchanged: true}, nil
	}
	if to == t.key && below(c.ToName, t.path) {
		return model.Result{}, model.ErrInvalid
	}
	s, at, there, err := e.room(to.tenant, to.name, c.ToName, c.Parents)
	if err != nil {
		return model.Result{}, err
	}
	switch {
	case there.v != nil:
		return model.Result{}, model.ErrNotDirectory
	case there.d != nil && c.NoReplace:
		return model.Result{}, model.ErrExists
	}
	if s != t.service && (e.bares.get(s) != 0 || e.bares.get(t.service) != 0) {
		return model.Result{}, model.ErrCrossDevice
	}
	if there.d != nil {
		if err := e.dropDir(target{key: to, service: s, path: c.ToName, at: at, entry: there}); err != nil {
			return model.Result{}, err
		}
	}
	if err := e.auth.NeedNew(e.Principal, to.tenant, model.RightCreate); err != nil {
		return model.Result{}, err
	}
	if !e.fitsBelow(t.d.dir, c.ToName) {
		return model.Result{}, model.ErrNameTooLong
	}
	if s != t.service {
		return e.transfer(t, at, c.ToName)
	}
	e.put(t.at, entry{})
	above := e.floors.get(s)
	d := e.relabel(t.entry, at, above).d
	e.tick()
	e.stirred(t.at.in)
	e.stirred(at.in)
	e.emit(&event{service: s, kind: model.EventRenameDir, name: c.ToName, oldName: t.path, above: above, time: e.now, d: d})
	return model.Result{ID: d.id, MTime: d.mtime}, nil
}

// renameService gives a service another name or another tenant. Its content hangs on its id and stays.
func (e *evaluator) renameService(c *model.Change) (model.Result, error) {
	from := serviceKey{c.Tenant, c.Service}
	to := serviceKey{c.ToTenant, c.ToService}
	if to.tenant == "" {
		to.tenant = from.tenant
	}
	if to.name == "" {
		return model.Result{}, model.ErrInvalid
	}
	s, err := e.findService(from.tenant, from.name)
	if err != nil {
		return model.Result{}, err
	}
	if err := e.auth.Need(e.Principal, from.tenant, model.RightDelete); err != nil {
		return model.Result{}, err
	}
	r := model.Result{ID: s.id, MTime: s.mtime}
	if from == to {
		r.Unchanged = true
		return r, nil
	}
	if err := checkService(to.name, e.limits); err != nil {
		return model.Result{}, err
	}
	if err := checkTenant(to.tenant, e.limits); err != nil {
		return model.Result{}, err
	}
	if err := e.auth.NeedNew(e.Principal, to.tenant, model.RightCreate); err != nil {
		return model.Result{}, err
	}
	if e.view.damaged[to.tenant][to.name] {
		return model.Result{}, errDamaged
	}
	t := e.tenants.get(to.tenant)
	if t == nil {
		if !c.Parents {
			return model.Result{}, model.ErrNotFound
		}
		if t, err = e.makeTenant(to.tenant, 0); err != nil {
			return model.Result{}, err
		}
	}
	if there := e.service(to); there != nil {
		if c.NoReplace {
			return model.Result{}, model.ErrExists
		}
		if err := e.ensure(there); err != nil {
			return model.Result{}, err
		}
		if err := e.dropService(to, there); err != nil {
			return model.Result{}, err
		}
	}
	e.tick()
	e.moveService(s, from, to, t)
	return r, nil
}

func (e *evaluator) moveService(s *service, from, to serviceKey, t *tenant) {
	old := e.tenants.get(from.tenant)
	e.setService(placeKey{old, from.name}, nil)
	e.setService(placeKey{t, to.name}, s)
	e.stirredTenant(old)
	e.stirredTenant(t)
	e.tree = append(e.tree, &treeEvent{Origin: e.Origin, tenant: t, service: s, time: e.now, before: from, after: to, from: old})
}

// renameTenant gives a tenant another name, and with it all its services.
func (e *evaluator) renameTenant(c *model.Change) (model.Result, error) {
	from, to := c.Tenant, c.ToTenant
	if c.ToService != "" {
		return model.Result{}, model.ErrCrossDevice
	}
	if err := e.auth.Need(e.Principal, from, model.RightDelete); err != nil {
		return model.Result{}, err
	}
	t := e.tenants.get(from)
	if t == nil {
		return model.Result{}, e.noTenant(from)
	}
	r := model.Result{ID: t.id, MTime: t.mtime}
	if from == to {
		r.Unchanged = true
		return r, nil
	}
	if err := checkTenant(to, e.limits); err != nil {
		return model.Result{}, err
	}
	if err := e.auth.NeedNew(e.Principal, to, model.RightCreate); err != nil {
		return model.Result{}, err
	}
	if e.view.damaged[from] != nil || e.view.damaged[to] != nil {
		return model.Result{}, errDamaged
	}
	if there := e.tenants.get(to); there != nil {
		if c.NoReplace {
			return model.Result{}, model.ErrExists
		}
		if err := e.dropTenant(to, there); err != nil {
			return model.Result{}, err
		}
	}
	e.tick()
	e.setTenant(from, nil)
	e.setTenant(to, t)
	e.tree = append(e.tree, e.renamedTenant(t, from, to))
	return r, nil
}

// renamedTenant tells that a tenant has got another name. Its services are where they were, in it.
func (e *evaluator) renamedTenant(t *tenant, from, to string) *treeEvent {
	ev := &treeEvent{Origin: e.Origin, tenant: t, time: e.now, before: serviceKey{tenant: from}, after: serviceKey{tenant: to}}
	ev.inside = make([]serviceName, 0, e.crowds.get(t))
	for name := range t.services {
		if s := e.services.get(placeKey{t, name}); s != nil {
			ev.inside = append(ev.inside, serviceName{s, name})
		}
	}
	for k, s := range e.services.over {
		if s != nil && k.tenant == t && e.services.base(k) == nil {
			ev.inside = append(ev.inside, serviceName{s, k.name})
		}
	}
	e.work += len(ev.inside) * int(unsafe.Sizeof(serviceName{}))
	return ev
}
