package server

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/memfile"
	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/transport"
)

func idle(d time.Duration) func(*Options) {
	return func(o *Options) { o.Idle, o.interval = d, d/5 }
}

func (p *peer) awaitLoaded(n int) {
	p.t.Helper()
	testenv.Eventually(p.t, bound, func() error {
		if have := p.loaded(); have != n {
			return fmt.Errorf("%d services are loaded, want %d", have, n)
		}
		return nil
	})
}

// TestUnload: what nobody uses is let go, and comes back as it was.
func TestUnload(t *testing.T) {
	s := startServer(t, idle(50*time.Millisecond))
	p := connect(t, s)
	first := p.do(store("d/a", "1"), store("b", "1"), store("gone", "1"))
	p.do(at(model.OpDelete, "t", "s", "gone"))
	last := p.do(store("b", "2"))[0]
	sid := p.service("t", "s")
	p.awaitLoaded(0)
	testenv.Eventually(t, bound, func() error {
		s.core.view.mu.RLock()
		defer s.core.view.mu.RUnlock()
		if len(s.core.view.byID) > 0 || len(s.core.view.loaded) > 0 {
			return fmt.Errorf("%d variables and %d services are still known", len(s.core.view.byID), len(s.core.view.loaded))
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
	snap := watcher.mustWatch(&transport.Watch{Service: sid, Values: true})
	mapper := connect(t, s)
	file := must[*transport.ServiceFilePath](mapper, &transport.GetServiceFilePath{Service: sid})
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
	must[*transport.Done](mapper, &transport.Unwatch{Service: sid})
	testenv.Eventually(t, bound, func() error {
		if st, err := r.State(); st != memfile.Superseded || err != nil {
			return fmt.Errorf("a file that is no longer in use: %d, %w", st, err)
		}
		return nil
	})
	again := must[*transport.ServiceFilePath](mapper, &transport.GetServiceFilePath{Service: sid})
	if again.Path != file.Path || again.Generation <= file.Generation {
		t.Errorf("asked again: %+v after %+v", again, file)
	}
	wantInFile(t, p, file.Path)
	if n := p.loaded(); n != 1 {
		t.Errorf("%d services are loaded while one is watched", n)
	}
	for _, c := range []*peer{watcher, mapper, p} {
		_ = c.cl.Close()
	}
	p = connect(t, s)
	p.awaitLoaded(0)

	// A watch resumes if nothing has happened meanwhile, and if something has.
	resume := &transport.Watch{Service: sid, Values: true, Store: p.welcome.Store, Since: snap.Rev}
	if next := p.mustWatch(resume); !next.Resumed || len(next.Changes) != 0 {
		t.Errorf("resumed: %+v", next)
	}
	must[*transport.Done](p, &transport.Unwatch{Service: sid})
	keeper := connect(t, s) // or it could be let go, and what happened with it
	keeper.mustWatch(&transport.Watch{Service: sid})
	p.do(store("b", "3"))
	if next := p.mustWatch(resume); !next.Resumed || len(next.Changes) != 1 || next.Changes[0].Name != "b" {
		t.Errorf("resumed after a change: %+v", next)
	}
	must[*transport.Done](p, &transport.Unwatch{Service: sid})
	must[*transport.Done](keeper, &transport.Unwatch{Service: sid})
	p.awaitLoaded(0)
	if next := p.mustWatch(resume); next.Resumed || len(next.Vars) != 3 {
		t.Errorf("resumed, though what happened is forgotten: %+v", next)
	}
}

// TestUnloadBesideUse: services come and go under all that can be asked of them, and nothing is lost.
func TestUnloadBesideUse(t *testing.T) {
	s := startServer(t, idle(time.Millisecond))
	const services, appends = 3, 60
	name := func(i int) string { return fmt.Sprint("s", i) }
	owner := connect(t, s)
	var ids, sids [services]uint64
	for i := range services {
		c := store("d/v", "")
		c.Service = name(i)
		ids[i] = owner.do(c)[0].ID
		sids[i] = owner.service("t", name(i))
	}
	pause := func() { time.Sleep(time.Duration(rand.IntN(8)) * time.Millisecond) } // sometimes long enough to be let go
	var wg sync.WaitGroup
	done := make(chan struct{})
	for w := range 2 {
		p := connect(t, s)
		wg.Go(func() {
			for k := range appends {
				i := k % services
				c := model.Change{Op: model.OpAppend, ID: ids[i], In: sids[i], Data: []byte("x")}
				if w == 1 {
					c = model.Change{Op: model.OpAppend, Tenant: "t", Service: name(i), Name: "d/v", Data: []byte("x")}
				}
				if a := p.send(c); a.Code != model.CodeOK {
					t.Errorf("append: %d %s", a.Code, a.Message)
				}
				pause()
			}
		})
	}
	use := func(fn func(p *peer, i int) error) {
		p := connect(t, s)
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				if err := fn(p, i%services); err != nil && model.CodeOf(err) != model.CodeUnavailable {
					t.Errorf("%v", err)
				}
				pause()
			}
		})
	}
	use(func(p *peer, i int) error {
		d, err := call[*transport.VariableData](p, &transport.ReadVariable{Tenant: "t", Service: name(i), Name: "d/v"})
		if err == nil && (d.Variable.ID != ids[i] || d.Variable.Size != int64(len(d.Variable.Data))) {
			t.Errorf("read %+v", d)
		}
		return err
	})
	use(func(p *peer, i int) error {
		if _, err := p.watch(&transport.Watch{Service: sids[i], Values: true}); err != nil {
			return err
		}
		_, err := call[*transport.Done](p, &transport.Unwatch{Service: sids[i]})
		return err
	})
	use(func(p *peer, i int) error {
		file, err := call[*transport.ServiceFilePath](p, &transport.GetServiceFilePath{Service: sids[i]})
		if err != nil {
			return err
		}
		snap, err := p.watch(&transport.Watch{Service: sids[i]})
		if err != nil {
			return err
		}
		r, err := memfile.Open(file.Path)
		if err != nil {
			return err
		}
		defer r.Close()
		m, _, err := r.Read(snap.Vars[0].Slot, ids[i], nil)
		if err != nil || m.Version < snap.Vars[0].Version {
			t.Errorf("in the file: %+v, %v, want %+v", m, err, snap.Vars[0])
		}
		_, err = call[*transport.Done](p, &transport.Unwatch{Service: sids[i]})
		return err
	})
	use(func(p *peer, _ int) error {
		list, err := p.tryList(&transport.List{Tenant: "t", Recursive: true})
		if err == nil && len(list) != services*3 {
			t.Errorf("listed %d entries", len(list))
		}
		return err
	})
	ready := make(chan struct{})
	go func() {
		defer close(ready)
		wg.Wait()
	}()
	testenv.Eventually(t, 2*bound, func() error { // the writers are through
		total := int64(0)
		for i := range services {
			d, err := call[*transport.VariableData](owner, &transport.ReadVariable{Tenant: "t", Service: name(i), Name: "d/v"})
			if err != nil {
				return err
			}
			total += d.Variable.Size
		}
		if total != 2*appends {
			return fmt.Errorf("%d of %d appends are there", total, 2*appends)
		}
		return nil
	})
	close(done)
	<-ready
	owner.awaitLoaded(0)
}
