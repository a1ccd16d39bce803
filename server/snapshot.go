package server

import (
	"github.com/commy-project/commyfs/transport"
)

// pageBytes is about what a page of a long answer takes.
const pageBytes = 1 << 20

// Rough costs of the parts of a page beside names and values.
const (
	entryCost = 96
	eventCost = 96
)

// snapshot is a service at one revision, or what happened to it since another.
type snapshot struct {
	service uint64
	resumed bool
	values  bool
	rev     int64
	dirs    []*dirInfo
	vars    []*variable
	changes []pending
}

// next fills one page.
func (s *snapshot) next() (transport.Message, bool) {
	m := &transport.Snapshot{Service: s.service, Resumed: s.resumed, Rev: s.rev}
	size := 0
	for len(s.dirs) > 0 && size < pageBytes {
		d := s.dirs[0]
		s.dirs = s.dirs[1:]
		m.Dirs = append(m.Dirs, transport.DirInfo{ID: d.id, Name: d.name, MTime: d.mtime})
		size += len(d.name) + entryCost
	}
	for len(s.vars) > 0 {
		v := s.vars[0]
		cost := len(v.name) + len(v.writer) + entryCost
		if s.values {
			cost += len(v.data)
		}
		if size > 0 && size+cost > pageBytes {
			break
		}
		s.vars = s.vars[1:]
		m.Vars = append(m.Vars, v.info(s.values))
		size += cost
	}
	for len(s.changes) > 0 {
		e := s.changes[0].message(s.values)
		cost := eventSize(&e)
		if size > 0 && size+cost > pageBytes {
			break
		}
		s.changes = s.changes[1:]
		m.Changes = append(m.Changes, e)
		size += cost
	}
	m.More = len(s.dirs)+len(s.vars)+len(s.changes) > 0
	return m, m.More
}

func eventSize(e *transport.Event) int {
	size := len(e.Name) + len(e.OldName) + len(e.Writer) + len(e.Data) + eventCost
	for _, r := range e.Ranges {
		size += len(r.Data) + rangeCost
	}
	return size
}

// info is the variable as the protocol has it.
func (v *variable) info(value bool) transport.Variable {
	m := transport.Variable{
		ID: v.id, Name: v.name, Version: v.version, MTime: v.mtime, Writer: v.writer, Size: int64(len(v.data)), Slot: v.slot,
	}
	if value {
		m.Data = v.data
	}
	return m
}

// snapshotLocked is a loaded service as it is now. The caller holds view.mu.
func (v *view) snapshotLocked(svc *service, values bool) *snapshot {
	s := &snapshot{service: svc.id, values: values, rev: v.rev}
	svc.content.Load().root.walk(func(n node) bool {
		if n.d != nil {
			s.dirs = append(s.dirs, n.d.info)
		} else {
			s.vars = append(s.vars, n.v)
		}
		return true
	})
	return s
}

// resumeLocked is what happened to a service after rev, nil if that is not known any more. Values are the latest. The
// caller holds view.mu.
func (v *view) resumeLocked(svc *service, rev int64, values bool, client string) *snapshot {
	records, ok := svc.content.Load().log.after(rev)
	if !ok || rev > v.rev {
		return nil
	}
	s := &snapshot{service: svc.id, values: values, rev: v.rev, resumed: true}
	open := map[uint64]int{}
	unseen := map[uint64]bool{} // came and went
	for _, r := range records {
		ev := &event{service: svc, kind: r.kind, name: r.name, oldName: r.oldName, d: r.d}
		own := r.client != "" && r.client == client
		if r.d == nil {
			ev.v = v.byID[r.id]
			here := ev.v != nil && ev.v.service == svc
			if unseen[r.id] && !here {
				continue
			}
			switch {
			case r.kind == transport.EventDelete:
				delete(open, r.id)
				ev.v, ev.was = nil, &variable{id: r.id, version: r.version}
			case r.kind == transport.EventRename:
				delete(open, r.id)
				if !here {
					ev.v = &variable{id: r.id, version: r.version}
				}
			case !here:
				unseen[r.id] = unseen[r.id] || r.created
				continue
			default:
				if i, ok := open[r.id]; ok && !r.created {
					s.changes[i].own = s.changes[i].own && own
					continue
				}
				open[r.id] = len(s.changes)
			}
		} else if r.kind == transport.EventRenameDir {
			clear(open)
		}
		s.changes = append(s.changes, pending{ev: ev, created: r.created, own: own})
	}
	return s
}
