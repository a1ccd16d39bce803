package core

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/commy-project/commyfs/model"
)

// cacher is a peer that watches the service of the variables and keeps them in a cache.
func cacher(t *testing.T, s *testCore, ids ...uint64) (p *peer, service uint64) {
	t.Helper()
	p = connect(t, s)
	service = p.service("t", "s")
	if _, err := p.watch(&model.Watch{Service: service}); err != nil {
		t.Fatal(err)
	}
	if err := p.Cache(service, ids, false); err != nil {
		t.Fatal(err)
	}
	return p, service
}

// beginDo reports a change without waiting for the outcome.
func (p *peer) beginDo(c model.Change) <-chan any {
	p.t.Helper()
	p.seq++
	return p.begin(&model.Report{Seq: p.seq, Acked: p.seq, Changes: []model.Change{c}})
}

// answered reports whether an outcome is there within a while.
func answered(c <-chan any, within time.Duration) bool {
	select {
	case <-c:
		return true
	case <-time.After(within):
		return false
	}
}

// awaitRev waits until a peer was told of a revision of the service, and returns that.
func (p *peer) awaitRev(after int64) (rev int64) {
	p.t.Helper()
	p.await("change", func(told []any) bool {
		for _, m := range told {
			if c, ok := m.(*model.Changes); ok && c.Rev > after {
				rev = c.Rev
			}
		}
		return rev > 0
	})
	return rev
}

// slack is how long what must not come is waited for.
const slack = confirmTime / 3

// patient is a core that waits for confirmations for as long as a test takes: nobody is cut off for being slow, and who is waited
// for needlessly gives no answer in time.
func patient(t *testing.T) *testCore {
	s := startCore(t)
	s.caches.patience = time.Hour
	return s
}

func TestS7_ConfirmedBeforeAcknowledged(t *testing.T) {
	s := patient(t)
	w := connect(t, s)
	res := w.do(store("a", "0"), store("b", "0"))
	p, service := cacher(t, s, res[0].ID)

	asked := w.beginDo(store("a", "1"))
	rev := p.awaitRev(0)
	if answered(asked, slack) {
		t.Fatal("acknowledged before it was confirmed")
	}
	other := connect(t, s)
	if !answered(other.beginDo(store("b", "1")), bound) {
		t.Error("a change of what nobody has cached is not acknowledged")
	}
	same := other.beginDo(store("a", "1")) // tells that it is stored
	if answered(same, slack) {
		t.Error("what is not confirmed was acknowledged to one who wrote the same")
	}
	p.Confirm(service, rev-1)
	p.Confirm(service+1, rev)
	if answered(asked, slack) {
		t.Fatal("acknowledged by what confirms something else")
	}
	p.Confirm(service, rev)
	if !answered(asked, bound) || !answered(same, bound) {
		t.Fatal("not acknowledged")
	}
	if n := s.caches.asked.Load(); n != 0 {
		t.Errorf("%d open questions", n)
	}
	// The own session has nobody to wait for.
	if !answered(p.beginDo(store("a", "2")), bound) {
		t.Error("its own change is not acknowledged")
	}
	p.Confirm(service, p.awaitRev(rev))
	select {
	case <-p.gone:
		t.Fatal("cut off", p.err)
	default:
	}
	if err := p.Cache(service, []uint64{res[0].ID}, true); err != nil {
		t.Fatal(err)
	}
	if !answered(w.beginDo(store("a", "3")), bound) {
		t.Error("a change of what nobody keeps any more is not acknowledged")
	}
	if n := s.caches.kept.Load(); n != 0 {
		t.Errorf("%d registrations", n)
	}
}

func TestS7_UnconfirmedIsCutOff(t *testing.T) {
	s := startCore(t)
	w := connect(t, s)
	id := w.do(store("a", "0"))[0].ID
	p, _ := cacher(t, s, id)
	began := time.Now()
	if !answered(w.beginDo(store("a", "1")), bound) {
		t.Fatal("no answer")
	}
	if d := time.Since(began); d < confirmTime {
		t.Errorf("acknowledged after %v", d)
	}
	<-p.left
	if !errors.Is(p.err, errUnconfirmed) {
		t.Errorf("it has ended by %v", p.err)
	}
	for range 100 { // nobody is left to wait for
		w.do(store("a", "2"), store("a", "3"))
	}
	if d := time.Since(began); d > bound/2 {
		t.Errorf("%v", d)
	}
}

// TestS7_ConfirmedEarly has the watcher confirm before the committer asks.
func TestS7_ConfirmedEarly(t *testing.T) {
	s := patient(t)
	w := connect(t, s)
	id := w.do(store("a", "0"))[0].ID
	p, service := cacher(t, s, id)
	p.Confirm(service, 1<<40)
	if !answered(w.beginDo(store("a", "1")), bound) {
		t.Error("it is not acknowledged")
	}
}

func TestS7_WhoLeavesIsNotWaitedFor(t *testing.T) {
	for name, leave := range map[string]func(*peer, uint64){
		"detach":  func(p *peer, _ uint64) { p.close() },
		"unwatch": func(p *peer, service uint64) { p.Unwatch(service) },
	} {
		t.Run(name, func(t *testing.T) {
			s := patient(t)
			w := connect(t, s)
			id := w.do(store("a", "0"))[0].ID
			p, service := cacher(t, s, id)
			asked := w.beginDo(store("a", "1"))
			p.awaitRev(0)
			leave(p, service)
			if !answered(asked, bound) {
				t.Fatal("no answer")
			}
		})
	}
}

func TestS7_CacheRefuses(t *testing.T) {
	s := startCore(t)
	w := connect(t, s)
	id := w.do(store("a", "0"))[0].ID
	if err := w.Cache(w.service("t", "s"), []uint64{id}, false); !errors.Is(err, model.ErrNotFound) {
		t.Errorf("of a service that is not watched: %v", err)
	}
	p, service := cacher(t, s, id)
	many := make([]uint64, maxCached)
	for i := range many {
		many[i] = uint64(1e6 + i)
	}
	if err := p.Cache(service, many, false); model.CodeOf(err) != model.CodeTooLarge {
		t.Errorf("too many: %v", err)
	}
	p.Local = false
	if err := p.Cache(service, many[:1], false); !errors.Is(err, model.ErrUnsupported) {
		t.Errorf("over a network: %v", err)
	}
	p.Local = true
	p.close()
	if n := s.caches.kept.Load(); n != 0 {
		t.Errorf("%d registrations of one that has left", n)
	}
}

// TestS7_AskedWhereItHasGone: who keeps a variable that a directory takes to another service confirms that it has left, and then what
// happens to it there, as soon as it watches that service; else it keeps nothing any more.
func TestS7_AskedWhereItHasGone(t *testing.T) {
	for _, watches := range []bool{true, false} {
		t.Run(fmt.Sprintf("watches %v", watches), func(t *testing.T) {
			s := patient(t)
			q := connect(t, s)
			q.do(at(model.OpMkdir, "t", "", ""), at(model.OpMkdir, "t", "s", ""), at(model.OpMkdir, "t", "r", ""), at(model.OpMkdir, "t", "s", "d"))
			id := q.do(store("d/v", "1"))[0].ID
			p, from := cacher(t, s, id)
			to := p.service("t", "r")
			if watches {
				p.mustWatch(&model.Watch{Service: to})
			}
			q.do(moveTo("s", "d", "r", "d")) // the value is the same: nobody waits
			set := func(data string) <-chan any {
				return q.beginDo(model.Change{Op: model.OpStore, Tenant: "t", Service: "r", Name: "d/v", Data: []byte(data)})
			}
			rev := p.awaitRev(0)
			second := set("2")
			if answered(second, slack) {
				t.Fatal("acknowledged before it is confirmed that the variable has left")
			}
			p.Confirm(from, rev)
			if watches {
				if answered(second, slack) {
					t.Fatal("acknowledged before it is confirmed where the variable is now")
				}
				rev = p.awaitRev(rev)
				p.Confirm(to, rev)
			}
			if !answered(second, bound) {
				t.Fatal("not acknowledged")
			}
			if err := p.Cache(from, []uint64{id}, true); err != nil { // is of no account any more
				t.Fatal(err)
			}
			third := set("3")
			if !watches {
				if !answered(third, bound) {
					t.Error("what nobody keeps any more is not acknowledged")
				}
				return
			}
			if answered(third, slack) {
				t.Error("acknowledged without being confirmed")
			}
			p.Confirm(to, p.awaitRev(rev))
		})
	}
}

// TestS7_MovedWhileLoading: services are loaded and let go while what is cached moves.
func TestS7_MovedWhileLoading(t *testing.T) {
	s := patient(t)
	q := connect(t, s)
	twoServices(q)
	id := q.do(store("d/v", "1"))[0].ID
	for i := range 2 * indexPageSize {
		other := store(fmt.Sprint("v", i), "1")
		other.Service = "other"
		q.do(other)
	}
	there := store("there", "1")
	there.Service = "r"
	p, from := cacher(t, s, id, q.do(store("beside", "1"))[0].ID)
	to := p.service("t", "r")
	p.mustWatch(&model.Watch{Service: to})
	if err := p.Cache(to, []uint64{q.do(there)[0].ID}, false); err != nil {
		t.Fatal(err)
	}
	p.Confirm(from, 1<<40)
	p.Confirm(to, 1<<40)
	svc := s.view.lookup("t", "other")
	stop, over := make(chan struct{}), make(chan error)
	go func() {
		for {
			select {
			case <-stop:
				over <- nil
				return
			default:
			}
			if err := s.load(t.Context(), svc); err != nil {
				over <- err
				return
			}
			err := s.between(func() {
				unused := s.unused
				svc.used.Store(0)
				s.unused = 1
				s.unload(svc, svc.content.Load())
				s.unused = unused
			})
			if err != nil {
				over <- err
				return
			}
		}
	}()
	for range 50 {
		q.do(moveTo("s", "d", "r", "d"), moveTo("r", "d", "s", "d"))
		q.do(moveTo("s", "d", "r", "d"))
		q.do(moveTo("r", "d", "s", "d"))
	}
	close(stop)
	if err := <-over; err != nil {
		t.Error(err)
	}
	if n := s.caches.kept.Load(); n != 3 {
		t.Errorf("%d are kept, want 3", n)
	}
}
