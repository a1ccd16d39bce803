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
