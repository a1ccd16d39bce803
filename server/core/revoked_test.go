package core

import (
	"errors"
	"testing"
	"time"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/server/access"
)

// TestRightTakenAway: what a principal may do is asked at each use. Here a key goes while its session is open and is not
// told, as it is for a moment when a key is revoked.
func TestRightTakenAway(t *testing.T) {
	s := startCore(t)
	root := connect(t, s)
	root.do(store("v", ""), store("w", ""))
	sid := root.service("t", "s")
	svc := s.view.lookup("t", "s")
	with := func(t *testing.T, name string) (*peer, func()) {
		t.Helper()
		root.t = t
		p := connect(t, s, s.by(root.createKey(name, access.AllRights)))
		return p, func() {
			t.Helper()
			k, err := s.auth.Key(model.Itself, name)
			if err != nil {
				t.Fatal(err)
			}
			s.auth.Remove(k)
		}
	}

	t.Run("between report and commit", func(t *testing.T) {
		p, take := with(t, "report")
		release := s.holdCommits(t)
		late := p.begin(&model.Report{Seq: 1, Acked: 1, Changes: []model.Change{appendTo("v", "late")}})
		s.awaitQueued(t, 1)
		take()
		release()
		if m, err := p.await1(late); !errors.Is(err, model.ErrUnauthorized) {
			t.Errorf("answered %+v, %v, want unauthorized", m, err)
		}
		root.wantValue("v", "")
	})

	t.Run("between a report and its repetition", func(t *testing.T) {
		p, take := with(t, "again")
		report := &model.Report{Seq: 1, Acked: 1, Changes: []model.Change{store("w", "once")}}
		p.report(report)
		take()
		if m, err := p.await1(p.begin(report)); !errors.Is(err, model.ErrUnauthorized) {
			t.Errorf("answered %+v, %v, want unauthorized", m, err)
		}
	})

	t.Run("between watch and event", func(t *testing.T) {
		p, take := with(t, "watch")
		p.mustWatch(&model.Watch{Service: sid, Values: true})
		p.tree()
		take()
		root.do(store("v", "secret"), at(model.OpMkdir, "secret", "", ""))
		svc.watchMu.Lock()
		if len(svc.watches) != 0 {
			t.Error("the watch goes on")
		}
		svc.watchMu.Unlock()
		if _, err := p.await1(p.begin(report(1, 1, "v", "x"))); !errors.Is(err, model.ErrUnauthorized) {
			t.Errorf("a report is answered by %v, want unauthorized", err)
		}
		if l := p.taken(); len(l) != 0 {
			t.Errorf("pushed %+v", l)
		}
	})

	t.Run("while listing", func(t *testing.T) {
		for _, m := range []*model.List{{Recursive: true}, {Tenant: "t", Recursive: true}, {Tenant: "t", Service: "s"}} {
			_, take := with(t, "list")
			k, err := s.auth.Key(model.Itself, "list")
			if err != nil {
				t.Fatal(err)
			}
			l, err := (&Session{core: s.Core, auth: s.auth, Identity: Identity{Principal: model.KeyHolder(k.Hash)}}).List(m)
			if err != nil {
				t.Fatal(err)
			}
			if page, err := l.Page(PageBytes, 1); err != nil || len(page.Entries) != 1 {
				t.Fatalf("%+v, %v", page, err)
			}
			take()
			if page, err := l.Page(PageBytes, 100); err == nil && len(page.Entries) > 0 {
				t.Errorf("%+v goes on with %+v", m, page)
			}
		}
	})
}

// TestRevoked: what was asked for before a key was revoked, and is not carried out yet, is not carried out, and who has asked
// for it is told.
func TestRevoked(t *testing.T) {
	s := startCore(t, func(o *setup) { o.interval = time.Hour }) // it queues items, too
	root := connect(t, s)
	root.do(store("v", ""))
	p := connect(t, s, s.by(root.createKey("k", access.AllRights)))
	release := s.holdCommits(t)
	revoked := make(chan error, 1)
	go func() { revoked <- root.RevokeKey("k") }()
	s.awaitQueuedItems(t, 1)
	late := p.begin(report(1, 1, "v", "late"))
	s.awaitQueuedItems(t, 2)
	release()
	if err := <-revoked; err != nil {
		t.Fatal(err)
	}
	<-p.gone
	if o, err := p.await1(late); !errors.Is(err, access.ErrRevoked) {
		t.Errorf("what it had asked for: %+v, %v", o, err)
	}
	root.wantValue("v", "")
	if _, err := attach(t, s, by(p.who)); !errors.Is(err, access.ErrRevoked) {
		t.Errorf("attached again: %v", err)
	}
}
