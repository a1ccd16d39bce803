package kernel

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/commy-project/commyfs/internal/names"
	varsync "github.com/commy-project/commyfs/sync"
)

// maxQueued is how many events wait one by one: twice as many as inotify keeps for a program that does not read.
const maxQueued = 32 << 10

// queue has the events that are to be raised, in order. The changes of a variable's value are merged while they wait (S17).
// Appearing, disappearing and moving are not, unless there are more than maxQueued: then what happened to a node since its
// last event becomes one event, or none. So there are never more than that, or two for each node there is or was at the time.
//
// A value that this mount has written waits in a list of its own: the kernel has raised its MODIFY and CLOSE_WRITE, and only
// MODIFY is raised again. A writer that goes on pays for one in a while then, and not for each.
type queue struct {
	list    []*event
	own     []*event          // of values written here: from the first on, those that are still in it
	values  map[uint64]*event // of a node: the event that the next change of its value is merged into
	leaving map[uint64]bool   // nodes whose removal is among the events, or being announced
	limit   int

	gathering gathering

	merged, dropped uint64 // see Stat
}

// event is what is to be raised for a notice.
type event struct {
	varsync.Notice
	ownValue bool      // every change of the value in it is ours: the kernel has raised CLOSE_WRITE
	deferred bool      // it is in queue.own or queue.gathering
	due      time.Time // in queue.gathering: until when
	memory   bool      // of a service's memory file, which the tree does not have: the path is as the mount shows it
	// with is what got the old name at the same moment, and had the new one: the two were exchanged.
	with *varsync.Notice
}

// at is its path in the mount.
func (e *event) at() string {
	if e.memory {
		return strings.Join(e.Path, "/")
	}
	return names.Path(e.Path)
}

// exchanged reports whether two notices, one right behind the other, say that two nodes got each other's name.
func exchanged(first, then *varsync.Notice) bool {
	return first.Kind == varsync.Renamed && then.Kind == varsync.Renamed && first.ID != then.ID &&
		first.Parent == then.OldParent && first.OldParent == then.Parent &&
		slices.Equal(first.Path, then.OldPath) && slices.Equal(first.OldPath, then.Path)
}

func newQueue() queue {
	return queue{values: map[uint64]*event{}, leaving: map[uint64]bool{}, limit: maxQueued}
}

// add has an event raised. What this mount changes the kernel raises itself, but the value of what is new.
func (q *queue) add(in varsync.Notice) { q.addWith(in, nil) }

// addWith is add of a renaming that is half of an exchange; with is the other half, or nil.
func (q *queue) addWith(in varsync.Notice, with *varsync.Notice) {
	e := &event{Notice: in, ownValue: in.Own, with: with}
	if with != nil {
		if waiting := q.values[with.ID]; waiting != nil && !in.Own {
			q.hurry(waiting)
		}
		delete(q.values, with.ID)
	}
	if in.Own && in.Kind != varsync.Modified {
		if in.Kind == varsync.Renamed {
			delete(q.values, e.ID) // what comes now is of the new name
		}
		if in.Kind != varsync.Created || in.Dir {
			return
		}
		e.Kind = varsync.Modified
	}
	q.addEvent(e)
}

func (q *queue) addEvent(e *event) {
	waiting := q.values[e.ID]
	if waiting != nil && e.Kind == varsync.Modified {
		q.merged++
		waiting.merge(e)
		switch {
		case waiting.ownValue || waiting.gathered():
		case waiting.deferred && q.gathering.delay > 0:
			q.gather(waiting)
		default:
			q.hurry(waiting)
		}
		return
	}
	if e.ownValue && e.Kind == varsync.Modified {
		e.deferred, q.values[e.ID] = true, e
		q.own = append(q.own, e)
		return
	}
	if waiting != nil {
		q.hurry(waiting) // before what comes now
	}
	if e.Kind == varsync.Modified && q.gathering.delay > 0 {
		q.gather(e)
		return
	}
	q.list = append(q.list, e)
	switch e.Kind {
	case varsync.MetaChanged:
	case varsync.Modified:
		q.values[e.ID] = e
	case varsync.Created:
		if !e.Dir {
			q.values[e.ID] = e // it raises the events of its first value too
		}
	default:
		delete(q.values, e.ID)
	}
	if e.Kind == varsync.Deleted {
		q.leaving[e.ID] = true
	}
	if len(q.list) > q.limit {
		q.compact()
		q.limit = max(maxQueued, 2*len(q.list))
	}
}

// merge adds a later change of the value.
func (e *event) merge(later *event) {
	e.MTime = later.MTime
	e.ownValue = e.ownValue && later.ownValue
}

// hurry has an event wait with those of changes made elsewhere.
func (q *queue) hurry(e *event) {
	if e.deferred {
		e.deferred = false
		q.list = append(q.list, e)
		if e.gathered() {
			e.due = time.Time{}
			q.gathering.left()
		}
	}
}

// nextOwn takes the first events of values written here, some at most.
func (q *queue) nextOwn(most int) (events []*event) {
	for len(q.own) > 0 && len(events) < most {
		e := q.own[0]
		q.own[0], q.own = nil, q.own[1:]
		if !e.deferred || e.gathered() {
			continue
		}
		events = append(events, e)
		if q.values[e.ID] == e {
			delete(q.values, e.ID)
		}
	}
	if len(q.own) == 0 {
		q.own = nil
	}
	return events
}

// next takes the first event, nil if there is none but of values written here.
func (q *queue) next() *event {
	if len(q.list) == 0 {
		q.list, q.limit = nil, maxQueued
		return nil
	}
	e := q.list[0]
	q.list[0] = nil
	q.list = q.list[1:]
	if q.values[e.ID] == e {
		delete(q.values, e.ID)
	}
	return e
}

// compact leaves at most one event of a node's name and one of its value, each where the last of them was.
func (q *queue) compact() {
	type part struct {
		id   uint64
		kind varsync.NoticeKind
	}
	last := map[part]*event{}
	q.list = apart(q.list)
	for _, e := range q.list {
		k := part{e.ID, e.Kind}
		if e.Kind == varsync.Created || e.Kind == varsync.Deleted {
			k.kind = varsync.Renamed // what becomes of the name
		}
		switch before := last[k]; {
		case before == nil:
			last[k] = e
		case k.kind != varsync.Renamed:
			e.ownValue = e.ownValue && before.ownValue
			last[k] = e
		default:
			if last[k] = joined(before, e); last[k] == nil {
				delete(last, k)
			}
		}
		if e.Kind == varsync.Deleted {
			delete(last, part{e.ID, varsync.Modified})
			delete(last, part{e.ID, varsync.MetaChanged})
		}
	}
	kept := map[*event]bool{}
	for e := range maps.Values(last) {
		kept[e] = true
	}
	q.values, q.leaving = map[uint64]*event{}, map[uint64]bool{}
	before := len(q.list)
	q.list = slices.DeleteFunc(q.list, func(e *event) bool { return !kept[e] })
	q.dropped += uint64(before - len(q.list))
	q.list = together(q.list)
	for _, e := range q.list {
		switch {
		case e.Kind == varsync.Deleted:
			q.leaving[e.ID] = true
		case e.Kind == varsync.Modified, e.Kind == varsync.Created && !e.Dir:
			q.values[e.ID] = e
		}
	}
	for _, e := range slices.Concat(q.own, q.gathering.list) {
		if e.deferred && q.values[e.ID] == nil && !q.leaving[e.ID] {
			q.values[e.ID] = e
		}
	}
}

// apart makes two events of each exchange.
func apart(list []*event) []*event {
	if !slices.ContainsFunc(list, func(e *event) bool { return e.with != nil }) {
		return list
	}
	var out []*event
	for _, e := range list {
		out = append(out, e)
		if e.with != nil {
			out = append(out, &event{Notice: *e.with})
			e.with = nil
		}
	}
	return out
}

// together makes one event of two that are an exchange.
func together(list []*event) []*event {
	var out []*event
	for i := 0; i < len(list); i++ {
		e := list[i]
		if i+1 < len(list) && exchanged(&e.Notice, &list[i+1].Notice) {
			i++
			e.with = &list[i].Notice
		}
		out = append(out, e)
	}
	return out
}

// joined is one event for what has happened to a node's name twice, nil if it is what it was. It is the later of them, changed.
func joined(first, then *event) *event {
	switch {
	case first.Kind == varsync.Created && then.Kind == varsync.Deleted:
		return nil
	case first.Kind == varsync.Created && then.Kind == varsync.Renamed:
		then.Kind, then.OldParent, then.OldPath = varsync.Created, 0, nil
		then.MTime = max(first.MTime, then.MTime)
	case first.Kind == varsync.Renamed && then.Kind == varsync.Deleted:
		then.Parent, then.Path, then.OldService, then.OldRev = first.OldParent, first.OldPath, first.OldService, first.OldRev
	case first.Kind == varsync.Renamed && then.Kind == varsync.Renamed:
		if first.OldParent == then.Parent && slices.Equal(first.OldPath, then.Path) {
			return nil
		}
		then.OldParent, then.OldPath, then.OldService, then.OldRev = first.OldParent, first.OldPath, first.OldService, first.OldRev
	case first.Kind == varsync.Deleted && then.Kind == varsync.Created: // it was out of sight
		then.Kind, then.OldParent, then.OldPath, then.OldService, then.OldRev = varsync.Renamed, first.Parent, first.Path, first.Service, first.Rev
	}
	return then
}
