package sync

import (
	"context"
	"errors"
	"time"

	"github.com/commy-project/commyfs/model"
)

// watchState is how far the client is with watching a service.
//
//	           used             listed            does not fit
//	unwatched ──────> wanted ───────────> watched ────────────> wanted
//	wanted ── cannot be loaded, or is let down again ──> failed ── listed ──> watched
//	watched ── nobody uses it ──> leaving ── the server has been told ──> unwatched
//	wanted, failed ── nobody uses it ──> unwatched
//
// A watched service stays so without a connection; a new one brings it, and what is wanted or failed, up to date.
type watchState uint8

const (
	unwatched watchState = iota
	wanted
	watched
	failed // see failure
	leaving
)

// transition is a service's being loaded or left, for all who wait for it.
type transition struct {
	done    chan struct{}
	leaving bool
	err     error
}

// Hold keeps the service watched, once it has been loaded, until a [Service.Release] for each Hold. Without, it is let go
// when nobody has used it for [Options.Idle]: its changes are not told any more, and what is held of it is of that time,
// until the next [Service.Root], [Service.Variable] or [Variable.Load].
func (s *Service) Hold() { s.holders.Add(1) }

// Release ends a Hold.
func (s *Service) Release() {
	s.use()
	s.holders.Add(-1)
}

// use remembers that somebody uses the service.
func (s *Service) use() {
	if !s.used.Load() {
		s.used.Store(true)
	}
}

// Watched reports whether the server tells of changes of the service, as far as there is a connection.
func (s *Service) Watched() bool { return s.is(watched) }

// load waits until the service is loaded, as long as its pages come. The loading itself goes on when the caller's time is
// over.
func (s *Service) load(ctx context.Context) error {
	s.use()
	if s.is(watched) {
		return nil
	}
	began := time.Now()
	silent := time.NewTimer(s.c.opts.Timeout)
	defer silent.Stop()
	for {
		tr, err := s.startLoading()
		if tr == nil {
			return err
		}
		select {
		case <-tr.done:
			if !tr.leaving {
				return tr.err
			}
		case <-silent.C:
			last := time.Unix(0, max(began.UnixNano(), s.heard.Load()))
			left := s.c.opts.Timeout - time.Since(last)
			if left <= 0 {
				return errNoAnswer
			}
			silent.Reset(left)
		case <-ctx.Done():
			return timedOut(ctx)
		}
	}
}

// Heard is when a page of the service's contents last came, in Unix nanoseconds.
func (s *Service) Heard() int64 { return s.heard.Load() }

// startLoading returns the transition under way, a new one if there is none; nil if there is nothing to wait for.
func (s *Service) startLoading() (*transition, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.state == watched || s.transition != nil:
		return s.transition, nil
	case s.root.gone:
		return nil, model.ErrNotFound
	case s.state == failed && time.Now().Before(s.failure.next):
		return nil, s.failure.err
	case s.state == unwatched:
		s.state = wanted
	}
	tr := &transition{done: make(chan struct{})}
	if !s.c.spawn(func() { s.finish(tr, s.fetch()) }) {
		return nil, errClosed
	}
	s.transition = tr
	return tr, nil
}

// finish ends a transition.
func (s *Service) finish(tr *transition, err error) {
	s.mu.Lock()
	if tr.leaving && s.state == leaving { // it was not watched again over a new connection
		s.state = unwatched
	}
	s.transition = nil
	s.mu.Unlock()
	tr.err = err
	close(tr.done)
}

func (s *Service) fetch() error {
	ctx, cancel := context.WithTimeout(s.c.ctx, s.c.opts.Timeout) // for connecting and trying again
	defer cancel()
	for !s.is(watched) {
		sess, err := s.c.session(ctx)
		if err != nil {
			return err
		}
		if err = sess.anew(s); err == nil || sess.conn.Err() == nil {
			return err
		}
		if pause(ctx) != nil {
			return err
		}
	}
	return nil
}

// anew is bring of one service. What it had can be in another one by now.
func (sess *session) anew(s *Service) error {
	if s.Blank() {
		return sess.bring(s)
	}
	sess.c.gather(true)
	err := sess.bring(s)
	sess.afterOthers(func() { sess.c.gather(false) })
	return err
}

// bring loads a service, or brings it up to date. What is wrong with the service alone takes it out of use; what is
// wrong with the connection, which has ended then, is left to the caller.
func (sess *session) bring(s *Service) error {
	ctx, cancel := context.WithTimeout(sess.c.ctx, sess.c.opts.Timeout) // for trying again
	defer cancel()
	for whole := false; ; {
		err := sess.watch(sess.c.ctx, s)
		if err == nil {
			sess.tellAll(ctx, s)
		}
		switch {
		case err == nil, sess.conn.Err() != nil, sess.c.ctx.Err() != nil:
			return err
		case errors.Is(err, model.ErrNotFound), errors.Is(err, model.ErrDenied):
			return err // it went while we were asking; the tree says so
		case errors.Is(err, errMisfit) && !whole:
			whole = true
			continue
		case model.CodeOf(err) == model.CodeUnavailable && !errors.Is(err, errMisfit) && pause(ctx) == nil:
			continue
		}
		s.fail(err)
		if failed := s.Failed(); failed != nil {
			return failed
		}
		return err
	}
}

func (s *Service) is(state watchState) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.state == state
}

// services returns those of which keep says so; it is called with the service's lock held.
func (c *Client) services(keep func(*Service) bool) []*Service {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var list []*Service
	for _, t := range c.tenants {
		for _, s := range t.services {
			s.mu.RLock()
			if keep(s) {
				list = append(list, s)
			}
			s.mu.RUnlock()
		}
	}
	return list
}

// wantedLocked reports whether a new connection has to bring the service up to date.
func (s *Service) wantedLocked() bool { return s.state != unwatched && s.state != leaving }

// letGo leaves the services that nobody has used since the call before the last. The goroutine that keeps the connection
// calls it twice in [Options.Idle].
func (c *Client) letGo(sess *session) {
	idle := c.services(func(s *Service) bool {
		if s.used.Swap(false) || s.holders.Load() > 0 || !s.wantedLocked() {
			s.unused = 0
			return false
		}
		s.unused++
		return s.unused >= 2
	})
	for _, s := range idle {
		s.leave(sess)
	}
}

// leave gives up watching a service. It keeps its nodes, which somebody may have, but no values.
func (s *Service) leave(sess *session) {
	s.c.mu.Lock()
	s.mu.Lock()
	if s.transition != nil || s.holders.Load() > 0 || s.used.Load() || s.state == watched && s.on != sess {
		s.mu.Unlock()
		s.c.mu.Unlock()
		return
	}
	was, old := s.state, s.acc
	s.setAccessor(&absentAccessor{s})
	s.failure, s.rev = failure{}, 0
	if s.filled { // what changes from now on is told by the tree
		s.mtime, s.mode, s.filled = s.root.mtime, s.root.mode, false
	}
	s.c.mu.Unlock()
	s.root.dropValues()
	s.state = unwatched
	if was == watched {
		s.state = leaving
		tr := &transition{done: make(chan struct{}), leaving: true}
		if s.c.spawn(func() {
			ctx, cancel := context.WithTimeout(s.c.ctx, s.c.opts.Timeout)
			defer cancel()
			s.finish(tr, sess.conn.Unwatch(ctx, s.id)) // a connection that has ended watches nothing
		}) {
			s.transition = tr
		}
	}
	s.mu.Unlock()
	if old != nil {
		old.Close()
	}
	s.c.steps.Lock()
	defer s.c.steps.Unlock()
	s.c.notify(s.c.forsake(s.id, false))
}

// dropValues lets go of the values below a directory.
func (d *Dir) dropValues() {
	d.dirs.all((*Dir).dropValues)
	d.vars.all(func(v *Variable) { v.data = nil })
}
