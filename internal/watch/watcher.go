package watch

import (
	"bytes"
	"context"
	"slices"
	"sync"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// watcher turns notices of package sync into events. Notices are added to a queue, from which the loop over the watch takes
// them. Once a service is loaded, the watch reports its contents, and after that notices of later revisions.
type watcher struct {
	h     *Hub
	o     Asked
	queue *queue

	// Only the loop uses the rest.
	yield   func(*Event) bool
	state   map[uint64]loadState // of services, by id
	first   map[uint64]bool      // services to report before Synced
	synced  bool
	held    map[uint64]*varsync.Service // services that stay loaded
	told    map[uint64]int64            // the revision up to which they were reported
	ahead   map[uint64]uint64           // versions of variables that were reported before their notices came
	loading sync.WaitGroup
	slots   chan struct{} // limits how many services are loaded at once
	token   Token         // of Synced
}

func newWatcher(h *Hub, a Asked) *watcher {
	return &watcher{h: h, o: a, queue: newQueue(), state: map[uint64]loadState{}, first: map[uint64]bool{},
		held: map[uint64]*varsync.Service{}, told: map[uint64]int64{}, ahead: map[uint64]uint64{}, slots: make(chan struct{}, 32)}
}

// onChange is called on the goroutine that receives, and must not block.
func (w *watcher) onChange(notices []varsync.Notice) {
	if len(notices) == 0 {
		return
	}
	store := w.h.sync.Welcome().Store
	w.queue.addAll(len(notices), func(i int, p *pending) bool {
		n := &notices[i]
		if n.Service != 0 && !w.wants(kinds[n.Kind], n.Dir, n.Path, n.OldPath) {
			return false
		}
		w.h.takeDown(p, n, store)
		return true
	})
}

// wants reports whether an event is about something watched: at or below a target, or a directory above one that is deleted
// or renamed.
func (w *watcher) wants(kind Kind, dir bool, path, old []string) bool {
	return slices.ContainsFunc(w.o.Paths, func(t []string) bool {
		switch {
		case isAbove(t, path), kind == Renamed && isAbove(t, old):
			return true
		case !dir:
			return false
		}
		return kind == Deleted && isAbove(path, t) || kind == Renamed && (isAbove(path, t) || isAbove(old, t))
	})
}

// fail ends the watch.
func (w *watcher) fail(err error) { w.queue.add(pending{failed: err}) }

func (w *watcher) run(ctx context.Context, yield func(*Event) bool) error {
	w.yield = yield
	if !w.h.register(w) {
		return ErrClosed
	}
	defer w.h.unregister(w)
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		w.loading.Wait()
		for id := range w.held {
			w.release(id)
		}
	}()
	if err := w.h.sync.WatchTree(ctx); err != nil {
		return err
	}
	if w.o.Since != (Token{}) {
		if err := w.since(ctx); err != nil {
			return err
		}
	}
	w.follow(ctx)
	for {
		if !w.synced && len(w.first) == 0 {
			w.synced = true
			if err := w.emit(ctx, &Event{Kind: Synced, Token: w.token}); err != nil {
				return err
			}
		}
		list := w.queue.take()
		for i := range list {
			if err := w.take(ctx, &list[i]); err != nil {
				return err
			}
		}
		if len(list) > 0 {
			w.queue.again(list)
			continue
		}
		select {
		case <-w.queue.wake:
		case <-ctx.Done():
			return ctx.Err()
		case <-w.h.done:
			return ErrClosed
		}
	}
}

// take handles one element of the queue.
func (w *watcher) take(ctx context.Context, p *pending) error {
	switch {
	case p.failed != nil:
		return p.failed
	case p.loaded != nil:
		return w.loaded(ctx, p.loaded, p.loadErr)
	}
	n := &p.Notice
	if n.Service == 0 {
		if n.Kind == varsync.Deleted {
			delete(w.state, n.ID)
			delete(w.first, n.ID)
			delete(w.told, n.ID)
			w.release(n.ID)
		}
		w.follow(ctx)
		if !w.wants(kinds[n.Kind], n.Dir, n.Path, n.OldPath) {
			return nil
		}
	} else if !w.news(p) {
		return nil // the contents of the service, reported when it is loaded, include it
	}
	if ev, ok := w.event(p); ok {
		return w.emit(ctx, &ev)
	}
	return nil
}

// news reports whether a notice tells more than the contents that were reported, or are going to be. What has come from another
// service to where it is, or will be, among these is gone from the other one.
func (w *watcher) news(p *pending) bool {
	n := &p.Notice
	isNew := func(service uint64, rev int64) bool {
		told, ok := w.told[service]
		return ok && rev > told
	}
	switch here := isNew(n.Service, n.Rev); {
	case here || !movedAcross(n):
		return here
	case !isNew(n.OldService, n.OldRev):
		return false
	}
	p.token = p.oldToken
	if w.state[n.Service] != 0 && slices.ContainsFunc(w.o.Paths, func(t []string) bool { return isAbove(t, n.Path) }) {
		n.Kind, n.Path, n.OldPath = varsync.Deleted, n.OldPath, nil
		p.entry = model.Entry{ID: n.ID, Dir: n.Dir, MTime: n.MTime}
		return w.wants(Deleted, n.Dir, n.Path, nil)
	}
	return true
}

// emit gives an event to the loop, unless the watch has ended: there can always be more to report.
func (w *watcher) emit(ctx context.Context, ev *Event) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-w.h.done:
		return ErrClosed
	default:
	}
	if !w.yield(ev) {
		return errStop
	}
	return nil
}

// event turns a notice into an event; false: it has been reported already.
func (w *watcher) event(p *pending) (Event, bool) {
	n := &p.Notice
	ev := Event{Kind: kinds[n.Kind], Own: n.Own, Token: p.token, Entry: p.entry, Value: p.value}
	ev.setPath(n.Path)
	ev.Dir = n.Dir
	if n.Kind == varsync.Renamed {
		ev.Old = n.OldPath
	}
	if n.Dir || n.Kind == varsync.Deleted {
		delete(w.ahead, n.ID)
		return ev, true
	}
	if ev.Version != 0 && w.ahead[n.ID] >= ev.Version {
		if w.ahead[n.ID] == ev.Version {
			delete(w.ahead, n.ID)
		}
		if n.Kind == varsync.Modified || n.Kind == varsync.Created {
			return Event{}, false
		}
	}
	if p.variable != nil && n.Kind != varsync.MetaChanged {
		was, ahead := w.ahead[n.ID]
		w.fill(&ev, p.variable)
		switch { // who follows names need not look at the value, and is told of it by its own event
		case n.Kind == varsync.Renamed && ahead:
			w.ahead[n.ID] = was
		case n.Kind == varsync.Renamed:
			delete(w.ahead, n.ID)
		}
	} else {
		ev.Value = bytes.Clone(ev.Value)
	}
	return ev, true
}

// fill adds the current value of a variable.
func (w *watcher) fill(ev *Event, v *varsync.Variable) {
	now, value, err := load(v)
	if err != nil {
		return // deleted meanwhile
	}
	if now.Version > ev.Version {
		w.ahead[ev.ID] = now.Version
	}
	now.Tenant, now.Service, now.Name = ev.Tenant, ev.Service, ev.Name
	ev.Entry, ev.Value = now, value
}
