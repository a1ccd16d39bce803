package server

import (
	"cmp"
	"slices"

	"github.com/commy-project/commyfs/transport"
)

// list answers a [transport.List].
func (r request) list(m *transport.List) {
	entries, err := r.entries(m)
	if err != nil {
		r.result(nil, err)
		return
	}
	slices.SortFunc(entries, func(a, b transport.Entry) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Name, b.Name))
	})
	r.out.stream(&stream{id: r.id, size: r.size, next: func() (transport.Message, bool) {
		page := &transport.Entries{}
		size, n := 0, 0
		for n < len(entries) && size < pageBytes {
			e := &entries[n]
			size += len(e.Tenant) + len(e.Service) + len(e.Name) + len(e.Writer) + entryCost
			n++
		}
		page.Entries, entries = entries[:n], entries[n:]
		page.More = len(entries) > 0
		return page, page.More
	}})
}

func (r request) entries(m *transport.List) ([]transport.Entry, error) {
	if m.Service == "" && m.Name != "" || m.Tenant == "" && m.Service != "" {
		return nil, transport.ErrInvalid
	}
	if m.Service != "" {
		svc, err := r.serviceNamed(m.Tenant, m.Service)
		if err != nil {
			return nil, err
		}
		return r.inService(nil, svc, m.Name, m.Recursive)
	}
	s := r.server
	var list []transport.Entry
	var inside []*service
	s.view.mu.RLock()
	if m.Tenant != "" {
		t := s.view.tenants[m.Tenant]
		err := r.rights.need(m.Tenant, transport.RightRead)
		if err == nil && t == nil {
			err = transport.ErrNotFound
		}
		if err != nil {
			s.view.mu.RUnlock()
			return nil, err
		}
		list, inside = t.entries(list, inside)
	} else {
		for name, t := range s.view.tenants {
			have := r.rights(name)
			if have == 0 {
				continue
			}
			list = append(list, transport.Entry{Tenant: name, Dir: true, ID: t.id, MTime: t.mtime})
			if m.Recursive && have&transport.RightRead != 0 {
				list, inside = t.entries(list, inside)
			}
		}
	}
	s.view.mu.RUnlock()
	if !m.Recursive {
		return list, nil
	}
	for _, svc := range inside {
		var err error
		if list, err = r.inService(list, svc, "", true); err != nil && err != transport.ErrNotFound {
			return nil, err
		}
	}
	return list, nil
}

func (t *tenant) entries(list []transport.Entry, services []*service) ([]transport.Entry, []*service) {
	for _, svc := range t.services {
		list = append(list, transport.Entry{Tenant: t.name, Service: svc.name, Dir: true, ID: svc.id, MTime: svc.mtime})
		services = append(services, svc)
	}
	return list, services
}

// inService appends what is in a directory of a service, ErrNotFound if the service is gone by now.
func (r request) inService(list []transport.Entry, svc *service, dir string, recursive bool) ([]transport.Entry, error) {
	s := r.server
	if dir != "" {
		if err := checkPath(dir, s.limits); err != nil {
			return list, err
		}
	}
	if err := s.load(s.ctx, svc); err != nil {
		return list, err
	}
	s.view.mu.RLock()
	defer s.view.mu.RUnlock()
	if s.view.services[svc.id] != svc {
		return list, transport.ErrNotFound
	}
	tenant := svc.tenant.name
	at := svc.content.Load().find(dir)
	switch {
	case at.v != nil:
		return list, transport.ErrNotDirectory
	case at.d == nil:
		return list, transport.ErrNotFound
	}
	add := func(n node) bool {
		e := transport.Entry{Tenant: tenant, Service: svc.name}
		if n.d != nil {
			e.Dir, e.Name, e.ID, e.MTime = true, n.d.info.name, n.d.info.id, n.d.info.mtime
		} else {
			v := n.v
			e.Name, e.ID, e.Version, e.MTime, e.Writer, e.Size = v.name, v.id, v.version, v.mtime, v.writer, int64(len(v.data))
		}
		list = append(list, e)
		return true
	}
	if recursive {
		at.d.walk(add)
	} else {
		for _, n := range at.d.children {
			add(n)
		}
	}
	return list, nil
}
