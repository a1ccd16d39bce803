package core

import "slices"

// homes are the services that can have a variable which is not in memory: where it was moved to, and the one in which a
// client knew it. Those that are in memory are left out: it would have been found.
func (v *view) homes(id, in uint64) []*service {
	v.mu.RLock()
	defer v.mu.RUnlock()
	var list []*service
	for _, sid := range []uint64{v.moved[id], in} {
		if s := v.services[sid]; s != nil && s.content.Load() == nil {
			list = append(list, s)
		}
	}
	return list
}

// homes are the services to load before a variable that a client names by its id can be looked for.
func (s *Session) homes(id, in uint64) []*service {
	v := s.core.view
	if id == 0 {
		return nil
	}
	if known := v.variable(id); known != nil {
		known.dir.service.use()
		return nil
	}
	return slices.DeleteFunc(v.homes(id, in), func(svc *service) bool {
		v.mu.RLock()
		defer v.mu.RUnlock()
		return s.auth.NeedToChange(s.Principal, svc.tenant.name) != nil
	})
}
