package core

import (
	"slices"
	"strings"

	"github.com/commy-project/commyfs/model"
)

// lockPage bounds the locks of a page beside those of its last variable.
const lockPage = 512

// LockList is the locks of what is at or below a path, a page at a time.
type LockList struct {
	s     *Session
	files []lockedFile
}

// lockedFile is a variable of which somebody has or wants a lock, or was one.
type lockedFile struct {
	id                    uint64
	tenant, service, name string
}

// ListLocks begins a list of locks that the session may know of.
func (s *Session) ListLocks(m *model.ListLocks) *LockList {
	k := s.core.locking
	k.mu.Lock()
	ids := k.table.Files()
	places := make([]lockPlace, len(ids))
	for i, id := range ids {
		places[i] = k.places[id]
	}
	k.mu.Unlock()
	l := &LockList{s: s}
	for i, id := range ids {
		f, ok := s.lockedFile(id, places[i])
		below := m.Name == "" || f.name == m.Name || strings.HasPrefix(f.name, m.Name+"/")
		if ok && (m.Tenant == "" || m.Tenant == f.tenant) && (m.Service == "" || m.Service == f.service) && below {
			l.files = append(l.files, f)
		}
	}
	slices.SortFunc(l.files, func(a, b lockedFile) int {
		return slices.Compare([]string{a.tenant, a.service, a.name}, []string{b.tenant, b.service, b.name})
	})
	return l
}

// lockedFile says where a variable is, without a name if it is gone. ok: the session may know of it.
func (s *Session) lockedFile(id uint64, at lockPlace) (f lockedFile, ok bool) {
	v := s.core.view
	v.mu.RLock()
	defer v.mu.RUnlock()
	svc, name := at.service, at.name
	if x := v.byID.get(id); x != nil {
		svc, name = x.dir.service, x.dir.path(x.name)
	} else if svc != nil && svc.content.Load() != nil {
		name = ""
	}
	if svc == nil || v.services[svc.id] != svc || s.auth.Need(s.Principal, svc.tenant.name, model.RightRead) != nil {
		return f, false
	}
	return lockedFile{id, svc.tenant.name, svc.name, name}, true
}

// Page returns the next page.
func (l *LockList) Page() *model.LockPage {
	m := &model.LockPage{}
	k := l.s.core.locking
	k.mu.Lock()
	defer k.mu.Unlock()
	for len(l.files) > 0 && len(m.Locks) < lockPage {
		f := l.files[0]
		l.files = l.files[1:]
		for _, e := range k.table.Of(f.id) {
			i := model.LockInfo{
				ID: f.id, Tenant: f.tenant, Service: f.service, Name: f.name, Kind: model.LockKind(e.Kind), Exclusive: e.Exclusive,
				Start: e.Start, End: e.End, Waits: e.Waits, Since: e.Since, Pid: e.Pid, Program: e.Program,
			}
			if h := k.leases[e.Owner.Client]; h != nil {
				i.Host, i.User, i.Mount = h.who.Info.Host, h.who.Info.User, h.who.Info.Mount
				if i.Pid == 0 {
					i.Pid = h.who.Info.Pid
				}
				if i.Program == "" {
					i.Program = h.who.Info.Program
				}
				if !h.away.IsZero() {
					i.Away = h.away.UnixNano()
				}
			}
			m.Locks = append(m.Locks, i)
		}
	}
	m.More = len(l.files) > 0
	return m
}
