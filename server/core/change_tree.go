package core

import (
	"github.com/commy-project/commyfs/engine"
	"github.com/commy-project/commyfs/model"
)

// mkdir makes a tenant, a service or a directory, by how much of the name is given.
func (e *evaluator) mkdir(c *model.Change) (model.Result, error) {
	if err := e.auth.NeedNew(e.Principal, c.Tenant, model.RightCreate); err != nil {
		return model.Result{}, err
	}
	if !validMode(c.NewMode) {
		return model.Result{}, model.ErrInvalid
	}
	switch {
	case c.Service == "" && c.Name == "":
		if err := checkTenant(c.Tenant, e.limits); err != nil {
			return model.Result{}, err
		}
		if e.tenants.get(c.Tenant) != nil {
			return model.Result{}, model.ErrExists
		}
		t, err := e.makeTenant(c.Tenant, c.NewMode)
		if err != nil {
			return model.Result{}, err
		}
		return model.Result{ID: t.id, MTime: t.mtime}, nil
	case c.Name == "":
		if e.service(serviceKey{c.Tenant, c.Service}) != nil {
			return model.Result{}, model.ErrExists
		}
		s, err := e.makeService(c.Tenant, c.Service, c.NewMode, c.Parents)
		if err != nil {
			return model.Result{}, err
		}
		return model.Result{ID: s.id, MTime: s.mtime}, nil
	}
	_, at, there, err := e.room(c.Tenant, c.Service, c.Name, c.Parents)
	if err != nil {
		return model.Result{}, err
	}
	if !there.none() {
		return model.Result{}, model.ErrExists
	}
	d, err := e.makeDir(at, c.Tenant, c.Name, c.NewMode)
	if err != nil {
		return model.Result{}, err
	}
	return model.Result{ID: d.id, MTime: d.mtime}, nil
}

// makeTenant makes a tenant whose name is checked and free.
func (e *evaluator) makeTenant(name string, mode model.Mode) (*tenant, error) {
	if e.view.damaged[name] != nil {
		return nil, errDamaged
	}
	id, err := e.id()
	if err != nil {
		return nil, err
	}
	prefix := name
	if e.prefixed.get(name) != nil { // of one that was called so
		prefix = engine.DirPrefix(id)
	}
	t := newTenant(id, name, prefix, meta{e.tick(), mode})
	e.prefixed.set(prefix, t)
	e.setTenant(name, t)
	e.tree = append(e.tree, &treeEvent{Origin: e.Origin, tenant: t, time: e.now, after: serviceKey{tenant: name}})
	return t, nil
}

// noTenant is why there is no tenant of that name.
func (e *evaluator) noTenant(name string) error {
	if e.view.damaged[name] != nil {
		return errDamaged
	}
	return model.ErrNotFound
}

func (e *evaluator) setTenant(name string, t *tenant) {
	e.tenants.set(name, t)
	if t != nil {
		e.called.set(t, name)
		e.wrote = true
	}
}

// makeService makes a service with a free name, and with parents its tenant.
func (e *evaluator) makeService(tenantName, name string, mode model.Mode, parents bool) (*service, error) {
	if err := checkTenant(tenantName, e.limits); err != nil {
		return nil, err
	}
	if err := checkService(name, e.limits); err != nil {
		return nil, err
	}
	if err := e.auth.NeedNew(e.Principal, tenantName, model.RightCreate); err != nil {
		return nil, err
	}
	if e.view.damaged[tenantName][name] {
		return nil, errDamaged
	}
	t := e.tenants.get(tenantName)
	if t == nil {
		if !parents {
			return nil, model.ErrNotFound
		}
		var err error
		if t, err = e.makeTenant(tenantName, 0); err != nil {
			return nil, err
		}
	}
	id, err := e.id()
	if err != nil {
		return nil, err
	}
	s := newService(id, name, t, meta{e.tick(), mode})
	s.content.Store(newContent(s))
	s.use()
	e.setService(placeKey{t, name}, s)
	e.stirredTenant(t)
	e.tree = append(e.tree, &treeEvent{Origin: e.Origin, tenant: t, service: s, time: e.now, after: serviceKey{tenantName, name}})
	return s, nil
}

// setService puts a service, or nothing, under a name, and keeps count.
func (e *evaluator) setService(key placeKey, s *service) {
	e.work += putCost
	was := e.services.get(key)
	e.services.set(key, s)
	if s != nil {
		e.places.set(s, key)
		e.wrote = true
	}
	if (was == nil) != (s == nil) {
		n := e.crowds.get(key.tenant)
		if s != nil {
			n++
		} else {
			n--
		}
		e.crowds.set(key.tenant, n)
	}
}

// makeDir makes a directory at a free place, which is that path.
func (e *evaluator) makeDir(at entryKey, tenant, path string, mode model.Mode) (*dirInfo, error) {
	if err := e.auth.NeedNew(e.Principal, tenant, model.RightCreate); err != nil {
		return nil, err
	}
	id, err := e.id()
	if err != nil {
		return nil, err
	}
	s := at.in.service
	dir := &directory{id: id, service: s, home: at.in.home, prefix: at.in.ownPrefix(at.name)}
	if dir.home != s.id || e.prefixes.get(prefixKey{s, dir.prefix}) != nil || e.islands.get(dir.key()) != nil || e.onIsland(at.in) { // one that was here may have it
		dir.prefix = engine.DirPrefix(id)
	}
	d := &dirInfo{id: id, dir: dir, in: at.in, name: at.name, meta: meta{e.tick(), mode}}
	e.put(at, entry{d: d})
	e.stirred(at.in)
	e.emit(&event{service: s, kind: model.EventMkdir, name: path, time: e.now, d: d})
	return d, nil
}

// rmdir removes an empty tenant, service or directory.
func (e *evaluator) rmdir(c *model.Change) (model.Result, error) {
	if err := e.auth.Need(e.Principal, c.Tenant, model.RightDelete); err != nil {
		return model.Result{}, err
	}
	switch {
	case c.Service == "" && c.Name == "":
		t := e.tenants.get(c.Tenant)
		if t == nil {
			return model.Result{}, e.noTenant(c.Tenant)
		}
		return model.Result{ID: t.id}, e.dropTenant(c.Tenant, t)
	case c.Name == "":
		s, err := e.findService(c.Tenant, c.Service)
		if err != nil {
			return model.Result{}, err
		}
		return model.Result{ID: s.id}, e.dropService(serviceKey{c.Tenant, c.Service}, s)
	}
	t, err := e.find(&model.Change{Tenant: c.Tenant, Service: c.Service, Name: c.Name})
	if err != nil {
		return model.Result{}, err
	}
	if t.v != nil {
		return model.Result{}, model.ErrNotDirectory
	}
	return model.Result{ID: t.d.id}, e.dropDir(t)
}

func (e *evaluator) dropTenant(name string, t *tenant) error {
	if e.crowds.get(t) != 0 {
		return model.ErrNotEmpty
	}
	if e.view.damaged[name] != nil {
		return errDamaged // a service in it
	}
	e.setTenant(name, nil)
	e.called.set(t, "")
	e.prefixed.set(t.prefix, nil)
	e.tree = append(e.tree, &treeEvent{Origin: e.Origin, tenant: t, time: e.tick(), before: serviceKey{tenant: name}})
	return nil
}

// dropService removes a loaded service.
func (e *evaluator) dropService(key serviceKey, s *service) error {
	if e.counts.get(s.content.Load().root) != 0 {
		return model.ErrNotEmpty
	}
	if c := s.content.Load(); c.holdsDamaged(c.root) {
		return errDamaged
	}
	t := e.tenants.get(key.tenant)
	e.setService(placeKey{t, key.name}, nil)
	e.places.set(s, placeKey{})
	if e.bares.get(s) != 0 {
		e.bares.set(s, 0)
	}
	e.tick()
	e.stirredTenant(t)
	e.tree = append(e.tree, &treeEvent{Origin: e.Origin, tenant: t, service: s, time: e.now, before: key, from: t})
	return nil
}

// dropDir removes an empty directory.
func (e *evaluator) dropDir(t target) error {
	if e.counts.get(t.d.dir) != 0 {
		return model.ErrNotEmpty
	}
	if t.service.content.Load().holdsDamaged(t.d.dir) {
		return errDamaged
	}
	e.tick()
	e.put(t.at, entry{})
	if k := t.d.dir.key(); e.islands.get(k) != nil {
		e.islands.set(k, nil)
	}
	e.stirred(t.at.in)
	e.emit(&event{service: t.service, kind: model.EventRmdir, name: t.path, time: e.now, d: t.d})
	return nil
}
