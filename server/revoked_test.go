package server

import (
	"errors"
	"testing"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/server/access"
	"github.com/commy-project/commyfs/transport"
)

// TestRightTakenAway: what a principal may do is asked at each use. Here a key goes while its session is open and is not
// told, as it is for a moment when a key is revoked.
func TestRightTakenAway(t *testing.T) {
	listen, dial := listening(t)
	s := startServer(t, listen)
	root := connect(t, s)
	root.do(store("v", ""), store("w", ""))
	sid := root.service("t", "s")
	svc := s.core.view.lookup("t", "s")
	with := func(t *testing.T, name string) (*peer, func()) {
		t.Helper()
		root.t = t
		p := &peer{t: t, news: make(chan struct{}, 1)}
		if err := p.dial(dial(s, root.createKey(name, access.AllRights))); err != nil {
			t.Fatal(err)
		}
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
		late := p.cl.Go(t.Context(), &transport.ReportVariableChanges{Seq: 1, Floor: 1, Changes: []model.Change{appendTo("v", "late")}})
		s.awaitQueued(t, 1)
		take()
		release()
		if m, err := late.Wait(t.Context()); !errors.Is(err, model.ErrUnauthorized) {
			t.Errorf("answered %+v, %v, want unauthorized", m, err)
		}
		root.wantValue("v", "")
	})

	t.Run("between a report and its repetition", func(t *testing.T) {
		p, take := with(t, "again")
		report := &transport.ReportVariableChanges{Seq: 1, Floor: 1, Changes: []model.Change{store("w", "once")}}
		must[*transport.VariableChangesAcknowledged](p, report)
		take()
		if m, err := call[*transport.VariableChangesAcknowledged](p, report); !errors.Is(err, model.ErrUnauthorized) {
			t.Errorf("answered %+v, %v, want unauthorized", m, err)
		}
	})

	t.Run("between watch and event", func(t *testing.T) {
		p, take := with(t, "watch")
		p.mustWatch(&transport.Watch{Service: sid, Values: true})
		must[*transport.Tree](p, &transport.WatchTree{})
		take()
		root.do(store("v", "secret"), at(model.OpMkdir, "secret", "", ""))
		svc.watchMu.Lock()
		if len(svc.watches) != 0 {
			t.Error("the watch goes on")
		}
		svc.watchMu.Unlock()
		if _, err := call[*transport.Done](p, &transport.Ping{}); !errors.Is(err, model.ErrUnauthorized) {
			t.Errorf("a ping is answered by %v, want unauthorized", err)
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
			l, err := (&Session{core: s.core, auth: s.auth, Identity: Identity{Principal: model.KeyHolder(k.Hash)}}).List(m)
			if err != nil {
				t.Fatal(err)
			}
			if page, err := l.Page(pageBytes, 1); err != nil || len(page.Entries) != 1 {
				t.Fatalf("%+v, %v", page, err)
			}
			take()
			if page, err := l.Page(pageBytes, 100); err == nil && len(page.Entries) > 0 {
				t.Errorf("%+v goes on with %+v", m, page)
			}
		}
	})
}
