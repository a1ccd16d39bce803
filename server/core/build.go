package core

import (
	"encoding/hex"
	"sync/atomic"
	"time"

	"github.com/commy-project/commyfs/memfile"
	"github.com/commy-project/commyfs/model"
)

// A memory file is made when a client asks where it is, and kept while one that has asked is there. It is built from a
// frozen copy of the service, beside the committer, and then brought up to date by it.

// maxBuilds is how many are built at a time: each takes a descriptor meanwhile.
const maxBuilds = 8

// build is a memory file that is being made. It is the committer's own but for done.
type build struct {
	nodes   frozen
	changes []func(*memfile.Writer) (rotated bool, err error)
	again   bool        // names have changed that changes does not have
	stale   atomic.Bool // things have come and gone that changes does not have: nobody needs the file
	done    chan struct{}
}

// newBuild begins one.
func (c *content) newBuild() *build {
	c.building = &build{done: make(chan struct{})}
	c.building.begin(c)
	return c.building
}

// begin has the file be built of what there is now.
func (b *build) begin(c *content) {
	b.nodes, b.changes, b.again = c.nodes.freeze(), nil, false
	b.stale.Store(false)
	c.free = nil // which the file has itself
}

// Ask has a service keep its memory file for the session, until that ends or no longer watches. It returns where the file
// is, nil if [Session.MemoryFile] has to make it.
func (s *Session) Ask(service uint64) (*model.MemoryFile, error) {
	svc, err := s.readable(service)
	if err != nil {
		return nil, err
	}
	svc.watchMu.Lock()
	defer svc.watchMu.Unlock()
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	if s.feed.closed {
		return nil, model.ErrUnavailable
	}
	s.feed.asked[service] = svc
	svc.askers.add(s)
	if c := svc.content.Load(); c != nil {
		return c.file.Load(), nil
	}
	return nil, nil
}

// MemoryFile tells where a service's memory file is, and makes it if there is none.
func (s *Session) MemoryFile(service uint64) (*model.MemoryFile, error) {
	svc, err := s.readable(service)
	if err != nil {
		return nil, err
	}
	return s.core.memoryFile(svc)
}

// unask is the end of Ask.
func (s *Session) unask(id uint64) {
	s.feed.mu.Lock()
	svc := s.feed.asked[id]
	delete(s.feed.asked, id)
	s.feed.mu.Unlock()
	if svc != nil {
		svc.unask(s)
	}
}

func (svc *service) unask(s *Session) {
	svc.unasked.Store(time.Now().UnixNano())
	svc.watchMu.Lock()
	delete(svc.askers, s)
	svc.watchMu.Unlock()
}

var errNoMemory = &model.Error{Code: model.CodeUnavailable, Message: "the service has no memory file now"}

// memoryFile tells where a service's memory file is, and makes it if there is none. Not for the committer.
func (s *Core) memoryFile(svc *service) (*model.MemoryFile, error) {
	if err := s.load(s.ctx, svc); err != nil {
		return nil, err
	}
	if c := svc.content.Load(); c != nil {
		if f := c.file.Load(); f != nil {
			return f, nil
		}
	}
	var c *content
	var b *build
	mine := false
	err := s.between(func() {
		if c = svc.content.Load(); c == nil || s.view.services[svc.id] != svc || c.mem != nil {
			return
		}
		if mine = c.building == nil; mine {
			c.newBuild()
		}
		b = c.building
	})
	switch {
	case err != nil:
		return nil, err
	case mine:
		err = s.buildMemory(svc, c, b)
	case b != nil:
		<-b.done
	}
	if err != nil {
		return nil, err
	}
	if c != nil {
		if f := c.file.Load(); f != nil {
			return f, nil
		}
	}
	return nil, errNoMemory
}

// buildMemory makes the file and puts it in its place.
func (s *Core) buildMemory(svc *service, c *content, b *build) error {
	defer close(b.done)
	o := memfile.WriterOptions{Service: svc.id}
	if id, err := hex.DecodeString(s.engine.StoreID()); err == nil {
		copy(o.Store[:], id)
	}
	s.builds <- struct{}{}
	var mem *memfile.Writer
	var err, closed error
	for stale := true; stale; {
		mem, err = memfile.Build(memoryPath(s.dir, svc.id), o, b.initials(&svc.steps))
		closed = s.between(func() {
			gone := svc.content.Load() != c || s.view.services[svc.id] != svc
			if stale = b.stale.Load() && err == nil && !gone; stale {
				b.begin(c)
				return
			}
			c.building = nil
			if err == nil && gone {
				err = errNoMemory
			}
			if err == nil {
				err = c.install(mem, b.changes)
			}
			if err == nil && b.again {
				s.rebuildMemory(svc, c)
			}
		})
		if stale = stale && closed == nil; stale {
			_ = mem.Abandon()
		}
	}
	<-s.builds
	if closed != nil {
		err = closed
	}
	if err == nil {
		return nil
	}
	if mem != nil {
		_ = mem.Abandon()
	}
	if closed == nil && err != errNoMemory {
		s.noMemory(svc, err)
	}
	return errNoMemory
}

// install makes mem the memory file of the content, when what has changed since it was begun is in it. The committer
// calls it.
func (c *content) install(mem *memfile.Writer, changes []func(*memfile.Writer) (bool, error)) error {
	mem.Extend(c.high)
	for _, change := range changes {
		if _, err := change(mem); err != nil {
			return err
		}
	}
	mem.FreeReserved()
	if err := mem.SetNamed(uint64(c.named)); err != nil {
		return err
	}
	if err := mem.Install(); err != nil {
		return err
	}
	if old := c.mem; old != nil { // its names are old, and unmapping it takes a while
		go func() { _ = old.Abandon() }()
	}
	c.mem, c.landing, c.sparse = mem, false, false
	c.file.Store(&model.MemoryFile{Path: mem.Path(), Generation: mem.Generation()})
	return nil
}
