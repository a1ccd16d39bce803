package watch

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/commy-project/commyfs/model"
)

// since reports what has changed since the token, after which the watch goes on. The service is loaded first, so that the
// queue has all later notices; those of revisions that since reports are skipped.
func (w *watcher) since(ctx context.Context) error {
	if w.o.Only == nil {
		return fmt.Errorf("%w: only a watch of one service can resume", model.ErrInvalid)
	}
	n, err := w.o.Only.Follow(ctx)
	if errors.Is(err, model.ErrNotFound) {
		return ErrExpired // the service of the token is gone
	}
	if err != nil {
		return err
	}
	w.hold(n)
	changes, rev, err := w.h.changesSince(ctx, n.ID(), w.o.Since)
	if err != nil {
		return err
	}
	w.state[n.ID()], w.told[n.ID()], w.token = loadDone, rev, Token{w.o.Since.Store, rev}
	for i := range changes {
		ev, ok := w.changed(&changes[i])
		if !ok {
			continue
		}
		if ev.Token = w.o.Since; i == len(changes)-1 {
			ev.Token = w.token
		}
		if err := w.emit(ctx, &ev); err != nil {
			return err
		}
	}
	return nil
}

// changed turns an event of the model into one of the watch; false: it is not watched.
func (w *watcher) changed(e *model.Event) (Event, bool) {
	ev := Event{Entry: model.Entry{Tenant: w.o.Only.Tenant, Service: w.o.Only.Name, Name: e.Name, ID: e.ID, Version: e.Version, MTime: e.MTime,
		Writer: e.Writer, Size: e.Size, Mode: e.Mode, Dir: e.Version == 0}}
	switch e.Kind {
	case model.EventSet:
		ev.Kind, ev.Value = Modified, e.Data
		if e.Created {
			ev.Kind = Created
		}
		if ev.Value == nil {
			ev.Value = []byte{}
		}
		w.ahead[e.ID] = e.Version
	case model.EventMkdir:
		ev.Kind = Created
	case model.EventDelete, model.EventRmdir:
		ev.Kind = Deleted
	case model.EventRename, model.EventRenameDir:
		old := Event{Entry: model.Entry{Tenant: ev.Tenant, Service: ev.Service, Name: e.OldName}}
		ev.Kind, ev.Old = Renamed, old.Path()
	case model.EventMeta:
		ev.Kind = Meta
	}
	return ev, w.wants(ev.Kind, ev.Dir, ev.Path(), ev.Old)
}

// changesSince asks for the changes of a service since a token, and for the revision of the last. It needs its own
// connection, because a connection watches a service only once.
func (h *Hub) changesSince(ctx context.Context, service uint64, t Token) (changes []model.Event, rev int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, h.o.Timeout)
	defer cancel()
	conn, err := h.o.Dial(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer conn.Close()
	who := h.o.Client()
	who.ID = make([]byte, 16)
	_, _ = rand.Read(who.ID) // does not fail
	welcome, err := conn.Hello(ctx, &who, nil)
	if err != nil {
		return nil, 0, err
	}
	if welcome.Store != t.Store {
		return nil, 0, ErrExpired
	}
	err = conn.Watch(ctx, &model.Watch{Service: service, Store: t.Store, Since: t.Rev, Values: true}, func(p *model.Snapshot) error {
		if !p.Resumed {
			return ErrExpired
		}
		changes, rev = append(changes, p.Changes...), p.Rev
		return nil
	})
	return changes, rev, err
}

// Since returns what a watch that resumes after a token would report first, of at most a number of bytes of values. It is
// [ErrExpired] also if it is more. Asked.Only.Follow returns the service.
func (h *Hub) Since(ctx context.Context, a Asked, most int) (events []Event, err error) {
	w := newWatcher(h, a)
	n, err := a.Only.Follow(ctx)
	if err != nil {
		return nil, err
	}
	changes, rev, err := h.changesSince(ctx, n.ID(), a.Since)
	if err != nil {
		return nil, err
	}
	for i := range changes {
		ev, ok := w.changed(&changes[i])
		if !ok {
			continue
		}
		if most -= len(ev.Value); most < 0 {
			return nil, ErrExpired
		}
		if ev.Token = a.Since; i == len(changes)-1 {
			ev.Token = Token{a.Since.Store, rev}
		}
		events = append(events, ev)
	}
	return events, nil
}
