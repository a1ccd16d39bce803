package core

import (
	"github.com/commy-project/commyfs/model"
)

// PageBytes is about what a page of a long answer takes.
const PageBytes = 256 << 10

// Rough costs of the parts of a page beside names and values.
const (
	entryCost = 96
	eventCost = 96
)

// snapshot is a service at one revision, or what happened to it since another.
type snapshot struct {
	service uint64
	root    meta
	resumed bool
	values  bool
	rev     int64
	nodes   *walk  // nil: no more
	held    entry  // of nodes, what did not fit
	at      string // where that is, and its version
	version uint64
	changes []pending
}

// tell hands over one page.
func (s *snapshot) tell(to Receiver, request uint64) (more bool) {
	page := s.next()
	to.Snapshot(request, page)
	return page.More
}

// next fills one page.
func (s *snapshot) next() *model.Snapshot {
	m := &model.Snapshot{Service: s.service, Resumed: s.resumed, Rev: s.rev}
	m.Root = model.Dir{ID: s.service, MTime: s.root.mtime, Mode: s.root.mode}
	size := s.fill(m)
	for len(s.changes) > 0 {
		e := s.changes[0].message(s.values)
		cost := eventSize(&e)
		if size > 0 && size+cost > PageBytes {
			break
		}
		s.changes = s.changes[1:]
		m.Changes = append(m.Changes, e)
		size += cost
	}
	m.More = s.nodes != nil || len(s.changes) > 0
	return m
}

// fill puts directories and variables into a page.
func (s *snapshot) fill(m *model.Snapshot) (size int) {
	for s.nodes != nil {
		it, path, version := s.held, s.at, s.version
		if s.held = (entry{}); it.none() {
			var ok bool
			if it, path, ok = s.nodes.next(); !ok {
				s.nodes = nil
				break
			}
			if it.v != nil {
				version = s.nodes.version(it.v)
			}
		}
		cost := len(path) + entryCost
		if it.v != nil {
			cost += len(it.v.writtenBy())
			if s.values {
				cost += len(it.v.data())
			}
		}
		if size > 0 && size+cost > PageBytes {
			s.held, s.at, s.version = it, path, version
			break
		}
		if size += cost; it.v != nil {
			m.Vars = append(m.Vars, it.v.info(path, version, s.values))
		} else {
			d := it.d
			m.Dirs = append(m.Dirs, model.Dir{ID: d.id, Name: path, MTime: d.mtime, Mode: d.mode})
		}
	}
	return size
}

func eventSize(e *model.Event) int {
	size := len(e.Name) + len(e.OldName) + len(e.Writer) + len(e.Data) + eventCost
	for _, r := range e.Ranges {
		size += len(r.Data) + rangeCost
	}
	return size
}

// info is the variable at that path, and with that version, as the protocol has it.
func (v *variable) info(path string, version uint64, value bool) model.Variable {
	m := model.Variable{
		ID: v.id, Name: path, Version: version, MTime: v.mtime, Mode: v.mode, Writer: v.writtenBy(), Size: int64(len(v.data())),
		Slot: v.slot,
	}
	if value {
		m.Data = v.data()
	}
	return m
}

// snapshotLocked is a loaded service as it is now. The caller holds view.mu.
func (v *view) snapshotLocked(svc *service, values bool) *snapshot {
	return &snapshot{service: svc.id, root: svc.meta, values: values, rev: v.rev, nodes: svc.content.Load().nodes.freeze().walk(0, "", 0, true)}
}

// resumeLocked is what happened to a service after rev, nil if that is not known any more. Values are the latest. The
// caller holds view.mu.
func (v *view) resumeLocked(svc *service, rev int64, values bool, client string) *snapshot {
	records, ok := svc.content.Load().log.after(rev)
	if !ok || rev > v.rev {
		return nil
	}
	s := &snapshot{service: svc.id, root: svc.meta, values: values, rev: v.rev, resumed: true}
	open := map[uint64]int{}
	unseen := map[uint64]bool{} // came and went
	// Variables are sent as they are now. One with a new value cannot be told to have another mode alone.
	stored := map[uint64]bool{}
	for _, r := range records {
		if r.kind == model.EventSet {
			stored[r.id] = true
		}
	}
	for _, r := range records {
		ev := &event{service: svc, kind: r.kind, name: r.name, oldName: r.oldName, other: r.other, above: r.above, moved: r.moved, d: r.d}
		own := r.client != "" && r.client == client
		if r.d == nil {
			ev.v = v.byID.get(r.id)
			here := ev.v != nil && ev.v.dir.service == svc
			if here {
				now := *ev.v
				now.version = now.dir.version(now.version)
				ev.v = &now
			}
			if unseen[r.id] && !here {
				continue
			}
			switch {
			case r.kind == model.EventDelete:
				delete(open, r.id)
				ev.v, ev.was = nil, &variable{id: r.id, version: r.version}
			case r.kind == model.EventRename:
				delete(open, r.id)
				if !here {
					ev.v = &variable{id: r.id, version: r.version}
				}
			case !here:
				unseen[r.id] = unseen[r.id] || r.created
				continue
			default:
				if stored[r.id] {
					ev.kind = model.EventSet
				}
				if i, ok := open[r.id]; ok && !r.created {
					s.changes[i].own = s.changes[i].own && own
					continue
				}
				open[r.id] = len(s.changes)
			}
		} else if r.kind == model.EventRenameDir {
			clear(open)
		}
		s.changes = append(s.changes, pending{ev: ev, created: r.created, time: r.time, own: own})
	}
	return s
}
