package fs

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"

	"github.com/commy-project/commyfs/fs/estate"
	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// missed is what has changed while nobody had the mount, by the number of the service.
type missed struct {
	events  map[uint64][]model.Event
	rev     map[uint64]int64 // up to which
	unknown map[uint64]bool  // services of which that cannot be told
}

// missedRev is the revision of what was missed: before any that was noted.
const missedRev = 1

var errNotResumed = errors.New("what has changed is not known any more")

// missing asks the server what has changed in the services in use since it was announced last, and what of that this mount has done
// itself: the kernel has raised the events. It asks in the client's name, and so before the client connects.
func (f *FS) missing(ctx context.Context, co varsync.Options) (*missed, error) {
	m := &missed{map[uint64][]model.Event{}, map[uint64]int64{}, map[uint64]bool{}}
	var services []*estate.Service
	for rec := range f.estate.Services() {
		services = append(services, rec)
	}
	if len(services) == 0 {
		return m, nil
	}
	conn, err := f.another(ctx, co, f.estate.Client())
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(services); i++ {
		rec := services[i]
		m.ask(ctx, f, conn, rec.ID(), rec.Rev())
		// The kernel has nodes of what has left a service, wherever that is: there it asks what has become of them since.
		for id := range m.leftTo(rec.ID()) {
			if slices.ContainsFunc(services, func(o *estate.Service) bool { return o.ID() == id }) {
				continue
			}
			if to := f.estate.AddService(id, rec.Rev()); to != nil {
				services = append(services, to)
			}
		}
	}
	return m, conn.Close()
}

// leftTo are the services to which something has gone from a service.
func (m *missed) leftTo(service uint64) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for i := range m.events[service] {
			if e := &m.events[service][i]; leaves(e) && !yield(e.Moved) {
				return
			}
		}
	}
}

// ask asks for what has changed in a service since a revision.
func (m *missed) ask(ctx context.Context, f *FS, conn varsync.Conn, service uint64, since int64) {
	err := errNotResumed
	if since > 0 {
		req := &model.Watch{Service: service, Store: f.estate.Store(), Since: since}
		err = conn.Watch(ctx, req, func(p *model.Snapshot) error {
			if !p.Resumed {
				return errNotResumed
			}
			m.events[service], m.rev[service] = append(m.events[service], p.Changes...), p.Rev
			return nil
		})
	}
	if err != nil {
		f.log.Info("it is not known what has changed in a service: all of it is taken for changed", "service", service, "err", err)
		m.unknown[service] = true
	}
}

// complete asks for what has changed since, up to where the copy is. All that comes later is announced in any case. It takes a
// connection of its own, which watches a service only once.
func (m *missed) complete(ctx context.Context, f *FS, co varsync.Options, services map[*varsync.Service]*estate.Service) {
	var conn varsync.Conn
	var list []*varsync.Service
	since := map[uint64]int64{}
	for s := range services {
		list, since[s.ID()] = append(list, s), m.rev[s.ID()]
	}
	for i := 0; i < len(list); i++ {
		s, id := list[i], list[i].ID()
		if m.unknown[id] || s.Revision() <= since[id] {
			continue
		}
		if conn == nil {
			var err error
			if conn, err = f.another(ctx, co, randomID()); err != nil {
				m.unknown[id] = true
				continue
			}
			defer conn.Close()
		}
		m.ask(ctx, f, conn, id, since[id])
		for to := range m.leftTo(id) {
			if _, known := since[to]; known {
				continue
			}
			since[to] = since[id]
			if s, rec := f.inheritAlso(ctx, to, since[id]); s != nil {
				list, services[s] = append(list, s), rec
			}
		}
	}
}

// inheritAlso loads one more service, to which something has gone of what the kernel has nodes of; nil: that is not possible.
func (f *FS) inheritAlso(ctx context.Context, id uint64, since int64) (*varsync.Service, *estate.Service) {
	s, ok := f.c.Node(id).(*varsync.Service)
	if !ok {
		return nil, nil
	}
	if _, err := s.Root(ctx); err != nil {
		return nil, nil
	}
	if rec := f.estate.AddService(id, since); rec != nil {
		return s, rec
	}
	return nil, nil
}

// another makes a connection beside the client's.
func (f *FS) another(ctx context.Context, co varsync.Options, id [16]byte) (varsync.Conn, error) {
	conn, err := co.Dial(ctx)
	if err != nil {
		return nil, err
	}
	who := co.Client
	who.ID = id[:]
	who.Mount = ""
	if _, err := conn.Hello(ctx, &who, nil); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// noticeOf makes of an event what the copy would have made of it.
func (f *FS) noticeOf(s *varsync.Service, root *varsync.Dir, e *model.Event) (in varsync.Notice, ok bool) {
	in = varsync.Notice{ID: e.ID, MTime: e.MTime, Own: e.Own, Service: s.ID(), Rev: missedRev}
	switch e.Kind {
	case model.EventSet:
		in.Kind = varsync.Modified
		if e.Created {
			in.Kind = varsync.Created
		}
		in.Variable, _ = f.c.Node(e.ID).(*varsync.Variable)
	case model.EventMkdir:
		in.Kind, in.Dir = varsync.Created, true
	case model.EventDelete, model.EventRmdir:
		in.Kind, in.Dir = varsync.Deleted, e.Kind == model.EventRmdir
	case model.EventRename, model.EventRenameDir:
		in.Kind, in.Dir = varsync.Renamed, e.Kind == model.EventRenameDir
		if in.OldParent, in.OldPath, ok = f.parentOf(s, root, e.OldName); !ok {
			in.Kind, in.OldPath = varsync.Created, nil
		}
	case model.EventMeta:
		in.Kind = varsync.MetaChanged
		_, variable := f.c.Node(e.ID).(*varsync.Variable)
		in.Dir = !variable
	default:
		return in, false
	}
	in.Parent, in.Path, ok = f.parentOf(s, root, e.Name)
	return in, ok
}

// parentOf returns the directory of a name inside a service, and the path of the name; false: the directory is gone.
func (f *FS) parentOf(s *varsync.Service, root *varsync.Dir, name string) (id uint64, path []string, ok bool) {
	parts := strings.Split(name, "/")
	d := root
	for _, part := range parts[:len(parts)-1] {
		if d, ok = d.Lookup(part).(*varsync.Dir); !ok {
			return 0, nil, false
		}
	}
	return d.ID(), append([]string{s.Tenant().Name(), s.Name()}, parts...), name != ""
}
