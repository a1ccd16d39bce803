package core

import (
	"slices"
	"sync"

	"github.com/commy-project/commyfs/model"
)

// news is what one batch did to a service. All who watch it and are not behind are told the same, which is made once.
type news struct {
	rev     int64
	events  []*event
	moves   bool     // something has come from another service, or gone there
	again   bool     // all of the service is to be sent again
	clients []string // who made any of it: they are told so, which nobody else is
	held    int      // what it adds to what waits

	forms [2]Shared // without values, and with them
}

func (n *news) add(ev *event) {
	ev.rev = n.rev
	n.events = append(n.events, ev)
	n.held += eventHeld(ev)
	n.moves, n.again = n.moves || ev.moved != 0, n.again || ev.untold
	if ev.Client != "" && !slices.Contains(n.clients, ev.Client) {
		n.clients = append(n.clients, ev.Client)
	}
}

// The news of a few batches waits as it is for a watcher that is a little behind. One that is further behind has no use for
// values that are no longer current: what waits for it is merged.
const (
	maxNews     = 8
	maxNewsHeld = 256 << 10
)

// Shared is what many subscribers are told. They must not change it.
type Shared struct {
	made    sync.Once
	changes *model.Changes

	formed sync.Once
	form   any
}

// Changes returns it in terms of the model.
func (s *Shared) Changes() *model.Changes { return s.changes }

// Form returns what make returns, which is called once for all subscribers.
func (s *Shared) Form(make func(*model.Changes) any) any {
	s.formed.Do(func() { s.form = make(s.changes) })
	return s.form
}

// shared returns the news for those who want values, or for the others.
func (n *news) shared(values bool) *Shared {
	s := &n.forms[0]
	if values {
		s = &n.forms[1]
	}
	s.made.Do(func() {
		list := make([]pending, len(n.events))
		for i, ev := range n.events {
			list[i] = pending{ev: ev, created: ev.created(), time: ev.time}
			if ev.kind == model.EventSet {
				list[i].was = ev.was
			}
		}
		s.changes = changes(n.events[0].service.id, list, values)
	})
	return s
}

// clean reports whether nothing waits for the watcher.
func (w *watch) clean() bool { return len(w.pending)+len(w.news) == 0 && !w.lost }

// addNews queues news, as it is if the watcher is hardly behind.
func (w *watch) addNews(n *news) {
	if w.live && !w.lost && len(w.pending) == 0 && len(w.news) < maxNews && w.held+n.held <= maxNewsHeld &&
		!slices.Contains(n.clients, w.session.client.id) {
		w.news = append(w.news, n)
		w.held += n.held
		return
	}
	w.merge()
	for _, ev := range n.events {
		w.add(ev)
	}
}

// merge has what waits merged from now on.
func (w *watch) merge() {
	list := w.news
	w.news = nil
	for _, n := range list {
		w.held -= n.held
		for _, ev := range n.events {
			w.add(ev)
		}
	}
}
