package core

import (
	"strings"

	"github.com/commy-project/commyfs/engine"
	"github.com/commy-project/commyfs/model"
)

// damagedValue leaves a variable of a service out whose value cannot be read. Its name and id stay its own.
func (s *Core) damagedValue(c *content, k entryKey, d engine.DamagedVariable) {
	if c.damaged == nil {
		c.damaged = map[entryKey]uint64{}
	}
	c.damaged[k] = d.ID
	if _, known := s.damagedVars.LoadOrStore(d.ID, nil); !known {
		s.log.Error("the value of a variable cannot be read and is left as it is", "service", c.root.service.id, "name", k.in.path(k.name), "id", d.ID, "err", d.Err)
	}
}

// inDamaged tells whether path is that of a variable whose value cannot be read, or would be below one.
func (c *content) inDamaged(path string) bool {
	if c == nil || len(c.damaged) == 0 {
		return false
	}
	for in := c.root; ; {
		name, rest, deeper := strings.Cut(path, "/")
		if c.isDamagedAt(entryKey{in, name}) {
			return true
		}
		n := c.get(entryKey{in, name})
		if !deeper || n.d == nil {
			return false
		}
		in, path = n.d.dir, rest
	}
}

// isDamagedAt tells whether a name is that of such a variable.
func (c *content) isDamagedAt(k entryKey) bool {
	_, damaged := c.damaged[k]
	return damaged
}

// holdsDamaged tells whether such a variable is in a directory.
func (c *content) holdsDamaged(dir *directory) bool {
	for k := range c.damaged {
		if k.in == dir {
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
	for _, sid := range v.homesLocked(c.ID, c.In) {
		if s := v.services[sid]; s != nil && s.content.Load().isDamaged(c.ID) && e.auth.Need(e.Principal, s.tenant.name, 0) == nil {
			return errDamaged
		}
	}
	return model.ErrNotFound
}
