package server

import (
	"cmp"
	"slices"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/transport"
)

// list answers a [transport.List], a page at a time: the next one is made when the one before is being sent.
func (r request) list(m *transport.List) {
	l, err := r.lister(m)
	if err != nil {
		r.result(nil, err)
		return
	}
	for {
		if r.memory.Take(pageBytes) != nil {
			return // the session ends
		}
		page, err := l.page(pageBytes, pageEntries)
		if err != nil {
			r.memory.Give(pageBytes)
			r.result(nil, err)
			return
		}
		last := !page.More
		if last && l.failed != nil {
			page.More = true // the error comes behind it
		}
		taken := make(chan struct{})
		r.out.stream(&stream{id: r.id, cost: r.cost, part: page.More, next: func() (transport.Message, bool) {
			close(taken)
			r.memory.Give(pageBytes)
			return page, false
		}})
		if !page.More {
			return
		}
		select {
		case <-taken:
		case <-r.conn.Done():
			return
		}
		if last {
			r.result(nil, l.failed)
			return
		}
	}
}

// pageEntries bounds a page beside pageBytes.
const pageEntries = 2048

// lister walks over what a [transport.List] asks for, in order, and holds no lock between two pages. What is in a service
// is of one moment, that at which the walk comes to it: so whatever was under its name all the time is listed once, and
// nothing is listed twice.
type lister struct {
	r         request
	recursive bool
	tops      []top // tenants and services that are left, in order

	failed error // of the first service that could not be loaded: it is listed, and what is in it is not

	// What is left of the service that the walk is in.
	nodes   *inside // nil: nothing
	service model.Entry
}

// top is a tenant or, with a service, a service of it.
type top struct {
	entry   model.Entry
	service *service
}

// lister finds where a listing begins.
func (r request) lister(m *transport.List) (*lister, error) {
	if m.Service == "" && m.Name != "" || m.Tenant == "" && m.Service != "" {
		return nil, model.ErrInvalid
	}
	l := &lister{r: r, recursive: m.Recursive}
	if m.Service != "" {
		svc, err := r.serviceNamed(m.Tenant, m.Service)
		if err != nil {
			return nil, err
		}
		return l, l.enter(svc, m.Name)
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
func (l *lister) addTops(tenant string) error {
	r, v := l.r, l.r.server.view
	v.mu.RLock()
	defer v.mu.RUnlock()
	if tenant != "" {
		if err := r.auth.Need(r.principal, tenant, model.RightRead); err != nil {
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
		have := r.auth.Rights(r.principal, name)
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

func (l *lister) addServices(t *tenant) {
	for _, svc := range t.services {
		l.tops = append(l.tops, top{
			model.Entry{Tenant: t.name, Service: svc.name, Dir: true, ID: svc.id, MTime: svc.mtime, Mode: svc.mode}, svc,
		})
	}
}

// enter has the walk go on with what is in a directory of a service.
func (l *lister) enter(svc *service, dir string) error {
	s := l.r.server
	if dir != "" {
		if err := checkPath(dir, s.limits); err != nil {
			return err
		}
	}
	return s.look(svc, func(c *content) error {
		if err := l.r.auth.Need(l.r.principal, svc.tenant.name, model.RightRead); err != nil {
			return err
		}
		switch at := c.find(dir); {
		case at.v != nil:
			return model.ErrNotDirectory
		case at.d == nil:
			return model.ErrNotFound
		}
		l.nodes = c.nodes.freeze().inside(dir)
		l.service = model.Entry{Tenant: svc.tenant.name, Service: svc.name}
		return nil
	})
}

// page returns what comes next, about so many bytes and entries of it at most, but one at least if there is one. It loads
// services where the walk comes to them, which may take a while.
func (l *lister) page(bytes, entries int) (*transport.Entries, error) {
	if l.nodes != nil {
		if err := l.r.auth.Need(l.r.principal, l.service.Tenant, model.RightRead); err != nil {
			return nil, err
		}
	}
	page := &transport.Entries{}
	for size := 0; size < bytes && len(page.Entries) < entries; {
		e, ok, err := l.next()
		if err != nil {
			return nil, err
		}
		if !ok {
			return page, nil
		}
		size += len(e.Tenant) + len(e.Service) + len(e.Name) + len(e.Writer) + entryCost
		page.Entries = append(page.Entries, e)
	}
	page.More = true // perhaps nothing
	return page, nil
}

// next returns the next entry; false: that was all.
func (l *lister) next() (model.Entry, bool, error) {
	if l.nodes != nil {
		if e, ok := l.nextInside(); ok {
			return e, true, nil
		}
		l.nodes = nil
	}
	for len(l.tops) > 0 {
		t := l.tops[0]
		l.tops = l.tops[1:]
		if l.r.auth.Need(l.r.principal, t.entry.Tenant, 0) != nil {
			continue // out of sight by now
		}
		if l.recursive && t.service != nil {
			switch err := l.enter(t.service, ""); model.CodeOf(err) {
			case model.CodeOK:
			case model.CodeNotFound, model.CodeDenied:
				continue // gone by now, or out of sight
			case model.CodeInternal:
				l.failed = cmp.Or(l.failed, err)
			default:
				return model.Entry{}, false, err
			}
		}
		return t.entry, true, nil
	}
	return model.Entry{}, false, nil
}

func (l *lister) nextInside() (model.Entry, bool) {
	it, ok := l.nodes.next()
	if !l.recursive {
		for ok && l.nodes.deeper(it.path) {
			it, ok = l.nodes.next()
		}
	}
	if !ok {
		return model.Entry{}, false
	}
	e := l.service
	if it.d != nil {
		d := it.d.info
		e.Dir, e.Name, e.ID, e.MTime, e.Mode = true, it.path, d.id, d.mtime, d.mode
	} else {
		v := it.v
		e.Name, e.ID, e.Version, e.MTime, e.Mode, e.Writer, e.Size = it.path, v.id, v.version, v.mtime, v.mode, v.writer, int64(len(v.data))
	}
	return e, true
}
