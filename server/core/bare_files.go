package core

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/model"
)

// sayBareStrays logs which files there are of services that are not in the store: whoever removed one may have died before its
// files went. Or the store is an older one than the files, so they are for somebody to look at.
func (s *Core) sayBareStrays() {
	list, err := s.bare.Services()
	if err != nil {
		s.log.Warn("list the files of bare services", "err", err)
		return
	}
	list = slices.DeleteFunc(list, func(id uint64) bool { return s.view.services[id] != nil })
	if len(list) > 0 {
		s.log.Warn("there are files of bare services that the store does not have; remove them if nobody needs them",
			"services", list)
	}
}

// removeBare removes the files of a service that is gone.
func (s *Core) removeBare(svc *service) {
	if svc.bare == 0 {
		return
	}
	if c := svc.content.Load(); c != nil {
		c.closeBare()
	}
	if err := s.bare.Remove(svc.id); err != nil {
		s.log.Warn("remove the file of a bare service", "service", svc.id, "err", err)
	}
}

// checkBare opens the file of a loaded bare service again, if it could not be had before. The committer calls it, and does not
// wait for the disk; it goes on with the file, and has to wait for what is read then: so it is tried less and less often.
func (s *Core) checkBare(svc *service, c *content) {
	size := svc.bare
	if size == 0 {
		return
	}
	if c.bare.Load() != nil {
		c.bareTries = 0
		return
	}
	if since(c.bareTried) < min(retryLoad<<c.bareTries, time.Minute) || !c.opening.CompareAndSwap(false, true) {
		return
	}
	c.bareTried = time.Now().UnixNano()
	c.bareTries = min(c.bareTries+1, 6)
	s.wg.Go(func() {
		defer c.opening.Store(false)
		o := &bareOwner{core: s, svc: svc}
		f, err := s.bare.Open(svc.id, size, o)
		if err != nil {
			s.noBare(svc, err)
			return
		}
		o.file = f
		if err := s.between(func() { s.checkedBare(svc, c, size, o) }); err != nil { // the core closes
			f.Close()
		}
	})
}

// checkedBare goes on with a file that was opened again. The committer calls it.
func (s *Core) checkedBare(svc *service, c *content, size int64, o *bareOwner) {
	if svc.content.Load() != c || svc.bare != size || c.bare.Load() != nil || s.view.services[svc.id] != svc {
		o.file.Close()
		return
	}
	_, revs, err := s.engine.LoadLayouts(s.ctx, svc.id)
	if err == nil {
		err = s.reconcile(o.file, c, revs)
	}
	if err != nil {
		o.file.Close()
		s.noBare(svc, err)
		return
	}
	c.bare.Store(o.file)
	o.file.Start()
}

func (c *content) closeBare() {
	if f := c.bare.Swap(nil); f != nil {
		f.Close()
	}
}

// BareFile tells where the file of a bare service is.
func (s *Session) BareFile(service uint64) (*model.MemoryFile, error) {
	svc, err := s.readable(service)
	if err != nil {
		return nil, err
	}
	if err := s.core.load(s.core.ctx, svc); err != nil {
		return nil, err
	}
	v := s.core.view
	v.mu.RLock()
	defer v.mu.RUnlock()
	if svc.bare == 0 {
		return nil, errNamed
	}
	_, f := svc.bareFile()
	if f == nil {
		return nil, errNoMemory
	}
	path, bell := f.Paths()
	return &model.MemoryFile{
		Path: path, Bell: bell, Size: svc.bare, Write: s.auth.Need(s.Principal, svc.tenant.name, model.RightWrite) == nil,
	}, nil
}

// OpenBare opens the file of a bare service, and its bell, for somebody on this host: to read, or also to write.
func (s *Core) OpenBare(who model.Principal, service uint64, write bool) ([]*os.File, error) {
	need := model.RightRead
	if write {
		need |= model.RightWrite
	}
	v := s.view
	v.mu.RLock()
	svc := v.services[service]
	err := error(model.ErrNotFound)
	if svc != nil {
		err = s.auth.Need(who, svc.tenant.name, need)
	}
	v.mu.RUnlock()
	if err == nil {
		err = s.load(s.ctx, svc)
	}
	if err != nil {
		return nil, err
	}
	v.mu.RLock()
	defer v.mu.RUnlock()
	if svc.bare == 0 {
		return nil, errNamed
	}
	_, f := svc.bareFile()
	if f == nil {
		return nil, errNoMemory
	}
	memory, bell, err := f.Handle(write)
	if err != nil {
		return nil, fromBare(err)
	}
	return []*os.File{memory, bell}, nil
}

// fromBare puts an error of package bare into the protocol's words.
func fromBare(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return model.ErrNoSpace
	}
	return fmt.Errorf("%w: %w", model.ErrInternal, err)
}

// closeAllBare closes the files of all bare services.
func (s *Core) closeAllBare() error {
	for _, svc := range s.view.services {
		if c := svc.content.Load(); c != nil {
			c.closeBare()
		}
	}
	return s.bare.Close()
}
