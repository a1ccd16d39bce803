package core

import (
	"github.com/commy-project/commyfs/diff"
	"github.com/commy-project/commyfs/model"
)

// maxStructural bounds what waits for one watcher of one service, beside the session's budget. Beyond that it is sent the
// whole service again.
const maxStructural = 100_000

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
			w.held += len(ev.v.data()) - len(p.ev.v.data())
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
	case model.EventMeta:
		if ev.v != nil {
			w.open[ev.v.id] = len(w.pending)
		}
	case model.EventDelete, model.EventRename:
		delete(w.open, ev.id())
	case model.EventRenameDir, model.EventRmdir:
		clear(w.open)
	}
	if ev.kind != model.EventSet || p.created {
		w.structural++
	}
	w.held += eventHeld(ev)
	w.pending = append(w.pending, p)
	if w.structural > maxStructural {
		w.lose()
	}
}

// pendingCost is about what an event takes beside its names and values.
const pendingCost = 400

// eventHeld is about what an event keeps in memory while it waits.
func eventHeld(ev *event) int {
	held := pendingCost + len(ev.name) + len(ev.oldName)
	switch ev.kind {
	case model.EventSet:
		held += len(ev.v.data())
		if ev.was != nil {
			held += len(ev.was.data())
		}
	case model.EventDelete, model.EventRename:
		held += len(ev.was.data())
	}
	return held
}

// drop forgets what waits.
func (w *watch) drop() {
	w.news, w.pending, w.structural, w.held = nil, nil, 0, 0
	clear(w.open)
}

// lose drops what waits for good: the watcher is sent the whole service again.
func (w *watch) lose() {
	w.drop()
	w.lost = true
}

// take hands over what waits.
func (w *watch) take() update {
	u := update{w, w.news, w.pending, w.held}
	w.drop()
	return u
}

// message is the event as the protocol has it.
func (p *pending) message(values bool) model.Event {
	ev := p.ev
	m := model.Event{Kind: ev.kind, ID: ev.id(), Name: ev.name, OldName: ev.oldName, Other: ev.other, Above: ev.above, Moved: ev.moved, Created: p.created, Own: p.own, Time: p.time}
	if ev.d != nil {
		m.MTime, m.Mode = ev.d.mtime, ev.d.mode
		return m
	}
	v := ev.v
	if v == nil {
		v = ev.was
	}
	m.Version, m.MTime, m.Mode, m.Writer, m.Size, m.Slot = v.version, v.mtime, v.mode, v.writtenBy(), int64(len(v.data())), v.slot
	if ev.kind != model.EventSet || !values {
		return m
	}
	switch {
	case p.echo != 0:
		m.Echo = p.echo
	case p.was == nil:
		m.Data = v.data()
	default:
		p.value(&m)
	}
	return m
}

// value puts into m how the watcher gets from what it has to the new value.
func (p *pending) value(m *model.Event) {
	now := p.ev.v.data()
	var list []diff.Range
	var worth bool
	if p.was == p.ev.was {
		list, worth = p.ev.difference()
	} else {
		list, worth = difference(p.was.data(), now, nil)
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
