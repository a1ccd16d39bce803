package sync

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/commy-project/commyfs/model"
)

// A service whose copy cannot be kept is its users' trouble alone: they get errors, everybody else goes on, and it is
// loaded anew, at growing distances if that fails again and again, as long as somebody uses it.

const (
	minReload = 100 * time.Millisecond
	maxReload = 10 * time.Second
	// soundFor is how long a service must have been watched for its next failure to be a first one.
	soundFor = 10 * time.Second
)

// failure is why a service cannot be used. It is guarded by Service.mu.
type failure struct {
	err   error         // nil while it can
	next  time.Time     // when it is tried again
	wait  time.Duration // before that
	sound time.Time     // since when it can
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

// absentAccessor stands in for the accessor of a service that is being loaded anew, cannot be loaded, or was let go.
type absentAccessor struct{ s *Service }

var _ accessor = (*absentAccessor)(nil)

// Load waits for a service that was let go, a moment for one that is being loaded anew, and not at all for one that could
// not be.
func (a *absentAccessor) Load(*Variable, []byte) ([]byte, Meta, error) {
	if err := a.s.Failed(); err != nil {
		return nil, Meta{}, err
	}
	bound := a.s.c.opts.Timeout
	if a.s.is(wanted) {
		bound = a.s.c.grace()
	}
	ctx, cancel := context.WithTimeout(a.s.c.ctx, bound)
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

// fail takes the service out of use because of err. A first misfit is put right at once, with everybody who asks
// waiting; otherwise it is tried again in a while, and who asks is told why not.
func (s *Service) fail(err error) {
	path := s.prefix()
	s.mu.Lock()
	if s.root.gone {
		s.mu.Unlock()
		return
	}
	f := &s.failure
	if s.state == watched && time.Since(f.sound) > soundFor {
		f.wait = 0
	}
	again := f.err != nil
	wait := f.wait
	f.wait = min(max(2*wait, minReload), maxReload)
	if wait == 0 && (s.state != watched || !errors.Is(err, errMisfit)) {
		wait = minReload
	}
	s.state, f.err, f.next = wanted, nil, time.Now().Add(wait)
	if wait > 0 {
		s.state, f.err = failed, &ServiceError{path[0], path[1], err}
	}
	old := s.acc
	s.setAccessor(&absentAccessor{s})
	s.rev = 0
	reason := f.err
	s.mu.Unlock()
	if old != nil {
		old.Close()
	}
	switch {
	case reason == nil:
		s.c.opts.Logger.Warn("the copy of a service has to be loaded anew", "service", path[0]+"/"+path[1], "err", err)
	case !again:
		s.c.opts.Logger.Error("a service cannot be used until the server can load it; the others go on",
			"service", path[0]+"/"+path[1], "id", s.id, "err", err)
	}
	time.AfterFunc(wait, func() {
		if s.is(wanted) || s.is(failed) {
			_, _ = s.startLoading() // fetch says what comes of it
		}
	})
}

// soundLocked notes that the service can be used.
func (s *Service) soundLocked() {
	f := &s.failure
	if f.err != nil {
		s.c.opts.Logger.Info("a service can be used again", "id", s.id)
	}
	f.err, f.sound = nil, time.Now()
}
