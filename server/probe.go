package server

import (
	"fmt"
	"time"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/transport"
)

// spaceMargin is what must be free beyond the engine's own bound, and twice the largest value, for a probe to promise
// anything.
const spaceMargin = 16 << 20

// roomy reports whether the disk has room for a value as far as one can see from outside the engine.
func (s *Server) roomy() (bool, error) {
	free, _, err := s.engine.Free()
	if err != nil {
		return false, fmt.Errorf("%w: %w", model.ErrUnavailable, err)
	}
	return free >= s.minFree+2*s.limits.Value+spaceMargin, nil
}

func (r request) probe(m *transport.Probe) (*transport.Probed, error) {
	tenant := m.Tenant
	p := &transport.Probed{}
	s := r.server
	if m.ID != 0 {
		s.view.mu.RLock()
		if v := s.view.byID[m.ID]; v != nil {
			tenant = v.service.tenant.name
			p.Version = v.version
		}
		s.view.mu.RUnlock()
		if tenant == "" {
			return nil, model.ErrNotFound
		}
	}
	check := r.auth.Need
	if m.ID == 0 && m.Service == "" {
		check = r.auth.NeedNew // a tenant
	}
	if err := check(r.principal, tenant, m.Want); err != nil {
		return nil, err
	}
	if m.ID == 0 && m.Name != "" {
		if err := s.fits(m); err != nil {
			return nil, err
		}
	}
	if m.Want&(model.RightWrite|model.RightCreate) != 0 {
		roomy, err := s.roomy()
		if err != nil {
			return nil, err
		}
		if !roomy || time.Since(time.Unix(0, s.fullAt.Load())) < time.Second {
			return nil, model.ErrNoSpace
		}
	}
	if m.Reserve {
		id, err := s.engine.NextID(s.ctx)
		if err != nil {
			return nil, fromEngine(err)
		}
		r.client.reserve(id)
		p.ID = id
	}
	return p, nil
}

// fits reports whether there can be a variable of the name that a probe is about.
func (s *Server) fits(m *transport.Probe) error {
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
	if c.find(m.Name).d != nil {
		return model.ErrIsDirectory
	}
	for p := parentOf(m.Name); ; p = parentOf(p) {
		switch n := c.find(p); {
		case n.v != nil:
			return model.ErrNotDirectory
		case n.d != nil && p == parentOf(m.Name):
			return nil
		case n.d != nil:
			return model.ErrNotFound
		}
	}
}
