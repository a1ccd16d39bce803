package core

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/server/budget"
)

// TestCoalescing fills a watch whose session does not send, as a stuck watcher's.
func TestCoalescing(t *testing.T) {
	s := startCore(t)
	p := connect(t, s)
	p.do(store("a", "0"), store("b", "0"))
	sid := p.service("t", "s")
	svc := s.view.lookup("t", "s")

	stuck := &Session{core: s.Core, client: newClient("nobody"), auth: s.auth, Identity: Identity{Principal: model.Itself}, feed: newFeed(budget.New(96<<20).Open("", func() int64 { return 0 }, nil, func(error) {}), func() {})}
	stuck.Memory = stuck.feed.memory
	w := &watch{session: stuck, service: svc, values: true, live: true, open: map[uint64]int{}}
	stuck.feed.watches[sid] = w
	svc.watchMu.Lock()
	svc.watches.add(w)
	svc.watchMu.Unlock()

	for i := range 100 {
		p.do(store("a", fmt.Sprint("a", i)))
		p.do(store("b", fmt.Sprint("b", i)))
	}
	p.do(renameTo(at(model.OpRename, "t", "s", "a"), "c"))
	p.do(store("c", "after"))
	p.do(store("b", "last"))
	p.do(at(model.OpDelete, "t", "s", "b"))
	p.do(store("b", "anew"))
	chmod := at(model.OpSetMeta, "t", "s", "c")
	for i := range 10 {
		p.do(store("c", fmt.Sprint("more", i)))
	}
	for i := range 10 {
		chmod.Mode = model.NewMode(uint32(i))
		p.do(chmod)
	}
	for i := range 10 {
		p.do(store("c", fmt.Sprint("then", i))) // not before the modes: they would set its time back
	}

	d := stuck.feed.take()
	if len(d.updates) != 1 {
		t.Fatalf("taken %+v", d)
	}
	step := &peer{t: t, news: make(chan struct{}, 1)}
	if err := d.updates[0].tell(step); err != nil || len(step.told) != 1 {
		t.Fatalf("%d messages in one step, %v", len(step.told), err)
	}
	m := step.told[0].(*model.Changes)
	var got []string
	for _, e := range m.Changes {
		got = append(got, fmt.Sprint(e.Kind, e.Name, ":", string(e.Data), e.Created))
		if (e.Time == 0) != (e.Kind == model.EventMeta || e.Kind == model.EventSet && !e.Created) {
			t.Errorf("event of kind %d for %s with time %d", e.Kind, e.Name, e.Time)
		}
	}
	want := []string{
		fmt.Sprint(model.EventSet, "a:a99", false),
		fmt.Sprint(model.EventSet, "b:last", false),
		fmt.Sprint(model.EventRename, "c:", false),
		fmt.Sprint(model.EventSet, "c:more9", false),
		fmt.Sprint(model.EventDelete, "b:", false),
		fmt.Sprint(model.EventSet, "b:anew", true),
		fmt.Sprint(model.EventMeta, "c:", false),
		fmt.Sprint(model.EventSet, "c:then9", false),
	}
	if !slices.Equal(got, want) {
		t.Errorf("sent %q\nwant %q", got, want)
	}
	if rev := p.Status().Rev; m.Rev != rev {
		t.Errorf("step has revision %d, the server %d", m.Rev, rev)
	}

	// Too much to keep: the watch starts anew.
	big := strings.Repeat("x", 1<<20)
	enough := stuck.Memory.Limit() >> 20
	for i := range enough + 1 {
		p.do(store(fmt.Sprint("big", i), big))
	}
	p.do(store("c", "while lost"))
	d = stuck.feed.take()
	if len(d.lost) != 1 || len(d.updates) != 0 {
		t.Fatalf("taken %d lost, %d updates", len(d.lost), len(d.updates))
	}
	stuck.resync(w)
	p.do(store("c", "after the snapshot"))
	stuck.feed.outcome(told{Ticket: Ticket{ID: 7}, outcome: &model.Outcome{}, services: []*service{svc}})
	whole := &model.Snapshot{}
	for more := true; more; {
		d = stuck.feed.take()
		if len(d.updates) != 0 || len(d.outcomes) != 0 || d.start == nil {
			t.Fatalf("in the middle of a snapshot: %+v", d)
		}
		page := &peer{t: t, news: make(chan struct{}, 1)}
		more = d.start.next(page, 0)
		merge(whole, page.told[0].(*model.Snapshot))
	}
	stuck.feed.ended(d.start)
	if len(whole.Vars) != enough+3 || whole.Resumed {
		t.Errorf("snapshot of %d variables, resumed %v", len(whole.Vars), whole.Resumed)
	}
	d = stuck.feed.take()
	if len(d.updates) != 1 || len(d.outcomes) != 1 || string(d.updates[0].list[0].ev.v.data()) != "after the snapshot" {
		t.Errorf("after the snapshot: %+v", d)
	}
	svc.watchMu.Lock()
	delete(svc.watches, w)
	svc.watchMu.Unlock()
}

// TestDeliverLittle: what has become more than is asked for stays where it is.
func TestDeliverLittle(t *testing.T) {
	s := startCore(t)
	p := connect(t, s)
	p.do(store("a", "0"))
	sid := p.service("t", "s")
	svc := s.view.lookup("t", "s")
	behind := &Session{core: s.Core, client: newClient("nobody"), auth: s.auth, Identity: Identity{Principal: model.Itself}, feed: newFeed(budget.New(96<<20).Open("", func() int64 { return 0 }, nil, func(error) {}), func() {})}
	behind.Memory = behind.feed.memory
	w := &watch{session: behind, service: svc, values: true, live: true, open: map[uint64]int{}}
	behind.feed.watches[sid] = w
	svc.watchMu.Lock()
	svc.watches.add(w)
	svc.watchMu.Unlock()
	p.do(store("a", strings.Repeat("x", 2000)))
	step := &peer{t: t, news: make(chan struct{}, 1)}
	if ok, err := behind.DeliverLittle(step, 1000); ok || err != nil || len(step.told) > 0 {
		t.Errorf("more than is asked for: %v, %v, %d messages", ok, err, len(step.told))
	}
	if ok, err := behind.DeliverLittle(step, 10_000); !ok || err != nil || len(step.told) != 1 {
		t.Errorf("as much as is asked for: %v, %v, %d messages", ok, err, len(step.told))
	}
}
