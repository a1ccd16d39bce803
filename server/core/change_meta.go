package core

import (
	"github.com/commy-project/commyfs/diff"
	"github.com/commy-project/commyfs/model"
)

// setMeta carries out OpSetMeta. What is so already makes no event.
func (e *evaluator) setMeta(c *model.Change) (model.Result, error) {
	if !validMode(c.Mode) || c.Mode == 0 && !c.HasMTime {
		return model.Result{}, model.ErrInvalid
	}
	if c.ID == 0 && c.Name == "" {
		if c.Service == "" {
			return e.setTenantMeta(c)
		}
		return e.setServiceMeta(c)
	}
	t, err := e.find(c)
	if err != nil {
		return model.Result{}, err
	}
	if err := e.auth.Need(e.Principal, t.key.tenant, model.RightWrite); err != nil {
		return model.Result{}, err
	}
	if t.v != nil && t.conflicts(c) {
		return model.Result{}, model.ErrConflict
	}
	if t.v != nil {
		return e.describe(t.v, t.v.meta().with(c)), nil
	}
	m := t.d.with(c)
	r := model.Result{ID: t.d.id, MTime: m.mtime, Unchanged: m == t.d.meta}
	if !r.Unchanged {
		d := *t.d
		d.meta = m
		e.tick()
		e.put(t.at, entry{d: &d})
		e.emit(&event{service: t.service, kind: model.EventMeta, name: t.path, d: &d})
	}
	return r, nil
}

func validMode(m model.Mode) bool { return m == 0 || m == model.NewMode(m.Perm(false)) }

// with is m with what c gives.
func (m meta) with(c *model.Change) meta {
	if c.Mode != 0 {
		m.mode = c.Mode
	}
	if c.HasMTime {
		m.mtime = c.MTime
	}
	return m
}

// describe gives a variable another mode and mtime, unless it has them.
func (e *evaluator) describe(was *variable, m meta) model.Result {
	if m == was.meta() {
		r := resultOf(was)
		r.Unchanged = true
		return r
	}
	v := *was
	v.setMeta(m)
	e.differs(&v, was, []diff.Range{})
	e.tick()
	e.put(v.at(), entry{v: &v})
	e.emit(&event{service: v.dir.service, kind: model.EventMeta, name: e.path(v.at()), was: was, v: &v})
	return resultOf(&v)
}

func (e *evaluator) setTenantMeta(c *model.Change) (model.Result, error) {
	if err := e.auth.Need(e.Principal, c.Tenant, model.RightWrite); err != nil {
		return model.Result{}, err
	}
	t := e.tenants.get(c.Tenant)
	if t == nil {
		return model.Result{}, model.ErrNotFound
	}
	was := e.tenantMetas.get(t)
	m := was.with(c)
	if m != was {
		e.tick()
		e.tenantMetas.set(t, m)
		key := serviceKey{tenant: c.Tenant}
		e.tree = append(e.tree, &treeEvent{Origin: e.Origin, tenant: t, before: key, after: key})
		e.wrote = true
	}
	return model.Result{ID: t.id, MTime: m.mtime, Unchanged: m == was}, nil
}

// setServiceMeta tells those who watch the service: to whom it is a directory that they look at.
func (e *evaluator) setServiceMeta(c *model.Change) (model.Result, error) {
	s, err := e.findService(c.Tenant, c.Service)
	if err != nil {
		return model.Result{}, err
	}
	if err := e.auth.Need(e.Principal, c.Tenant, model.RightWrite); err != nil {
		return model.Result{}, err
	}
	was := e.serviceMetas.get(s)
	m := was.with(c)
	if m != was {
		e.tick()
		e.serviceMetas.set(s, m)
		e.emit(&event{service: s, kind: model.EventMeta, d: &dirInfo{id: s.id, meta: m}})
		e.wrote = true
	}
	return model.Result{ID: s.id, MTime: m.mtime, Unchanged: m == was}, nil
}

// stirred makes the time of the last change that of a directory in which something has come, gone or been renamed. It is not
// announced: who is told of the change itself knows.
func (e *evaluator) stirred(in *directory) {
	was := e.infos.get(in)
	if was == nil {
		m := e.serviceMetas.get(in.service)
		m.mtime = e.now
		e.serviceMetas.set(in.service, m)
		return
	}
	k := entryKey{was.in, was.name}
	if n := e.entries.get(k); n.d == was {
		d := *was
		d.mtime = e.now
		e.infos.set(in, &d)
		e.entries.set(k, entry{d: &d})
	}
}

// stirredTenant is stirred for a service of a tenant.
func (e *evaluator) stirredTenant(t *tenant) {
	m := e.tenantMetas.get(t)
	m.mtime = e.now
	e.tenantMetas.set(t, m)
}
