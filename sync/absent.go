package sync

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/commy-project/commyfs/model"
)

// A service whose copy cannot be kept is its users' trouble alone: they get errors, everybody else goes on, and it is
// loaded anew, at growing distances if that fails again and again.

const (
	minReload = 100 * time.Millisecond
	maxReload = 10 * time.Second
	// settled is how long a service must have been well for its next failure to be a first one.
	settled = 10 * time.Second
)

// failure is why a service cannot be used. It is guarded by Service.mu.
type failure struct {
	err  error         // nil while it can
	next time.Time     // when it is tried again
	wait time.Duration // before that
	well time.Time     // since when it can
}

// ServiceError says that a service cannot be used, though the server can: it cannot load it.
type ServiceError struct {
	Tenant, Service string
	Err             error
}

func (e *ServiceError) Error() string {
	return fmt.Sprintf("service %s/%s cannot be loaded: %v", e.Tenant, e.Service, e.Err)
}

// Unwrap returns what the server says.
func (e *ServiceError) Unwrap() error { return e.Err }

var errMisfit = &model.Error{Code: model.CodeUnavailable, Message: "the changes do not fit the copy"}

// absentAccessor stands in for the accessor of a service that is being loaded anew, or cannot be loaded.
type absentAccessor struct{ s *Service }

var _ Accessor = (*absentAccessor)(nil)

// Load waits a moment for a service that is being loaded anew, and not at all for one that could not be.
func (a *absentAccessor) Load(*Variable, []byte) ([]byte, Meta, error) {
	if err := a.s.Failed(); err != nil {
		return nil, Meta{}, err
	}
	ctx, cancel := context.WithTimeout(a.s.c.ctx, a.s.c.grace())
	defer cancel()
	if err := a.s.load(ctx); err != nil {
		return nil, Meta{}, err
	}
	return nil, Meta{}, errReplaced
}

func (a *absentAccessor) Close() error { return nil }

// Failed returns why the service cannot be used, a *[ServiceError], if the server could not load it. That is tried again by
// itself.
func (s *Service) Failed() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.failure.err
}

// leave takes the service out of use because of err. A first misfit is put right at once, with everybody who asks
// waiting; otherwise it is tried again in a while, and who asks is told why not.
func (s *Service) leave(err error) {
	path := s.prefix()
	s.mu.Lock()
	if s.root.gone {
		s.mu.Unlock()
		return
	}
	f := &s.failure
	if s.loaded && time.Since(f.well) > settled {
		f.wait = 0
	}
	again := f.err != nil
	wait := f.wait
	f.wait = min(max(2*wait, minReload), maxReload)
	if wait == 0 && (!s.loaded || !errors.Is(err, errMisfit)) {
		wait = minReload
	}
	f.err, f.next = nil, time.Now().Add(wait)
	if wait > 0 {
		f.err = &ServiceError{path[0], path[1], err}
	}
	old := s.acc
	s.acc, s.loaded, s.rev = &absentAccessor{s}, false, 0
	failed := f.err
	s.mu.Unlock()
	if old != nil {
		old.Close()
	}
	switch {
	case failed == nil:
		s.c.opts.Logger.Warn("the copy of a service has to be loaded anew", "service", path[0]+"/"+path[1], "err", err)
	case !again:
		s.c.opts.Logger.Error("a service cannot be used until the server can load it; the others go on",
			"service", path[0]+"/"+path[1], "id", s.id, "err", err)
	}
	time.AfterFunc(wait, func() { _, _ = s.startLoading() }) // fetch says what comes of it
}

// wellLocked notes that the service can be used.
func (s *Service) wellLocked() {
	f := &s.failure
	if f.err != nil {
		s.c.opts.Logger.Info("a service can be used again", "id", s.id)
	}
	f.err, f.well = nil, time.Now()
}

// bring loads a service, or brings it up to date. What is wrong with the service alone takes it out of use; what is
// wrong with the connection, which has ended then, is left to the caller.
func (l *session) bring(s *Service) error {
	ctx, cancel := context.WithTimeout(l.c.ctx, l.c.opts.Timeout) // for trying again
	defer cancel()
	for whole := false; ; {
		err := l.watch(l.c.ctx, s)
		switch {
		case err == nil, l.conn.Err() != nil, l.c.ctx.Err() != nil:
			return err
		case errors.Is(err, model.ErrNotFound), errors.Is(err, model.ErrDenied):
			return err // it went while we were asking; the tree says so
		case errors.Is(err, errMisfit) && !whole:
			whole = true
			continue
		case model.CodeOf(err) == model.CodeUnavailable && !errors.Is(err, errMisfit) && pause(ctx) == nil:
			continue
		}
		s.leave(err)
		if failed := s.Failed(); failed != nil {
			return failed
		}
		return err
	}
}
