package core

import (
	"github.com/commy-project/commyfs/model"
)

// watch is one session's view of one service. All but the first four fields is guarded by the session's feed.mu.
type watch struct {
	session *Session
	service *service
	values  bool
	rev     int64 // of the snapshot

	// live: the watcher has the snapshot that what waits comes after.
	live bool
	// news waits as it is, shared with other watchers; pending is empty then.
	news    []*news
	pending []pending
	// open has the entries of pending that later values of the variable, or later modes and times, are merged into, by its id.
	open       map[uint64]int
	structural int
	held       int // what waits keeps in memory, values that nobody else has any more among it
	// lost: what waits outgrew its bounds and was dropped.
	lost bool
}

// Watch begins to watch a loaded service: it is told what there is, and then every change; both are of one moment. A watch
// of the service that there was is over.
func (s *Session) Watch(t Ticket, m *model.Watch) error {
	v := s.core.view
	v.mu.RLock()
	defer v.mu.RUnlock()
	svc, _, err := s.loadedLocked(m.Service)
	if err != nil {
		return err
	}
	var snap *snapshot
	if m.Since > 0 && m.Store == s.core.engine.StoreID() {
		snap = v.resumeLocked(svc, m.Since, m.Values, s.client.id)
	}
	if snap == nil {
		snap = v.snapshotLocked(svc, m.Values)
	}
	w := &watch{session: s, service: svc, values: m.Values, rev: snap.rev, open: map[uint64]int{}}
	svc.watchMu.Lock()
	defer svc.watchMu.Unlock()
	f := s.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return model.ErrUnavailable
	}
	delete(svc.watches, f.forgetLocked(svc.id))
	f.watches[svc.id] = w
	svc.watches.add(w)
	f.starts = append(f.starts, &start{Ticket: t, next: snap.tell, watch: w})
	f.ready()
	return nil
}

// Unwatch ends the watch of a service, and Ask.
func (s *Session) Unwatch(service uint64) {
	s.feed.mu.Lock()
	w := s.feed.forgetLocked(service)
	s.feed.mu.Unlock()
	if w != nil {
		w.end()
	}
	s.uncache(service)
	s.unask(service)
}

// EndWatches ends all that the session watches, and Ask. There is nothing to deliver any more.
func (s *Session) EndWatches() {
	watches, asked := s.feed.close()
	v := s.core.view
	v.mu.Lock()
	delete(s.core.treeWatchers, s)
	v.mu.Unlock()
	for _, w := range watches {
		w.end()
	}
	for _, svc := range asked {
		svc.unask(s)
	}
}

// end takes a watch that the feed has no more from its service.
func (w *watch) end() {
	w.service.watchMu.Lock()
	delete(w.service.watches, w)
	w.service.watchMu.Unlock()
	w.service.use()
}
