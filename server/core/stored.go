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
	c := s.core
	found, size, err := c.engine.Find(c.ctx, svc.id, name, value)
	switch {
	case engine.Unreadable(err):
		c.log.Error("a variable cannot be read", "service", svc.id, "name", name, "err", err)
		return model.Variable{}, errDamaged
	case err != nil:
		return model.Variable{}, fromEngine(err)
	}
	// It may have gone, or out of sight, meanwhile.
	if now, err := s.readable(svc.id); err != nil || now != svc {
		return model.Variable{}, model.ErrNotFound
	}
	if v := found.Variable; v != nil {
		m := model.Variable{
			ID: v.ID, Name: v.Name, Version: v.Version, MTime: v.MTime, Mode: model.Mode(v.Mode), Writer: v.Writer, Size: int64(size),
		}
		if value {
			m.Data = v.Data
		}
		return m, nil
	}
	if found.Dir {
		return model.Variable{}, model.ErrIsDirectory
	}
	for p := parentOf(name); p != ""; p = parentOf(p) {
		found, _, err := c.engine.Find(c.ctx, svc.id, p, false)
		switch {
		case engine.Unreadable(err):
			return model.Variable{}, errDamaged
		case err != nil:
			return model.Variable{}, fromEngine(err)
		case found.Dir:
			return model.Variable{}, model.ErrNotFound
		case found.Variable != nil:
			return model.Variable{}, model.ErrNotDirectory
		}
	}
	return model.Variable{}, model.ErrNotFound
}
