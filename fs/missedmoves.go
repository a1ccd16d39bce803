package fs

import (
	"context"
	"slices"
	"strings"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/fs/estate"
	"github.com/commy-project/commyfs/internal/names"
	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// What goes from one service to another has an event in each, and those of different services come in no order. The kernel is to
// be told of one rename, behind what came before it in either service.

// leaves reports whether an event is of what goes to another service, comes, of what comes from one.
func leaves(e *model.Event) bool {
	return e.Moved != 0 && (e.Kind == model.EventDelete || e.Kind == model.EventRmdir)
}

func comes(e *model.Event) bool {
	return e.Moved != 0 && (e.Kind == model.EventSet && e.Created || e.Kind == model.EventMkdir)
}

// missedIn is what has changed in one service.
type missedIn struct {
	s      *varsync.Service
	root   *varsync.Dir
	events []model.Event
	told   []bool // of events: there is a notice of it, or none is needed
	at     int    // the next event
}

// find returns the first event of an id that is not told, -1 if there is none.
func (in *missedIn) find(is func(*model.Event) bool, id, other uint64) int {
	for i := range in.events {
		if e := &in.events[i]; !in.told[i] && e.ID == id && e.Moved == other && is(e) {
			return i
		}
	}
	return -1
}

// missedWalk makes notices of events.
type missedWalk struct {
	f    *FS
	of   map[uint64]*missedIn
	came map[uint64]bool // directories that are told of, or are in one
	list []varsync.Notice
}

// notices are what the events mean to the kernel.
func (m *missed) notices(ctx context.Context, f *FS, services map[*varsync.Service]*estate.Service) []varsync.Notice {
	w := &missedWalk{f: f, of: map[uint64]*missedIn{}, came: map[uint64]bool{}}
	for s := range services {
		if root, err := s.Root(ctx); err == nil {
			events := m.events[s.ID()]
			w.of[s.ID()] = &missedIn{s: s, root: root, events: events, told: make([]bool, len(events))}
		}
	}
	for _, in := range w.of {
		w.until(in, len(in.events))
	}
	return w.list
}

// until tells of the events before one.
func (w *missedWalk) until(in *missedIn, end int) {
	for in.at < end {
		i := in.at
		in.at++
		e := &in.events[i]
		switch {
		case in.told[i]:
		case leaves(e):
			w.left(in, i)
		case comes(e):
			w.arrived(in, i)
		default:
			if n, ok := w.f.noticeOf(in.s, in.root, e); ok {
				w.list = append(w.list, n)
			}
		}
	}
}

// arrived tells of what has come from another service.
func (w *missedWalk) arrived(in *missedIn, i int) {
	e := &in.events[i]
	if from := w.of[e.Moved]; from != nil {
		if k := from.find(leaves, e.ID, in.s.ID()); k >= 0 {
			w.until(from, k)
			if !from.told[k] {
				w.left(from, k)
			}
		}
	}
	if in.told[i] {
		return
	}
	in.told[i] = true
	n, ok := w.f.noticeOf(in.s, in.root, e)
	if ok && !w.came[n.Parent] {
		w.list = append(w.list, n) // nobody knows where it was
	}
	if n.Dir {
		w.came[e.ID] = true
	}
}

// left tells of what has gone to another service.
func (w *missedWalk) left(in *missedIn, i int) {
	e := &in.events[i]
	to, j := w.of[e.Moved], -1
	if to != nil {
		if j = to.find(comes, e.ID, in.s.ID()); j >= 0 {
			w.until(to, j)
			if in.told[i] { // what it was exchanged with came first
				return
			}
		}
	}
	w.tell(in, i, to, j)
	if e.Other == 0 || to == nil {
		return
	}
	if k := to.find(leaves, e.Other, in.s.ID()); k >= 0 { // the two come one right behind the other
		w.tell(to, k, in, in.find(comes, e.Other, to.s.ID()))
	}
}

// tell tells of an event of what has gone and, unless it is -1, the one of its coming. Otherwise it is where it is now.
func (w *missedWalk) tell(in *missedIn, i int, to *missedIn, j int) {
	e := &in.events[i]
	in.told[i] = true
	n, ok := w.f.noticeOf(in.s, in.root, e)
	var now varsync.Notice
	there := false
	if j >= 0 {
		to.told[j] = true
		now, there = w.f.noticeOf(to.s, to.root, &to.events[j])
	}
	if !there {
		now, there = w.f.whereIs(e.ID)
	}
	if !there {
		if ok {
			n.Elsewhere = true
			w.list = append(w.list, n)
		}
		return
	}
	w.came[e.ID] = n.Dir
	now.Own, now.Dir, now.Variable = e.Own, e.Kind == model.EventRmdir, nil
	if ok && slices.Equal(n.Path, now.Path) {
		return // it has come back
	}
	if ok {
		now.Kind, now.OldParent, now.OldPath, now.OldService = varsync.Renamed, n.Parent, n.Path, in.s.ID()
		now.Rev, now.OldRev = missedRev, missedRev
	} else {
		now.Kind = varsync.Created
	}
	w.list = append(w.list, now)
}

// notAnnounced leaves out the renames that the process before has announced, and could not note in time: the kernel has the nodes where
// they lead to. unknown: others can have moved without being in the list.
func (f *FS) notAnnounced(list []varsync.Notice, unknown bool) []varsync.Notice {
	until := map[uint64]int{} // by nodes: up to which notice
	for i := range list {
		n := &list[i]
		if n.Kind == varsync.Renamed && f.estate.HasMoved(n.ID, dirOf(n), names.File(n.Path)) {
			until[n.ID] = i
			for _, k := range []int{i - 1, i + 1} { // what it was exchanged with has moved with it
				if k >= 0 && k < len(list) && list[k].Kind == varsync.Renamed && slices.Equal(list[k].Path, n.OldPath) && slices.Equal(list[k].OldPath, n.Path) {
					until[list[k].ID] = max(until[list[k].ID], k)
				}
			}
		}
	}
	if unknown {
		f.estate.AllMovedOn()
		for id, last := range until {
			f.estate.Moved(id, dirOf(&list[last]), names.File(list[last].Path))
		}
	}
	if len(until) == 0 {
		return list
	}
	out := list[:0:0]
	for i := range list {
		if last, ok := until[list[i].ID]; !ok || i > last || list[i].Kind != varsync.Renamed {
			out = append(out, list[i])
		}
	}
	return out
}

// dirOf is the number of the directory that a notice says something is in.
func dirOf(n *varsync.Notice) uint64 {
	if n.Parent == 0 {
		return fuse.FUSE_ROOT_ID
	}
	return n.Parent
}

// whereIs describes where a node of a service is now; false: it is gone.
func (f *FS) whereIs(id uint64) (in varsync.Notice, there bool) {
	in.ID = id
	name := ""
	switch n := f.c.Node(id).(type) {
	case *varsync.Variable:
		if n.Gone() {
			return in, false
		}
		in.Parent, in.MTime, name = n.Parent().ID(), n.Current().MTime, n.Name()
	case *varsync.Dir:
		if n.Gone() || n.Parent() == nil {
			return in, false
		}
		in.Parent, in.MTime, name = n.Parent().ID(), n.MTime(), n.Name()
	default:
		return in, false
	}
	s := serviceOf(f.c.Node(id))
	if s == nil {
		return in, false
	}
	in.Service = s.ID()
	in.Path = append([]string{s.Tenant().Name(), s.Name()}, strings.Split(name, "/")...)
	return in, true
}
