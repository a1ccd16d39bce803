package sync

import (
	"context"
	"errors"
	"time"

	"github.com/commy-project/commyfs/model"
)

// watch loads a service, or brings a loaded one up to date after a reconnect. It takes as long as it takes, as long as
// pages come. Before them come such without anything in them, while the server loads the service: see Replaced.
func (sess *session) watch(ctx context.Context, s *Service) error {
	return patient(ctx, sess.c.longBound(), s.Heard, func(ctx context.Context, progress func()) error {
		return sess.listing(ctx, s, progress)
	})
}

func (sess *session) listing(ctx context.Context, s *Service, progress func()) error {
	var acc accessor = bufferAccessor{}
	if sess.welcome.Local && !sess.c.opts.NoMap {
		if a, err := sess.openMapped(ctx, s); err == nil {
			acc = a
		} else if errors.Is(err, model.ErrNotFound) || errors.Is(err, model.ErrInternal) || ctx.Err() != nil {
			return err // which the watch would meet as well
		} else {
			sess.c.notMapped(s, err)
		}
	}
	_, values := acc.(bufferAccessor)
	req := &model.Watch{Service: s.id, Values: values}
	s.mu.RLock()
	// Slots of a memory file are a server's own: only a copy that holds the values itself can resume.
	if values && s.state == watched && s.buffered() {
		req.Store, req.Since = sess.welcome.Store, s.rev
	}
	s.mu.RUnlock()
	var (
		sn   snapshot
		done bool
	)
	err := sess.conn.Watch(ctx, req, func(p *model.Snapshot) error {
		progress()
		s.heard.Store(time.Now().UnixNano())
		err := sess.page(s, &sn, p, acc)
		done = err == nil && !p.More
		return err
	})
	if done { // whatever the call says: the wait can end while the last page is taken, and acc is in use then
		return nil
	}
	acc.Close()
	return err
}

// unmappedEvery is how often it is logged that services are not mapped: it can be thousands at once.
const unmappedEvery = time.Minute

func (c *Client) notMapped(s *Service, err error) {
	c.unmapped.Lock()
	defer c.unmapped.Unlock()
	if time.Since(c.unmapped.last) < unmappedEvery {
		c.unmapped.more++
		return
	}
	c.opts.Logger.Warn("memory file not usable, reading over the connection", "service", s.id, "err", err, "not logged since", c.unmapped.more)
	c.unmapped.last, c.unmapped.more = time.Now(), 0
}

// page takes one page of a listing, on the receiving goroutine.
func (sess *session) page(s *Service, sn *snapshot, p *model.Snapshot, acc accessor) error {
	_, values := acc.(bufferAccessor)
	sn.add(s, p, values)
	if p.More {
		return nil
	}
	if p.Resumed {
		s.mu.Lock()
		there := s.state == watched // else it was let go, or failed, since it was asked for
		s.on = sess
		s.mu.Unlock()
		if !there {
			return errMisfit
		}
		sess.c.steps.Lock()
		notices, ok := s.apply(p.Rev, sn.changes)
		if ok {
			s.listed = p.Rev
		}
		sess.tell(s, p.Rev, nil, notices)
		sess.c.steps.Unlock()
		if !ok {
			s.forgetRevision()
			return errMisfit
		}
		return nil
	}
	s.mu.RLock()
	old, gone := s.acc, s.root.gone
	s.mu.RUnlock()
	if gone {
		return model.ErrNotFound // while it was being listed
	}
	sess.c.steps.Lock()
	if !s.Blank() {
		sess.c.moves.nothingWaits()
	}
	notices, ok := s.replace(sess, sn, p.Rev, acc)
	if ok {
		sess.tell(s, p.Rev, nil, notices)
	}
	sess.c.steps.Unlock()
	if !ok {
		s.forgetRevision()
		return errMisfit
	}
	if old != nil && old != acc {
		old.Close()
	}
	return nil
}

var _ model.Watcher = (*session)(nil)

// TreeChanged implements [model.Watcher], as what follows.
func (sess *session) TreeChanged(t *model.TreeChanges) {
	sess.c.changeTree(func() []Notice {
		sess.c.mu.Lock()
		defer sess.c.mu.Unlock()
		return sess.c.treeStepsLocked(t.Changes)
	})
}

// tell tells what a step of a service has done. events is what it was, nil if it was all of it. Client.steps is held.
func (sess *session) tell(s *Service, rev int64, events []model.Event, notices []Notice) {
	left := leftBy(notices)
	notices = sess.c.settle(s, notices)
	sess.tellOld(s.id, rev, events, left)
	sess.c.notify(notices)
}

// Changed applies changes of a service.
func (sess *session) Changed(p *model.Changes) {
	s, _ := sess.c.index.get(p.Service).(*Service)
	if s == nil {
		return
	}
	sess.c.steps.Lock()
	notices, ok := s.apply(p.Rev, p.Changes)
	sess.tell(s, p.Rev, p.Changes, notices)
	sess.c.steps.Unlock()
	if !ok {
		s.fail(errMisfit)
	}
}

// MemoryFileMoved has the values come over the connection from now on if there is no file any more. A new one is found by its
// path when the old one says that it is superseded.
func (sess *session) MemoryFileMoved(service uint64, f *model.MemoryFile) {
	if s, _ := sess.c.index.get(service).(*Service); s != nil && f.Path == "" && s.Mapped() {
		s.fail(errMisfit)
	}
}

// MemoryStored passes on that something was stored into a bare service where no variable is.
func (sess *session) MemoryStored(service uint64) {
	if s, _ := sess.c.index.get(service).(*Service); s != nil && sess.c.opts.OnMemory != nil {
		sess.c.opts.OnMemory(s)
	}
}

// Replaced takes a listing that was not asked for.
func (sess *session) Replaced(p *model.Snapshot) {
	s, _ := sess.c.index.get(p.Service).(*Service)
	if s == nil {
		sess.c.heardElse.Store(time.Now().UnixNano())
		sess.resynced(p.Service) // it is gone since
		return
	}
	s.heard.Store(time.Now().UnixNano())
	sn := sess.resyncs[p.Service]
	if sn == nil {
		if isProgress(p) {
			return
		}
		sn = &snapshot{}
		sess.resyncs[p.Service] = sn
		sess.replacing.Add(1)
		sess.replaced.Add(1)
	}
	if !p.More {
		sess.resynced(p.Service)
	}
	s.mu.RLock()
	acc, state := s.acc, s.state
	s.mu.RUnlock()
	if state != watched {
		sess.resynced(p.Service) // a listing of its own is on the way, if anybody wants it
		return
	}
	if p.More {
		_ = sess.page(s, sn, p, acc) // which takes it apart later
		return
	}
	sess.c.gather(true)
	err := sess.page(s, sn, p, acc)
	sess.afterOthers(func() { sess.c.gather(false) })
	if err != nil {
		s.fail(errMisfit)
	}
}

// resynced ends a listing that was not asked for.
func (sess *session) resynced(service uint64) {
	if sess.resyncs[service] != nil {
		delete(sess.resyncs, service)
		sess.replacing.Add(-1)
	}
}

// afterOthers calls fn once the other services are told what the server has told them by now: what is missing in a listing can have
// gone to one of them.
func (sess *session) afterOthers(fn func()) {
	c := sess.c
	c.steps.Lock()
	waits := c.moves.waiting()
	c.steps.Unlock()
	if !waits || !c.spawn(func() {
		ctx, cancel := context.WithTimeout(c.ctx, c.longBound())
		defer cancel()
		if sess.catchUp(ctx) != nil && sess.conn.Err() != nil { // the next connection brings it
			c.isOff(sess, true)
		}
		if c.ctx.Err() == nil { // else nothing is told any more
			fn()
		}
	}) {
		fn()
	}
}

// catchUp returns when the services have come to where the server was when it was called, if anything waits for that. An answer comes
// behind what the server had to tell when it got the request, but for a service that is sent again: that may not have begun yet.
func (sess *session) catchUp(ctx context.Context) error {
	var reached int64
	for rounds := 0; rounds < 2; rounds++ {
		sess.c.steps.Lock()
		waits := sess.c.moves.waiting()
		reached = sess.c.reached()
		sess.c.steps.Unlock()
		if !waits {
			return nil
		}
		begun := sess.replaced.Load()
		if err := sess.conn.Ping(ctx); err != nil {
			return err
		}
		if sess.replacing.Load() > 0 {
			if err := pause(ctx); err != nil {
				return err
			}
			rounds = -1
		} else if sess.replaced.Load() != begun {
			rounds = -1
		}
	}
	sess.c.steps.Lock()
	defer sess.c.steps.Unlock()
	for _, s := range sess.c.services(func(s *Service) bool { return s.state == watched && s.on == sess }) {
		s.listed = max(s.listed, reached) // of a service in which nothing happens nothing is told
	}
	return nil
}

// reached is the last revision to which any service has come.
func (c *Client) reached() (rev int64) {
	c.services(func(s *Service) bool {
		rev = max(rev, s.rev)
		return false
	})
	return rev
}

// forgetRevision makes the next watch ask for everything.
func (s *Service) forgetRevision() {
	s.mu.Lock()
	s.rev = 0
	s.mu.Unlock()
}
