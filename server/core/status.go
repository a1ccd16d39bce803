package core

import (
	"cmp"
	"os"
	"slices"

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
		m.Locks, m.LockWaits = c.locking.count()
	}
	m.Lease = int64(c.LeaseTime())
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
	size := s.bareStatusLocked(m)
	paths := s.memoryStatusLocked(m)
	v.mu.RUnlock()
	for i, path := range paths {
		if st, err := os.Stat(path); err == nil {
			m.Memory[i].Size = st.Size()
		}
	}
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

// bareStatusLocked describes the bare services that are in memory and that the session may see. It returns about how many
// bytes that takes.
func (s *Session) bareStatusLocked(m *model.Status) (size int) {
	for _, svc := range s.core.view.loaded {
		if svc.bare == 0 || s.auth.Rights(s.Principal, svc.tenant.name) == 0 {
			continue
		}
		c, f := svc.bareFile()
		if c == nil {
			continue
		}
		i := model.BareInfo{Tenant: svc.tenant.name, Service: svc.name, Size: svc.bare, Variables: c.layouts.len(), NoFile: f == nil}
		if size += len(i.Tenant) + len(i.Service) + entryCost; size > maxStatus/2 {
			m.MoreBare++
			continue
		}
		if f != nil {
			st := f.Stats()
			i.Writable, i.Interval, i.Cost, i.Found = st.Writable, int64(st.Interval), int64(st.Cost), st.Found
		}
		m.Bare = append(m.Bare, i)
	}
	slices.SortFunc(m.Bare, func(a, b model.BareInfo) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Service, b.Service))
	})
	return size
}

// memoryStatusLocked describes the named services that somebody uses and that the session may see. It returns where their memory
// files are.
func (s *Session) memoryStatusLocked(m *model.Status) (paths []string) {
	size := 0
	for _, svc := range s.core.view.loaded {
		if svc.bare != 0 || s.auth.Rights(s.Principal, svc.tenant.name) == 0 {
			continue
		}
		i := model.MemoryInfo{Tenant: svc.tenant.name, Service: svc.name}
		svc.watchMu.Lock()
		i.Mapped = len(svc.askers)
		for w := range svc.watches {
			_, asked := svc.askers[w.session]
			switch {
			case asked:
			case w.session.Local:
				i.Unmapped++
			default:
				i.Remote++
			}
		}
		svc.watchMu.Unlock()
		if i.Mapped+i.Remote+i.Unmapped == 0 {
			continue
		}
		if size += len(i.Tenant) + len(i.Service) + entryCost; size > maxStatus/4 {
			m.MoreMemory++
			continue
		}
		path := ""
		if c := svc.content.Load(); c != nil {
			if at := c.file.Load(); at != nil {
				path, i.Generation = at.Path, at.Generation
			}
		}
		m.Memory, paths = append(m.Memory, i), append(paths, path)
	}
	return paths
}
