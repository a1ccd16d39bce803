package core

import (
	"cmp"
	"slices"

	"github.com/commy-project/commyfs/model"
)

// Lister walks over what a [model.List] asks for, in order, and holds no lock between two pages. What is in a service
// is of one moment, that at which the walk comes to it: so whatever was under its name all the time is listed once, and
// nothing is listed twice.
type Lister struct {
	session   *Session
	recursive bool
	tops      []top // tenants and services that are left, in order

	// failed comes at the end. A service that could not be loaded is listed, and what is in it is not.
	failed error

	// What is left of the service that the walk is in.
	nodes   *walk // nil: nothing
	layouts layouts
	service model.Entry
}

// top is a tenant or, with a service, a service of it.
type top struct {
	entry   model.Entry
	service *service
}

// List finds where a listing begins.
func (s *Session) List(m *model.List) (*Lister, error) {
	if m.Service == "" && m.Name != "" || m.Tenant == "" && m.Service != "" {
		return nil, model.ErrInvalid
	}
	l := &Lister{session: s, recursive: m.Recursive}
	if m.Service != "" {
		id, err := s.Find(m.Tenant, m.Service)
		if err != nil {
			return nil, err
		}
		return l, l.enter(id, m.Name)
	}
	if err := l.addTops(m.Tenant); err != nil {
		return nil, err
	}
	slices.SortFunc(l.tops, func(a, b top) int {
		return cmp.Or(cmp.Compare(a.entry.Tenant, b.entry.Tenant), cmp.Compare(a.entry.Service, b.entry.Service))
	})
	return l, nil
}

// addTops has the walk go over a tenant's services, or over all tenants.
func (l *Lister) addTops(tenant string) error {
	s, v := l.session, l.session.core.view
	v.mu.RLock()
	defer v.mu.RUnlock()
	if tenant != "" {
		if err := s.auth.Need(s.Principal, tenant, model.RightRead); err != nil {
			return err
		}
		t := v.tenants[tenant]
		switch {
		case t == nil && v.damaged[tenant] != nil:
			return errDamaged
		case t == nil:
			return model.ErrNotFound
		}
		l.addServices(t)
		return nil
	}
	for name, t := range v.tenants {
		have := s.auth.Rights(s.Principal, name)
		if have == 0 {
			continue
		}
		l.tops = append(l.tops, top{entry: model.Entry{Tenant: name, Dir: true, ID: t.id, MTime: t.mtime, Mode: t.mode}})
		if l.recursive && have&model.RightRead != 0 {
			l.addServices(t)
		}
	}
	return nil
}

func (l *Lister) addServices(t *tenant) {
	for _, svc := range t.services {
		l.tops = append(l.tops, top{
			model.Entry{Tenant: t.name, Service: svc.name, Dir: true, ID: svc.id, MTime: svc.mtime, Mode: svc.mode, Bare: svc.bare}, svc,
		})
	}
}

// enter has the walk go on with what is in a directory of a service.
func (l *Lister) enter(service uint64, dir string) error {
	s := l.session
	if dir != "" {
		if err := checkPath(dir, s.core.limits); err != nil {
			return err
		}
	}
	if err := s.Load(service); err != nil {
		return err
	}
	v := s.core.view
	v.mu.RLock()
	defer v.mu.RUnlock()
	svc, c, err := s.loadedLocked(service)
	if err != nil {
		return err
	}
	id, least := c.root.id, uint64(0)
	if dir != "" {
		switch at, _, _ := c.find(dir); {
		case at.v != nil:
			return model.ErrNotDirectory
		case at.d == nil:
			return model.ErrNotFound
		default:
			id, least = at.d.id, at.d.dir.version(0)
		}
	}
	l.nodes, l.layouts = c.nodes.freeze().walk(id, dir, least, l.recursive), c.layouts
	l.service = model.Entry{Tenant: svc.tenant.name, Service: svc.name}
	return nil
}

// Page returns what comes next, about so many bytes and entries of it at most, but one at least if there is one. It loads
// services where the walk comes to them, which may take a while.
func (l *Lister) Page(bytes, entries int) (*model.Page, error) {
	if s := l.session; l.nodes != nil {
		if err := s.auth.Need(s.Principal, l.service.Tenant, model.RightRead); err != nil {
			return nil, err
		}
	}
	page := &model.Page{}
	for size := 0; size < bytes && len(page.Entries) < entries; {
		e, ok := l.next()
		switch {
		case ok:
		case l.failed == nil:
			return page, nil
		case len(page.Entries) == 0:
			return nil, l.failed
		default:
			page.More = true // the error
			return page, nil
		}
		size += len(e.Tenant) + len(e.Service) + len(e.Name) + len(e.Writer) + entryCost
		page.Entries = append(page.Entries, e)
	}
	page.More = true // perhaps nothing
	return page, nil
}

// next returns the next entry; false: that was all.
func (l *Lister) next() (model.Entry, bool) {
	if l.nodes != nil {
		if e, ok := l.nextInside(); ok {
			return e, true
		}
		l.nodes = nil
	}
	for len(l.tops) > 0 {
		t := l.tops[0]
		l.tops = l.tops[1:]
		if l.session.auth.Need(l.session.Principal, t.entry.Tenant, 0) != nil {
			continue // out of sight by now
		}
		if l.recursive && t.service != nil {
			switch err := l.enter(t.service.id, ""); model.CodeOf(err) {
			case model.CodeOK:
			case model.CodeNotFound, model.CodeDenied:
				continue // gone by now, or out of sight
			case model.CodeInternal:
				l.failed = cmp.Or(l.failed, err)
			default:
				l.failed, l.tops = err, nil
				return model.Entry{}, false
			}
		}
		return t.entry, true
	}
	return model.Entry{}, false
}

func (l *Lister) nextInside() (model.Entry, bool) {
	it, path, ok := l.nodes.next()
	if !ok {
		return model.Entry{}, false
	}
	e := l.service
	if it.d != nil {
		d := it.d
		e.Dir, e.Name, e.ID, e.MTime, e.Mode = true, path, d.id, d.mtime, d.mode
	} else {
		v := it.v
		e.Name, e.ID, e.Version, e.MTime, e.Mode, e.Writer, e.Size = path, v.id, l.nodes.version(v), v.mtime, v.mode, v.writtenBy(), int64(len(v.data()))
		e.Layout = l.layouts.get(v.id)
	}
	return e, true
}
