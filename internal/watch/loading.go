package watch

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// loadState says how far a watched service is.
type loadState uint8

const (
	loadUnderWay loadState = iota + 1
	loadDone               // or denied: as far as it can be
)

// follow starts to load watched services that are not loaded yet.
func (w *watcher) follow(ctx context.Context) {
	for _, t := range w.h.sync.Tenants() {
		for _, s := range t.Services() {
			if w.state[s.ID()] == 0 && w.mayHold(t.Name(), s.Name()) {
				w.load(ctx, s, 0)
				if !w.synced {
					w.first[s.ID()] = true
				}
			}
		}
	}
}

// mayHold reports whether a service can contain something watched.
func (w *watcher) mayHold(tenant, service string) bool {
	at := []string{tenant, service}
	return slices.ContainsFunc(w.o.Paths, func(t []string) bool { return isAbove(t[:min(len(t), 2)], at) })
}

func (w *watcher) load(ctx context.Context, s *varsync.Service, wait time.Duration) {
	w.state[s.ID()] = loadUnderWay
	w.hold(s)
	w.loading.Go(func() {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		w.slots <- struct{}{}
		_, err := s.Root(ctx)
		<-w.slots
		w.queue.add(pending{loaded: s, loadErr: err})
	})
}

const reloadWait = 200 * time.Millisecond

// loaded handles the end of loading a service.
func (w *watcher) loaded(ctx context.Context, s *varsync.Service, err error) error {
	first := w.first[s.ID()]
	delete(w.first, s.ID())
	switch {
	case err == nil:
		w.state[s.ID()] = loadDone
		return w.report(ctx, s, first)
	case errors.Is(err, model.ErrNotFound): // gone again
		delete(w.state, s.ID())
		w.release(s.ID())
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case first && (w.o.Only != nil || errors.Is(err, model.ErrDisconnected)):
		return err
	}
	says := "cannot watch a service"
	w.state[s.ID()] = loadDone
	if errors.Is(err, model.ErrDenied) {
		w.release(s.ID())
	} else {
		says = "cannot watch a service yet"
		w.load(ctx, s, reloadWait)
	}
	w.h.o.Logger.Warn(says, "service", s.Tenant().Name()+"/"+s.Name(), "err", err)
	return nil
}

// report reports the watched contents of a service.
func (w *watcher) report(ctx context.Context, s *varsync.Service, first bool) error {
	at := []string{s.Tenant().Name(), s.Name()}
	items, rev := s.Contents(func(name string) (take, enter bool) {
		path := append(at[:2:2], strings.Split(name, "/")...)
		for _, t := range w.o.Paths {
			take = take || isAbove(t, path)
			enter = enter || take || isAbove(path, t)
		}
		return take, enter
	})
	w.told[s.ID()] = rev
	if w.o.Only != nil {
		w.token = Token{w.h.sync.Welcome().Store, rev}
	}
	if first && (w.o.UpdatesOnly || w.o.Since != (Token{})) {
		return nil
	}
	slices.SortFunc(items, func(a, b varsync.Item) int { return cmp.Compare(a.Name, b.Name) })
	for i := range items {
		ev := Event{Kind: Created, Entry: items[i].Entry}
		if first {
			ev.Kind = Initial
		}
		if v := items[i].Variable; v != nil {
			if w.fill(&ev, v); ev.Value == nil {
				continue // deleted meanwhile
			}
		}
		if err := w.emit(ctx, &ev); err != nil {
			return err
		}
	}
	return nil
}

// hold keeps a service loaded until release.
func (w *watcher) hold(s *varsync.Service) {
	if w.held[s.ID()] == nil {
		s.Hold()
		w.h.held.Add(1)
		w.held[s.ID()] = s
	}
}

func (w *watcher) release(id uint64) {
	if s := w.held[id]; s != nil {
		delete(w.held, id)
		s.Release()
		w.h.held.Add(-1)
	}
}
