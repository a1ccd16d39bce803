package core

import (
	"context"
	"time"

	"github.com/commy-project/commyfs/memfile"
	"github.com/commy-project/commyfs/model"
)

// load brings a service's content into memory, once. Nothing changes the content of a service that is not loaded, so
// what is read is current whenever it is read.
func (s *Core) load(ctx context.Context, svc *service) error {
	svc.use()
	if svc.content.Load() != nil {
		return nil
	}
	svc.loading.Lock()
	defer svc.loading.Unlock()
	if svc.content.Load() != nil {
		return nil
	}
	before := svc.failed.Load()
	if before != nil && time.Since(before.at) < retryLoad {
		return before.err
	}
	c := newContent(svc)
	c.log.since = svc.since.Load()
	// Whoever knows the names from before may not know of the last changes of them.
	s.view.mu.RLock()
	c.named = s.view.rev
	s.view.mu.RUnlock()
	if s.loading != nil {
		s.loading(svc.id, func() { svc.steps.Add(1) })
	}
	floor, _, err := s.engine.LoadService(ctx, svc.id, newFiller(s, c))
	if err != nil {
		return s.notLoaded(svc, c, before, err)
	}
	if err := s.attachBare(ctx, svc, c); err != nil {
		return s.notLoaded(svc, c, before, err)
	}
	svc.failed.Store(nil)
	c.floor = floor
	// A server that was killed leaves a file that looks alive. From now on there can be changes that are not in it.
	memfile.Supersede(memoryPath(s.dir, svc.id))
	s.view.mu.Lock()
	defer s.view.mu.Unlock()
	svc.content.Store(c)
	if s.view.services[svc.id] == svc {
		s.view.addLoaded(svc)
	}
	if f := c.bare.Load(); f != nil {
		f.Start()
	}
	return nil
}

// retryLoad is how long a service that could not be loaded is not tried again: to find out can take as long as to load it.
const retryLoad = time.Second

// loadFailure is why a service could not be loaded the last time.
type loadFailure struct {
	err  error // for clients
	text string
	at   time.Time
}

// notLoaded gives up a load. A service with a record that cannot be read, say, fails for who wants it, and is logged when
// that begins; the committer does not try it.
func (s *Core) notLoaded(svc *service, c *content, before *loadFailure, err error) error {
	s.view.forget(c.nodes.freeze())
	f := &loadFailure{fromEngine(err), err.Error(), time.Now()}
	if before == nil || before.text != f.text {
		s.log.Error("load service", "service", svc.id, "err", err)
	}
	if model.CodeOf(f.err) == model.CodeInternal {
		svc.failed.Store(f)
	}
	return f.err
}

// errLetGo is what a session says that comes to a service the moment after it was let go. Its client tries again.
var errLetGo = &model.Error{Code: model.CodeUnavailable, Message: "the service is not in memory"}
