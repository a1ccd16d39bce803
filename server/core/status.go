package core

import (
	"github.com/commy-project/commyfs/model"
)

// maxStatus is about how many bytes of sessions fit into a status.
const maxStatus = 4 << 20

// Status describes the core and the sessions that this one may know of.
func (s *Session) Status() *model.Status {
	c, v := s.core, s.core.view
	m := &model.Status{Store: c.StoreID(), Limits: c.Limits()}
	if s.auth.Oversees(s.Principal, model.Itself) {
		m.Damaged = c.damaged
		c.damagedVars.Range(func(any, any) bool { m.Damaged++; return true })
	}
	v.mu.RLock()
	m.Rev = v.rev
	for _, svc := range v.services {
		if s.auth.Rights(s.Principal, svc.tenant.name) == 0 {
			continue
		}
		m.Services++
		if svc.content.Load() != nil {
			m.Loaded++
		}
	}
	v.mu.RUnlock()
	size := 0
	for _, o := range c.sessions() {
		if o != s && !s.auth.Oversees(s.Principal, o.Principal) {
			continue
		}
		i := &o.Info
		if size += len(i.Program) + len(i.Host) + len(i.Mount) + len(i.User) + entryCost; size > maxStatus {
			m.More++
			continue
		}
		m.Sessions = append(m.Sessions, *i)
	}
	return m
}
