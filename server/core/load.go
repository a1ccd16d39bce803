package core

import (
	"context"
	"fmt"
	"time"
	"unique"

	"github.com/commy-project/commyfs/engine"
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
	c := newContent()
	c.log.since = svc.since.Load()
	// Whoever knows the names from before may not know of the last changes of them.
	s.view.mu.RLock()
	c.named = s.view.rev
	s.view.mu.RUnlock()
	f := newFiller(c)
	if s.loading != nil {
		s.loading(svc.id, func() { svc.steps.Add(1) })
	}
	var writer unique.Handle[string]
	floor, _, err := s.engine.LoadService(ctx, svc.id, func(p engine.Page) error {
		svc.steps.Add(1)
		for i := range p.Dirs {
			e := &p.Dirs[i]
			f.add(node{d: &dir{info: &dirInfo{id: e.ID, name: e.Name, meta: meta{e.MTime, model.Mode(e.Mode)}}}})
		}
		vars := make([]*variable, len(p.Variables))
		for i := range p.Variables {
			e := &p.Variables[i]
			if i == 0 || e.Writer != p.Variables[i-1].Writer {
				writer = unique.Make(e.Writer)
			}
			vars[i] = &variable{
				id: e.ID, version: e.Version, mtime: e.MTime, mode: model.Mode(e.Mode), service: svc, name: e.Name, writer: writer,
				value: newValue(e.Data), slot: c.high, kind: e.Type,
			}
			f.add(node{v: vars[i]})
			c.high++
		}
		for _, i := range p.InPieces {
			vars[i].pieced = true
		}
		s.damagedValues(svc, c, p.Damaged)
		s.view.remember(vars)
		return nil
	})
	if orphan := f.done(); err == nil && orphan != "" {
		err = fmt.Errorf("directory %q of service %d is not there, and something is in it", orphan, svc.id)
	}
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

// filler puts much into an empty content: directories, and variables, each in the order of their paths.
type filler struct {
	*content
	counts map[string]int // of what is in the directories so far
	// parent is the directory that the last one was put into, and count of what more is in it.
	parent string
	count  int
}

func newFiller(c *content) *filler { return &filler{content: c, counts: map[string]int{}} }

func (f *filler) add(n node) {
	path := n.path()
	f.nodes.set(path, n)
	if in := parentOf(path); in != f.parent {
		f.turn(in)
	}
	f.count++
}

func (f *filler) turn(parent string) {
	f.counts[f.parent] += f.count
	f.parent, f.count = parent, 0
}

// done counts what is in the directories. It returns one that is not there although something is in it, if there is any.
func (f *filler) done() (orphan string) {
	f.turn("")
	for path, n := range f.counts {
		if f.dir(path) == nil && n > 0 {
			orphan = path
		}
		f.content.count(path, n)
	}
	return orphan
}
