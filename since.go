package commyfs

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
	if w.only == nil {
		return fmt.Errorf("%w: only a watch of one service can resume", ErrInvalid)
	}
	n, err := w.only.follow(ctx)
	if errors.Is(err, ErrNotFound) {
		return ErrTokenExpired // the service of the token is gone
	}
	if err != nil {
		return err
	}
	w.hold(n)
	changes, rev, err := w.c.changesSince(ctx, n.ID(), w.o.Since)
	if err != nil {
		return err
	}
	w.state[n.ID()], w.told[n.ID()], w.token = loadDone, rev, Token{w.o.Since.store, rev}
	for i := range changes {
		ev, ok := w.changed(&changes[i])
		if !ok {
			continue
		}
		if ev.Token = w.o.Since; i == len(changes)-1 {
			ev.Token = w.token
		}
		if err := w.emit(ctx, ev); err != nil {
			return err
		}
	}
	return nil
}

// changed turns an event of the model into one of the watch; false: it is not watched.
func (w *watcher) changed(e *model.Event) (Event, bool) {
	ev := Event{Entry: Entry{Info: Info{ID: e.ID, Version: e.Version, Time: timeOf(e.MTime), Writer: e.Writer,
		Size: e.Size, Mode: e.Mode, Dir: e.Version == 0}}}
	ev.setPath(w.only.path(e.Name))
	switch e.Kind {
	case model.EventSet:
		ev.Kind, ev.Value = EventModified, e.Data
		if e.Created {
			ev.Kind = EventCreated
		}
		if ev.Value == nil {
			ev.Value = []byte{}
		}
		w.ahead[e.ID] = e.Version
	case model.EventMkdir:
		ev.Kind = EventCreated
	case model.EventDelete, model.EventRmdir:
		ev.Kind = EventDeleted
	case model.EventRename, model.EventRenameDir:
		ev.Kind, ev.Old = EventRenamed, w.only.path(e.OldName)
	case model.EventMeta:
		ev.Kind = EventMeta
	}
	return ev, w.wants(ev.Kind, ev.Dir, ev.Path().Components(), ev.Old.Components())
}

// changesSince asks for the changes of a service since a token, and for the revision of the last. It needs its own
// connection, because a connection watches a service only once.
func (c *Client) changesSince(ctx context.Context, service uint64, t Token) (changes []model.Event, rev int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer conn.Close()
	who := c.opts.client()
	who.ID = make([]byte, 16)
	_, _ = rand.Read(who.ID) // does not fail
	welcome, err := conn.Hello(ctx, &who, nil)
	if err != nil {
		return nil, 0, err
	}
	if welcome.Store != t.store {
		return nil, 0, ErrTokenExpired
	}
	err = conn.Watch(ctx, &model.Watch{Service: service, Store: t.store, Since: t.rev, Values: true}, func(p *model.Snapshot) error {
		if !p.Resumed {
			return ErrTokenExpired
		}
		changes, rev = append(changes, p.Changes...), p.Rev
		return nil
	})
	return changes, rev, err
}
