package core

import "slices"

// homesLocked are the services that can have a variable: where it was moved to, the one in which a client knew it, and where
// directories have gone from these. The caller holds view.mu.
func (v *view) homesLocked(id, in uint64) []uint64 {
	list := []uint64{v.moved[id], in}
	for _, from := range list[:2] {
		for to := range v.went[from] {
			if !slices.Contains(list, to) {
				list = append(list, to)
			}
		}
	}
	return list
}

// homes are those of a variable that is not in memory. Those that are in memory are left out: it would have been found.
func (v *view) homes(id, in uint64) []*service {
	v.mu.RLock()
	defer v.mu.RUnlock()
	var list []*service
	for _, sid := range v.homesLocked(id, in) {
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
