package core

import (
	"github.com/commy-project/commyfs/diff"
	"github.com/commy-project/commyfs/model"
)

// maxStructural bounds what waits for one watcher of one service, beside the session's budget. Beyond that it is sent the
// whole service again.
const maxStructural = 100_000

// watch is one session's view of one service. All but the first four fields is guarded by the session's feed.mu.
type watch struct {
	session *Session
	service *service
	values  bool
	rev     int64 // of the snapshot

	// live: the watcher has the snapshot that pending comes after.
	live    bool
	pending []pending
	// open has the entries of pending that later values of the variable, or later modes and times, are merged into, by its id.
	open       map[uint64]int
	structural int
	held       int // what pending keeps in memory, values that nobody else has any more among it
	// lost: pending outgrew its bounds and was dropped.
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
	svc.watches[w] = struct{}{}
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

// pending is an event, or several of one variable, that a watcher has not been sent.
type pending struct {
	ev *event // the last
	// was is what the watcher has, if the event is a new value of a variable that it knows.
	was     *variable
	created bool
	time    int64 // see event.time
	own     bool
	echo    uint64
}

// add queues an event. A new value takes the place of one that waits already, so that a slow watcher gets the last one;
// what comes, goes or gets another name is never merged, and no value is moved across it.
func (w *watch) add(ev *event) {
	if w.lost {
		return
	}
	own := ev.Client != "" && ev.Client == w.session.client.id
	if ev.kind == model.EventSet && ev.was != nil || ev.kind == model.EventMeta && ev.v != nil {
		if i, ok := w.open[ev.v.id]; ok && (w.pending[i].ev.kind == model.EventMeta) == (ev.kind == model.EventMeta) {
			p := &w.pending[i]
			w.held += len(ev.v.data) - len(p.ev.v.data)
			p.ev, p.own, p.echo = ev, p.own && own, 0
			return
		}
	}
	p := pending{ev: ev, own: own, created: ev.created(), time: ev.time}
	switch ev.kind {
	case model.EventSet:
		p.was = ev.was
		if ev.echo && own && w.session.feed.expected[ev.Seq] {
			p.echo = ev.Seq
		}
		w.open[ev.v.id] = len(w.pending)
		w.held += len(ev.v.data)
		if ev.was != nil {
			w.held += len(ev.was.data)
		}
	case model.EventMeta:
		if ev.v != nil {
			w.open[ev.v.id] = len(w.pending)
		}
	case model.EventDelete, model.EventRename:
		delete(w.open, ev.id())
		w.held += len(ev.was.data)
	case model.EventRenameDir:
		clear(w.open)
	}
	if ev.kind != model.EventSet || p.created {
		w.structural++
	}
	w.held += pendingCost + len(ev.name) + len(ev.oldName)
	w.pending = append(w.pending, p)
	if w.structural > maxStructural {
		w.lose()
	}
}

// pendingCost is about what an event takes beside its names and values.
const pendingCost = 400

// drop forgets what waits.
func (w *watch) drop() {
	w.pending, w.structural, w.held = nil, 0, 0
	clear(w.open)
}

// lose drops what waits for good: the watcher is sent the whole service again.
func (w *watch) lose() {
	w.drop()
	w.lost = true
}

// take hands over what waits.
func (w *watch) take() ([]pending, int) {
	list, held := w.pending, w.held
	w.drop()
	return list, held
}

// message is the event as the protocol has it.
func (p *pending) message(values bool) model.Event {
	ev := p.ev
	m := model.Event{Kind: ev.kind, ID: ev.id(), Name: ev.name, OldName: ev.oldName, Created: p.created, Own: p.own, Time: p.time}
	if ev.d != nil {
		m.MTime, m.Mode = ev.d.mtime, ev.d.mode
		return m
	}
	v := ev.v
	if v == nil {
		v = ev.was
	}
	m.Version, m.MTime, m.Mode, m.Writer, m.Size, m.Slot = v.version, v.mtime, v.mode, v.writer, int64(len(v.data)), v.slot
	if ev.kind != model.EventSet || !values {
		return m
	}
	switch {
	case p.echo != 0:
		m.Echo = p.echo
	case p.was == nil:
		m.Data = v.data
	default:
		p.value(&m)
	}
	return m
}

// value puts into m how the watcher gets from what it has to the new value.
func (p *pending) value(m *model.Event) {
	now := p.ev.v.data
	var list []diff.Range
	var worth bool
	if p.was == p.ev.was {
		list, worth = p.ev.difference()
	} else {
		list, worth = difference(p.was.data, now)
	}
	if !worth {
		m.Data = now
		return
	}
	m.Base = p.was.version
	m.Ranges = make([]model.RangeData, len(list))
	for i, r := range list {
		m.Ranges[i] = model.RangeData{Off: int64(r.Off), Data: now[r.Off : r.Off+r.Len]}
	}
}

// maxStep bounds the values of one [model.Changes]. What is more goes as pages of a resumed snapshot, which the subscriber
// applies as one step too.
const maxStep = 8 << 20

// update is what one watch has to tell, to be applied as one step.
type update struct {
	watch *watch
	list  []pending
	held  int
}

func (u *update) tell(to Receiver) error {
	w, rev := u.watch, u.list[len(u.list)-1].ev.rev
	if len(u.list) > 1 && u.size() > maxStep {
		pages := &snapshot{service: w.service.id, resumed: true, values: w.values, rev: rev, changes: u.list}
		for more := true; more; {
			page := pages.next()
			to.Snapshot(0, page)
			if err := to.Flush(); err != nil {
				return err
			}
			more = page.More
		}
		return nil
	}
	m := &model.Changes{Service: w.service.id, Rev: rev, Changes: make([]model.Event, len(u.list))}
	for i := range u.list {
		m.Changes[i] = u.list[i].message(w.values)
	}
	to.Changes(m)
	return nil
}

// size is at most about what the update takes as one message.
func (u *update) size() int {
	size := len(u.list) * eventCost
	for i := range u.list {
		ev := u.list[i].ev
		size += len(ev.name) + len(ev.oldName)
		if u.watch.values && ev.v != nil {
			size += len(ev.v.data)
		}
	}
	return size
}

// resync starts a watch anew that could not keep up.
func (s *Session) resync(w *watch) {
	v := s.core.view
	v.mu.RLock()
	if w.service.content.Load() == nil {
		v.mu.RUnlock()
		return // the watch has ended
	}
	snap := v.snapshotLocked(w.service, w.values)
	f := s.feed
	f.mu.Lock()
	w.drop()
	w.lost, w.live = false, false
	if f.watches[w.service.id] == w {
		f.starts = append(f.starts, &start{next: snap.tell, watch: w})
	}
	f.mu.Unlock()
	v.mu.RUnlock()
	f.ready()
}
