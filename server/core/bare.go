package core

import (
	"context"
	"encoding/hex"
	"fmt"
	"path/filepath"

	"github.com/commy-project/commyfs/bare"
	"github.com/commy-project/commyfs/engine"
	"github.com/commy-project/commyfs/model"
)

// A bare service is a file of bytes, and its registered variables lie in it. Their values are in the store like all others,
// so that they have an order, versions and watchers. The file is the truth nevertheless: what programs store into it without
// a word is found (package bare), and becomes a value here.
//
// A change is stored first, then written into the file. The server may die in between, and programs go on storing into the
// file meanwhile. So when a service is loaded, each variable whose value is not what the file has is one of two: the file is
// behind, if the value was stored after the last change that is known to be in the file, was not itself found there, and nobody has
// stored into it since; else the file is ahead.

// barePath is the directory of the files, beside the store.
func barePath(store string) string { return filepath.Join(filepath.Dir(store), "bare") }

func (s *Core) openBare(o engine.Options) (err error) {
	b := bare.Options{Path: barePath(o.Dir), Logger: s.log, Opened: s.bareOpened}
	if id, err := hex.DecodeString(s.engine.StoreID()); err == nil {
		copy(b.Store[:], id)
	}
	s.bare, err = bare.OpenDir(b)
	return err
}

// lookAtBare loads all bare services, one after the other: there may be stores in their files from when there was no server.
func (s *Core) lookAtBare() {
	v := s.view
	v.mu.RLock()
	var list []*service
	for _, svc := range v.services {
		if svc.bare != 0 {
			list = append(list, svc)
		}
	}
	v.mu.RUnlock()
	for _, svc := range list {
		s.mu.Lock()
		closing := s.closing
		s.mu.Unlock()
		if closing || s.load(s.ctx, svc) != nil { // it is logged
			continue
		}
		if _, f := svc.bareFile(); f != nil && f.Quiet() {
			svc.used.Store(0) // nobody has to wait for all of them to be let go of
		}
	}
}

// bareOpened loads a service whose file somebody has opened to store into it.
func (s *Core) bareOpened(service uint64) {
	s.view.mu.RLock()
	svc := s.view.services[service]
	s.view.mu.RUnlock()
	if svc != nil && svc.isBare(s.view) {
		_ = s.load(s.ctx, svc) // it is logged
	}
}

func (svc *service) isBare(v *view) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return svc.bare != 0
}

// bareOwner is told what is found in the file of a service.
type bareOwner struct {
	core *Core
	svc  *service
	file *bare.File // set before it is started
}

var _ bare.Owner = (*bareOwner)(nil)

// Found implements [bare.Owner].
func (o *bareOwner) Found(list []bare.Found) {
	o.svc.use()
	o.core.finds.add(o, list)
}

// Stored implements [bare.Owner]. Who watches the service on this host is told: the others cannot have the bytes.
func (o *bareOwner) Stored() {
	o.svc.use()
	var t touched
	o.svc.watchMu.Lock()
	for w := range o.svc.watches {
		if w.session.Local {
			w.session.feed.storedInto(o.svc.id)
			t.add(w.session)
		}
	}
	o.svc.watchMu.Unlock()
	t.wake()
}

// Broken implements [bare.Owner].
func (o *bareOwner) Broken(err error) {
	o.core.bareLog.do(func(more int) {
		o.core.log.Error("the file of a bare service was damaged, and mended as far as that goes", "service", o.svc.id, "err", err, "not logged since", more)
	})
}

// attachBare opens the file of a bare service that is being loaded, and finds out what in it is behind the store, or ahead.
func (s *Core) attachBare(ctx context.Context, svc *service, c *content) error {
	s.view.mu.RLock()
	size := svc.bare
	s.view.mu.RUnlock()
	if size == 0 {
		return nil
	}
	list, revs, err := s.engine.LoadLayouts(ctx, svc.id)
	if err != nil {
		return err
	}
	states := make([]layoutState, len(list))
	for i, l := range list {
		at := &model.Layout{Off: l.Off, Size: l.Size, Type: model.Type(l.Type), BigEndian: l.BigEndian}
		if err := at.Check(size); err != nil {
			return fmt.Errorf("%w: variable %d: %w", engine.ErrCorrupt, l.ID, err)
		}
		states[i] = layoutState{l.ID, at}
	}
	c.layouts.apply(states)
	s.openBareFile(svc, c, size, revs)
	return nil
}

// openBareFile opens the file of a bare service. Without one the service goes on: what is stored meanwhile is written into the
// file when it can be had.
func (s *Core) openBareFile(svc *service, c *content, size int64, revs map[string]int64) {
	o := &bareOwner{core: s, svc: svc}
	f, err := s.bare.Open(svc.id, size, o)
	o.file = f
	if err == nil {
		if err = s.reconcile(f, c, revs); err != nil {
			f.Close()
		}
	}
	if err != nil {
		s.noBare(svc, err)
		return
	}
	c.bare.Store(f)
}

func (s *Core) noBare(svc *service, err error) {
	s.bareLog.do(func(more int) {
		s.log.Error("the file of a bare service cannot be had", "service", svc.id, "err", err, "not logged since", more)
	})
}

// reconcile brings a file that has just been opened, and what is known of it, together with the values of its variables.
func (s *Core) reconcile(f *bare.File, c *content, revs map[string]int64) error {
	st := f.State()
	written := st.Synced
	if st.SameBoot {
		written = st.Applied
	}
	w := c.nodes.freeze().from(nodeKey{})
	for {
		it, ok := w.next()
		if !ok {
			break
		}
		l := (*model.Layout)(nil)
		if it.v != nil {
			l = c.layouts.get(it.v.id)
		}
		if l == nil {
			continue
		}
		v := it.v
		at := bareVariable(v, l)
		memory := make([]byte, l.Size)
		if err := f.Load(memory, l.Off); err != nil {
			return err
		}
		if string(l.Value(memory)) == string(v.data()) {
			if err := f.Track(at, memory); err != nil {
				return err
			}
			continue
		}
		stored, err := l.Memory(v.data(), memory)
		if err != nil {
			return fmt.Errorf("%w: variable %d: %w", engine.ErrCorrupt, v.id, err)
		}
		behind := revs[v.dir.stored(v.name)] > written && !(st.SameBoot && v.kind == kindFound) && !f.Newer(at, memory)
		if l.End() > st.Kept || behind {
			if err := f.Track(at, memory); err != nil {
				return err
			}
			err = f.Put(at, stored)
		} else {
			err = f.Track(at, stored)
		}
		if err != nil {
			return err
		}
	}
	s.view.mu.RLock()
	rev := s.view.rev
	s.view.mu.RUnlock()
	f.Applied(rev)
	return nil
}

// bareFile is what is loaded of a bare service, and its file; nil without one.
func (svc *service) bareFile() (*content, *bare.File) {
	c := svc.content.Load()
	if c == nil {
		return nil, nil
	}
	return c, c.bare.Load()
}
