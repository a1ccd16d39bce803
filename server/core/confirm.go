package core

import (
	"errors"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/commy-project/commyfs/model"
)

// Some clients on this host keep values in a kernel's page cache, where nobody looks before each use: their mounts, with
// --cache. They say of which variables, before they begin. A change of such a variable is told to everybody as any other is,
// but acknowledged to nobody else before these clients have confirmed that they keep no older value. The committer does not
// wait for that: the outcome does, in its session's feed. Who does not confirm in time is cut off, and has to begin anew.

const (
	// confirmTime is how long an outcome waits for confirmations.
	confirmTime = 50 * time.Millisecond
	// maxCached bounds the variables that a session keeps.
	maxCached = 1 << 16
)

var errUnconfirmed = errors.New("the client does not confirm changes of what it has cached")

// caches is who keeps which variables, and which outcomes wait for them.
type caches struct {
	kept     atomic.Int64 // registrations; most of the time there are none
	asked    atomic.Int64 // questions that are open
	patience time.Duration

	mu   sync.Mutex // guards the following; a leaf
	of   map[uint64][]*Session
	open map[*question]struct{}
}

func newCaches() caches {
	return caches{patience: confirmTime, of: map[uint64][]*Session{}, open: map[*question]struct{}{}}
}

// kept is what a session keeps; guarded by caches.mu.
type kept struct {
	services map[uint64]*keptOf
	count    int
}

// keptOf is what a session keeps of a service.
type keptOf struct {
	ids       map[uint64]struct{}
	confirmed int64 // up to which revision: the answer can be faster than the question
}

// question is what a session has to confirm: that it keeps nothing of a service that is older than a revision.
type question struct {
	to      *Session
	service uint64
	rev     int64
	ids     []uint64 // that have changed
	timer   *time.Timer
	done    atomic.Bool

	waiting []*Session // whose outcomes wait; guarded by caches.mu
}

// Cache notes that the session keeps variables of a service that it watches, or does not any more (off). What is acknowledged
// from now on without its having confirmed has been told it, or waits to be.
func (s *Session) Cache(service uint64, ids []uint64, off bool) error {
	if !s.Local {
		return model.ErrUnsupported
	}
	s.feed.mu.Lock()
	watched := s.feed.watches[service] != nil
	s.feed.mu.Unlock()
	if !watched && !off {
		return model.ErrNotFound
	}
	c := &s.core.caches
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.gone {
		return model.ErrUnavailable
	}
	for _, id := range ids {
		in := s.keepsLocked(id)
		switch {
		case off && in == service:
			c.dropLocked(s, service, id)
		case off || in == service: // what has moved was begun anew where it is now
		case in != 0: // it has moved
			s.moveLocked(id, in, service)
		case s.kept.count >= maxCached:
			return &model.Error{Code: model.CodeTooLarge, Message: "too many variables are cached"}
		default:
			s.keptLocked(service).ids[id] = struct{}{}
			s.kept.count++
			c.of[id] = append(c.of[id], s)
			c.kept.Add(1)
		}
	}
	return nil
}

// keepsLocked is the service as a variable of which the session keeps one, 0 if it does not.
func (s *Session) keepsLocked(id uint64) uint64 {
	for service, k := range s.kept.services {
		if _, has := k.ids[id]; has {
			return service
		}
	}
	return 0
}

// keptLocked is what the session keeps of a service, or begins to.
func (s *Session) keptLocked(service uint64) *keptOf {
	k := s.kept.services[service]
	if k == nil {
		if s.kept.services == nil {
			s.kept.services = map[uint64]*keptOf{}
		}
		k = &keptOf{ids: map[uint64]struct{}{}}
		s.kept.services[service] = k
	}
	return k
}

// moveLocked has the session keep a variable of the service that it has come to.
func (s *Session) moveLocked(id, from, to uint64) {
	s.keptLocked(to).ids[id] = struct{}{}
	k := s.kept.services[from]
	delete(k.ids, id)
	if len(k.ids) == 0 {
		delete(s.kept.services, from)
	}
}

func (c *caches) dropLocked(s *Session, service, id uint64) {
	k := s.kept.services[service]
	delete(k.ids, id)
	if len(k.ids) == 0 {
		delete(s.kept.services, service)
	}
	s.kept.count--
	if c.of[id] = slices.DeleteFunc(c.of[id], func(o *Session) bool { return o == s }); len(c.of[id]) == 0 {
		delete(c.of, id)
	}
	c.kept.Add(-1)
}

// uncache forgets what a session keeps of a service, 0 for all of them, and does not wait for it any more: it is not told of
// changes there from now on.
func (s *Session) uncache(service uint64) {
	c := &s.core.caches
	var wake touched
	c.mu.Lock()
	s.gone = s.gone || service == 0
	for svc, k := range s.kept.services {
		if service == 0 || svc == service {
			for id := range k.ids {
				c.dropLocked(s, svc, id)
			}
			delete(s.kept.services, svc)
		}
	}
	for q := range c.open {
		if q.to == s && (service == 0 || q.service == service) {
			c.endLocked(q, &wake)
		}
	}
	c.mu.Unlock()
	wake.wake()
}

// Confirm takes it that the session keeps nothing of a service that is older than a revision.
func (s *Session) Confirm(service uint64, rev int64) {
	c := &s.core.caches
	var wake touched
	c.mu.Lock()
	if s.kept.count > 0 { // also of a service that something is only coming to
		k := s.keptLocked(service)
		k.confirmed = max(k.confirmed, rev)
	}
	for q := range c.open {
		if q.to == s && q.service == service && q.rev <= rev {
			c.endLocked(q, &wake)
		}
	}
	c.mu.Unlock()
	wake.wake()
}

// endLocked ends a question, and collects who may have waited for it.
func (c *caches) endLocked(q *question, wake *touched) {
	delete(c.open, q)
	c.asked.Add(-1)
	q.timer.Stop()
	q.done.Store(true)
	for _, w := range q.waiting {
		wake.add(w)
	}
}

// ask opens the questions that a batch leads to, and has the outcomes wait for them. The batch was told to all who watch.
func (s *Core) ask(d *delta, list []outcome) {
	c := &s.caches
	if c.kept.Load() == 0 && c.asked.Load() == 0 {
		return
	}
	told := s.toldOfMoves(d)
	if len(told) > 0 { // for gone
		s.view.mu.RLock()
		defer s.view.mu.RUnlock()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	type key struct {
		session *Session
		service uint64
	}
	asked := map[key]*question{}
	ask := func(to *Session, service, id uint64) {
		k := key{to, service}
		if to.toldLocked(service) >= d.rev {
			return
		}
		q := asked[k]
		if q == nil {
			q = &question{to: to, service: service, rev: d.rev}
			q.timer = time.AfterFunc(c.patience, func() { s.unconfirmed(q) })
			asked[k] = q
			c.open[q] = struct{}{}
			c.asked.Add(1)
		}
		q.ids = append(q.ids, id)
	}
	for _, ev := range d.events {
		if ev.kind == model.EventMeta {
			continue
		}
		ids := []uint64{ev.id()}
		if ev.d != nil {
			if ids = nil; ev.kind == model.EventRmdir && ev.moved != 0 {
				ids = s.gone(ev)
			}
		}
		for _, id := range ids {
			for _, to := range slices.Clone(c.of[id]) {
				keeps := to.keepsLocked(id) == ev.service.id
				if keeps || ev.d == nil {
					ask(to, ev.service.id, id)
				}
				leaves := ev.moved != 0 && (ev.kind == model.EventDelete || ev.kind == model.EventRmdir)
				switch {
				case !keeps || !leaves:
				case told[ev.moved].has(to):
					to.moveLocked(id, ev.service.id, ev.moved)
				default: // it has to begin anew there
					c.dropLocked(to, ev.service.id, id)
				}
			}
		}
	}
	if len(c.open) == 0 {
		return
	}
	for i := range list {
		o := &list[i]
		if o.err != nil {
			continue
		}
		for q := range c.open {
			if q.to != o.session && o.concerns(q) {
				o.questions = append(o.questions, q)
				q.waiting = append(q.waiting, o.session)
			}
		}
	}
}

// toldOfMoves is who is told of the services that something has come to.
func (s *Core) toldOfMoves(d *delta) map[uint64]set[*Session] {
	all := map[uint64]set[*Session]{}
	for _, ev := range d.events {
		svc := s.view.services[ev.moved]
		if ev.moved == 0 || all[ev.moved] != nil || svc == nil {
			continue
		}
		told := set[*Session]{}
		svc.watchMu.Lock()
		for w := range svc.watches {
			told.add(w.session)
		}
		svc.watchMu.Unlock()
		all[ev.moved] = told
	}
	return all
}

// gone are the variables that somebody keeps and that a directory may have taken to another service. The caller holds view.mu and
// caches.mu.
func (s *Core) gone(ev *event) (ids []uint64) {
	for id := range s.caches.of {
		if v := s.view.byID.get(id); v != nil && v.dir.service.id != ev.service.id {
			ids = append(ids, id)
		}
	}
	return ids
}

// toldLocked is up to which revision of a service the session need not be asked: it has confirmed it, or is not told of the
// service, to which the variable has moved.
func (s *Session) toldLocked(service uint64) int64 {
	k := s.kept.services[service]
	if k == nil {
		return math.MaxInt64
	}
	return k.confirmed
}

// concerns reports whether an outcome tells that something is stored which a question is about, in this batch or before.
func (o *outcome) concerns(q *question) bool {
	return slices.ContainsFunc(o.results, func(r model.Result) bool { return slices.Contains(q.ids, r.ID) })
}

// unconfirmed cuts a session off that has not confirmed in time.
func (s *Core) unconfirmed(q *question) {
	if !q.done.Load() {
		s.log.Warn("a mount does not confirm that its page cache is current", "mount", q.to.Info.Mount, "pid", q.to.Info.Pid)
		q.to.sub.Fail(errUnconfirmed)
		q.to.uncache(0)
	}
}

// waits reports whether a question that the outcome waits for is open.
func (t *told) waits() bool {
	return slices.ContainsFunc(t.questions, func(q *question) bool { return !q.done.Load() })
}
