package core

import (
	"fmt"
	"testing"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/server/budget"
)

// stuckWatch is a watch of t/s by a session that takes nothing by itself.
func stuckWatch(t *testing.T, s *testCore, sid uint64, client string, values bool) *watch {
	t.Helper()
	memory := budget.New(96<<20).Open("", func() int64 { return 0 }, nil, func(error) {})
	w := &watch{values: values, live: true, open: map[uint64]int{}, service: s.view.lookup("t", "s"),
		session: &Session{core: s.Core, client: newClient(client), auth: s.auth, Memory: memory, Identity: Identity{Principal: model.Itself}, feed: newFeed(memory, func() {})}}
	w.session.feed.watches[sid] = w
	w.service.watchMu.Lock()
	w.service.watches.add(w)
	w.service.watchMu.Unlock()
	return w
}

// shared collects what a session is told that others are told too.
type shared struct {
	*peer
	list []*Shared
}

func (s *shared) Shared(m *Shared) { s.list = append(s.list, m) }

func (w *watch) delivered(t *testing.T) (*shared, delivery) {
	t.Helper()
	d := w.session.feed.take()
	to := &shared{peer: &peer{t: t, news: make(chan struct{}, 1)}}
	for i := range d.updates {
		if err := d.updates[i].tell(to); err != nil {
			t.Fatal(err)
		}
		w.session.Memory.Give(d.updates[i].held)
	}
	return to, d
}

func (w *watch) holdsNothing(t *testing.T) {
	t.Helper()
	if all := w.session.Memory.Limit(); !w.session.Memory.Try(all) {
		t.Error("memory is held when nothing waits")
	} else {
		w.session.Memory.Give(all)
	}
}

// TestNewsIsMadeOnce: watchers that are not behind are told the very same, each batch by itself.
func TestNewsIsMadeOnce(t *testing.T) {
	s := startCore(t)
	p := connect(t, s)
	p.do(store("a", "0"))
	sid := p.service("t", "s")
	one, two := stuckWatch(t, s, sid, "one", true), stuckWatch(t, s, sid, "two", true)
	blind := stuckWatch(t, s, sid, "three", false)
	writer := stuckWatch(t, s, sid, p.client.id, true)
	for i := range 3 {
		p.do(store("a", fmt.Sprint("a", i)))
	}
	first, _ := one.delivered(t)
	second, _ := two.delivered(t)
	without, _ := blind.delivered(t)
	if len(first.list) != 3 || len(second.list) != 3 || len(without.list) != 3 {
		t.Fatalf("told %d, %d and %d times", len(first.list), len(second.list), len(without.list))
	}
	forms := 0
	for i := range 3 {
		if first.list[i] != second.list[i] {
			t.Errorf("news %d was made twice", i)
		}
		for range 2 {
			first.list[i].Form(func(*model.Changes) any { forms++; return forms })
		}
		c := first.list[i].Changes()
		if len(c.Changes) != 1 || string(c.Changes[0].Data) != fmt.Sprint("a", i) || c.Changes[0].Own {
			t.Errorf("told %+v", c)
		}
		if e := without.list[i].Changes().Changes[0]; e.Data != nil || e.Version != c.Changes[0].Version {
			t.Errorf("without values: %+v", e)
		}
	}
	if forms != 3 {
		t.Errorf("%d forms of 3", forms)
	}
	// Who made them is told so, and by itself.
	own, d := writer.delivered(t)
	if len(own.list) != 0 || len(d.updates) != 1 || len(d.updates[0].list) != 1 || !d.updates[0].list[0].own {
		t.Errorf("the writer was told %+v", d.updates)
	}
	for _, w := range []*watch{one, two, blind, writer} {
		w.holdsNothing(t)
	}
}

// TestNewsIsMergedForWhoIsBehind: only the last values wait for a watcher that takes nothing.
func TestNewsIsMergedForWhoIsBehind(t *testing.T) {
	s := startCore(t)
	p := connect(t, s)
	p.do(store("a", "0"), store("b", "0"))
	w := stuckWatch(t, s, p.service("t", "s"), "slow", true)
	held := 0
	for i := range maxNews + 5 {
		p.do(store("a", fmt.Sprint("a", i)), store("b", fmt.Sprint("b", i)))
		held = max(held, w.held)
	}
	if now := w.held; now*2 > held {
		t.Errorf("%d bytes are held after merging, %d before", now, held)
	}
	to, d := w.delivered(t)
	if len(to.list) != 0 || len(d.updates) != 1 || len(d.updates[0].list) != 2 {
		t.Fatalf("told %+v", d.updates)
	}
	for _, e := range d.updates[0].list {
		if got, want := string(e.ev.v.data()), fmt.Sprint(e.ev.name, maxNews+4); got != want {
			t.Errorf("value %q, want %q", got, want)
		}
	}
	w.holdsNothing(t)
}
