package core

import (
	"fmt"
	"time"

	"github.com/commy-project/commyfs/model"
)

// spaceMargin is what must be free beyond the engine's own bound, and twice the largest value, for a probe to promise
// anything.
const spaceMargin = 16 << 20

// roomy reports whether the disk has room for a value as far as one can see from outside the engine.
func (s *Core) roomy() (bool, error) {
	free, _, err := s.engine.Free()
	if err != nil {
		return false, fmt.Errorf("%w: %w", model.ErrUnavailable, err)
	}
	return free >= s.minFree+2*s.limits.Value+spaceMargin, nil
}

// ProbeWaits returns the services that a probe would have to load.
func (s *Session) ProbeWaits(m *model.Probe) (services []uint64) {
	for _, svc := range s.homes(m.ID, m.In) {
		services = append(services, svc.id)
	}
	return services
}

// Probe says whether a change would be accepted now.
func (s *Session) Probe(m *model.Probe) (*model.Probed, error) {
	tenant := m.Tenant
	p := &model.Probed{}
	srv := s.core
	if m.ID != 0 {
		for _, svc := range s.homes(m.ID, m.In) {
			if err := srv.load(srv.ctx, svc); err != nil {
				return nil, err
			}
		}
		srv.view.mu.RLock()
		if v := srv.view.byID.get(m.ID); v != nil && s.auth.Need(s.Principal, v.dir.service.tenant.name, 0) == nil {
			tenant = v.dir.service.tenant.name
			p.Version = v.dir.version(v.version)
		}
		srv.view.mu.RUnlock()
		if tenant == "" {
			return nil, model.ErrNotFound
		}
	}
	check := s.auth.Need
	if m.ID == 0 && m.Service == "" {
		check = s.auth.NeedNew // a tenant
	}
	if err := check(s.Principal, tenant, m.Want); err != nil {
		return nil, err
	}
	if m.ID == 0 && m.Name != "" {
		if err := srv.fits(m); err != nil {
			return nil, err
		}
	}
	if m.Want&(model.RightWrite|model.RightCreate) != 0 {
		roomy, err := srv.roomy()
		if err != nil {
			return nil, err
		}
		if !roomy || time.Since(time.Unix(0, srv.fullAt.Load())) < time.Second {
			return nil, model.ErrNoSpace
		}
	}
	if m.Reserve {
		id, err := srv.engine.NextID(srv.ctx)
		if err != nil {
			return nil, fromEngine(err)
		}
		s.client.reserve(id)
		p.ID = id
	}
	return p, nil
}

// fits reports whether there can be a variable of the name that a probe is about.
func (s *Core) fits(m *model.Probe) error {
	if err := checkPath(m.Name, s.limits); err != nil {
		return err
	}
	s.view.mu.RLock()
	defer s.view.mu.RUnlock()
	t := s.view.tenants[m.Tenant]
	if t == nil || t.services[m.Service] == nil {
		return model.ErrNotFound
	}
	c := t.services[m.Service].content.Load()
	if c == nil {
		return nil // not loaded: the change itself will see
	}
	switch n, in, blocked := c.find(m.Name); {
	case n.d != nil:
		return model.ErrIsDirectory
	case n.v != nil:
		return nil
	case t.services[m.Service].bare != 0:
		return errUnregistered
	case blocked:
		return model.ErrNotDirectory
	case in == nil:
		return model.ErrNotFound
	}
	return nil
}
