package core

import (
	"github.com/commy-project/commyfs/engine"
	"github.com/commy-project/commyfs/model"
)

// A variable of a service that is not in memory is read from the store, where nobody changes it meanwhile: a change loads the
// service first. So who wants a single value of a very large service does not wait for all of it, and has it take no memory.

// loadFrom is how many values of a service are read from the store before it is loaded.
const loadFrom = 64

// ReadsOn reports whether so much of a service is read that it should be loaded. It says so once each time it is let go.
func (s *Session) ReadsOn(id uint64) bool {
	svc, err := s.readable(id)
	return err == nil && svc.content.Load() == nil && svc.reads.Add(1) == loadFrom
}

// readStored is Read from the store.
func (s *Session) readStored(svc *service, name string, value bool) (model.Variable, error) {
	m, err := s.core.inStore(svc, name, value)
	v := s.core.view
	v.mu.RLock()
	now, c, gone := s.loadedLocked(svc.id)
	v.mu.RUnlock()
	switch {
	case gone != nil && gone != errLetGo || now != svc:
		return model.Variable{}, model.ErrNotFound // it has gone, or out of sight, meanwhile
	case c != nil:
		// What the store has by now may not be shown yet, and nobody is to read what is shown after that.
		return s.Read(svc.id, name, value)
	}
	return m, err
}

// inStore finds in the store what a service has under a name.
func (s *Core) inStore(svc *service, name string, value bool) (model.Variable, error) {
	found, size, err := s.engine.Find(s.ctx, svc.id, name, value)
	switch {
	case engine.Unreadable(err):
		s.log.Error("a variable cannot be read", "service", svc.id, "name", name, "err", err)
		return model.Variable{}, errDamaged
	case err != nil:
		return model.Variable{}, fromEngine(err)
	}
	if v := found.Variable; v != nil {
		m := model.Variable{
			ID: v.ID, Name: name, Version: v.Version, MTime: v.MTime, Mode: model.Mode(v.Mode), Writer: v.Writer, Size: int64(size),
		}
		if value {
			m.Data = v.Data
		}
		return m, nil
	}
	switch {
	case found.Dir:
		return model.Variable{}, model.ErrIsDirectory
	case found.Blocked:
		return model.Variable{}, model.ErrNotDirectory
	}
	return model.Variable{}, model.ErrNotFound
}
