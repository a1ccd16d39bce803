package core

import (
	"github.com/commy-project/commyfs/model"
)

// Find finds a service that the session may read, by its names.
func (s *Session) Find(tenant, name string) (uint64, error) {
	if err := s.auth.Need(s.Principal, tenant, model.RightRead); err != nil {
		return 0, err
	}
	v := s.core.view
	svc := v.lookup(tenant, name)
	if svc == nil {
		if d := v.damaged[tenant]; d[""] || d[name] {
			return 0, errDamaged
		}
		return 0, model.ErrNotFound
	}
	return svc.id, nil
}

// readableLocked finds a service that the session may read. The caller holds view.mu.
func (s *Session) readableLocked(id uint64) (*service, error) {
	svc := s.core.view.services[id]
	if svc == nil {
		return nil, model.ErrNotFound
	}
	return svc, s.auth.Need(s.Principal, svc.tenant.name, model.RightRead)
}

// loadedLocked is readableLocked for a service that is in memory.
func (s *Session) loadedLocked(id uint64) (*service, *content, error) {
	svc, err := s.readableLocked(id)
	if err != nil {
		return nil, nil, err
	}
	c := svc.content.Load()
	if c == nil {
		return svc, nil, errLetGo
	}
	return svc, c, nil
}

func (s *Session) readable(id uint64) (*service, error) {
	v := s.core.view
	v.mu.RLock()
	defer v.mu.RUnlock()
	return s.readableLocked(id)
}

// Loaded reports whether a service that the session may read is in memory, as Watch needs it.
func (s *Session) Loaded(id uint64) (bool, error) {
	svc, err := s.readable(id)
	if err != nil || svc.content.Load() == nil {
		return false, err
	}
	svc.use()
	return true, nil
}

// Steps counts what is done to load a service and to make its memory file: as long as it rises, that goes on.
func (s *Session) Steps(id uint64) uint64 {
	v := s.core.view
	v.mu.RLock()
	defer v.mu.RUnlock()
	svc, err := s.readableLocked(id)
	if svc == nil || err != nil && s.auth.NeedToChange(s.Principal, svc.tenant.name) != nil {
		return 0
	}
	return svc.steps.Load()
}

// Load brings a service into memory that the session may read. It stays there for a while.
func (s *Session) Load(id uint64) error {
	svc, err := s.readable(id)
	if err != nil {
		return err
	}
	return s.core.load(s.core.ctx, svc)
}

// Read returns a variable.
func (s *Session) Read(service uint64, name string, value bool) (model.Variable, error) {
	if err := checkPath(name, s.core.limits); err != nil {
		return model.Variable{}, err
	}
	v := s.core.view
	v.mu.RLock()
	svc, c, err := s.loadedLocked(service)
	if err == errLetGo {
		bare := svc.bare != 0
		v.mu.RUnlock()
		if !bare {
			return s.readStored(svc, name, value)
		}
		// What the file has may be newer than what is stored.
		if err := s.core.load(s.core.ctx, svc); err != nil {
			return model.Variable{}, err
		}
		return s.Read(service, name, value)
	}
	defer v.mu.RUnlock()
	if err != nil {
		return model.Variable{}, err
	}
	n, _, blocked := c.find(name)
	switch {
	case n.v != nil:
		m := n.v.info(name, n.v.dir.version(n.v.version), value)
		m.Layout = c.layouts.get(m.ID)
		return m, nil
	case n.d != nil:
		return model.Variable{}, model.ErrIsDirectory
	}
	if c.inDamaged(name) {
		return model.Variable{}, errDamaged
	}
	if blocked {
		return model.Variable{}, model.ErrNotDirectory
	}
	return model.Variable{}, model.ErrNotFound
}
