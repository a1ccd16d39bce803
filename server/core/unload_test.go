package core

import (
	"fmt"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/memfile"
	"github.com/commy-project/commyfs/model"
)

func idle(d time.Duration) func(*setup) {
	return func(o *setup) { o.Idle, o.interval = d, d/5 }
}

func (p *peer) awaitLoaded(n int) {
	p.t.Helper()
	testenv.Eventually(p.t, bound, func() error {
		if have := p.Status().Loaded; have != n {
			return fmt.Errorf("%d services are loaded, want %d", have, n)
		}
		return nil
	})
}

// TestNewServiceStays: a service that was just made is used.
func TestNewServiceStays(t *testing.T) {
	s := startCore(t, func(o *setup) { o.interval = time.Hour })
	p := connect(t, s)
	p.do(store("v", ""))
	s.Tidy()
	if err := s.between(func() {}); err != nil {
		t.Fatal(err)
	}
	if loaded, err := p.Loaded(p.service("t", "s")); !loaded || err != nil {
		t.Errorf("loaded %v, error %v", loaded, err)
	}
}

// TestUnload: what nobody uses is let go, and comes back as it was.
func TestUnload(t *testing.T) {
	s := startCore(t, idle(50*time.Millisecond))
	p := connect(t, s)
	first := p.do(store("d/a", "1"), store("b", "1"), store("gone", "1"))
	p.do(at(model.OpDelete, "t", "s", "gone"))
	last := p.do(store("b", "2"))[0]
	sid := p.service("t", "s")
	p.awaitLoaded(0)
	testenv.Eventually(t, bound, func() error {
		s.view.mu.RLock()
		defer s.view.mu.RUnlock()
		if s.view.byID.count > 0 || len(s.view.loaded) > 0 {
			return fmt.Errorf("%d variables and %d services are still known", s.view.byID.count, len(s.view.loaded))
		}
		return nil
	})

	if v := p.wantValue("b", "2"); v.Version != last.Version || v.ID != last.ID {
		t.Errorf("read again: %+v, want %+v", v, last)
	}
	p.awaitLoaded(0)
	if r := p.do(model.Change{Op: model.OpAppend, ID: first[0].ID, In: sid, Data: []byte("+")})[0]; r.Version != first[0].Version+1 {
		t.Errorf("changed by its id: %+v after %+v", r, first[0])
	}
	p.awaitLoaded(0)
	if r := p.do(store("gone", "2"))[0]; r.Version != first[2].Version+1 {
		t.Errorf("made anew: %+v after %+v", r, first[2])
	}

	// Who watches, or has the memory file mapped, keeps it.
	watcher := connect(t, s)
	snap := watcher.mustWatch(&model.Watch{Service: sid, Values: true})
	mapper := connect(t, s)
	file := mapper.file(sid)
	r, err := memfile.Open(file.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	other := store("v", "x")
	other.Service = "other"
	p.do(other)
	p.awaitLoaded(1) // the other has gone, so this one has been looked at
	if st, err := r.State(); st != memfile.Live || err != nil {
		t.Errorf("a file that is in use: %d, %v", st, err)
	}
	mapper.Unwatch(sid)
	testenv.Eventually(t, bound, func() error {
		if st, err := r.State(); st != memfile.Superseded || err != nil {
			return fmt.Errorf("a file that is no longer in use: %d, %w", st, err)
		}
		return nil
	})
	again := mapper.file(sid)
	if again.Path != file.Path || again.Generation <= file.Generation {
		t.Errorf("asked again: %+v after %+v", again, file)
	}
	wantInFile(t, p, file.Path)
	if n := p.Status().Loaded; n != 1 {
		t.Errorf("%d services are loaded while one is watched", n)
	}
	for _, c := range []*peer{watcher, mapper, p} {
		c.close()
	}
	p = connect(t, s)
	p.awaitLoaded(0)

	// A watch resumes if nothing has happened meanwhile, and if something has.
	resume := &model.Watch{Service: sid, Values: true, Store: s.StoreID(), Since: snap.Rev}
	if next := p.mustWatch(resume); !next.Resumed || len(next.Changes) != 0 {
		t.Errorf("resumed: %+v", next)
	}
	p.Unwatch(sid)
	keeper := connect(t, s) // or it could be let go, and what happened with it
	keeper.mustWatch(&model.Watch{Service: sid})
	p.do(store("b", "3"))
	if next := p.mustWatch(resume); !next.Resumed || len(next.Changes) != 1 || next.Changes[0].Name != "b" {
		t.Errorf("resumed after a change: %+v", next)
	}
	p.Unwatch(sid)
	keeper.Unwatch(sid)
	p.awaitLoaded(0)
	if next := p.mustWatch(resume); next.Resumed || len(next.Vars) != 3 {
		t.Errorf("resumed, though what happened is forgotten: %+v", next)
	}
}
