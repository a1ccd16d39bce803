package core

import (
	"github.com/commy-project/commyfs/engine"
	"github.com/commy-project/commyfs/model"
)

// damagedValues leaves variables of a service out whose values cannot be read. Their names and ids stay theirs.
func (s *Core) damagedValues(svc *service, c *content, list []engine.DamagedVariable) {
	for _, d := range list {
		if c.damaged == nil {
			c.damaged = map[string]uint64{}
		}
		c.damaged[d.Name] = d.ID
		if _, known := s.damagedVars.LoadOrStore(d.ID, nil); !known {
			s.log.Error("the value of a variable cannot be read and is left as it is", "service", svc.id, "name", d.Name, "id", d.ID, "err", d.Err)
		}
	}
}

// inDamaged tells whether path is that of a variable whose value cannot be read, or would be below one.
func (c *content) inDamaged(path string) bool {
	if c == nil || len(c.damaged) == 0 {
		return false
	}
	for ; path != ""; path = parentOf(path) {
		if _, ok := c.damaged[path]; ok {
			return true
		}
	}
	return false
}

// holdsDamaged tells whether such a variable is below a directory.
func (c *content) holdsDamaged(dir string) bool {
	if c == nil {
		return false
	}
	for path := range c.damaged {
		if below(path, dir) {
			return true
		}
	}
	return false
}

// isDamaged tells whether an id is that of such a variable.
func (c *content) isDamaged(id uint64) bool {
	if c == nil {
		return false
	}
	for _, d := range c.damaged {
		if d == id {
			return true
		}
	}
	return false
}

// missingID says why the variable that c means is not there, after all services were loaded where it can be.
func (e *evaluator) missingID(c *model.Change) error {
	v := e.view
	v.mu.RLock()
	defer v.mu.RUnlock()
	for _, sid := range []uint64{v.moved[c.ID], c.In} {
		if s := v.services[sid]; s != nil && s.content.Load().isDamaged(c.ID) && e.auth.Need(e.Principal, s.tenant.name, 0) == nil {
			return errDamaged
		}
	}
	return model.ErrNotFound
}
