package core

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
	"unique"

	"golang.org/x/sys/unix"

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
// behind, if the value was stored after the last change that is known to be in the file, and was not itself found there; else
// the file is ahead.

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

// Stored implements [bare.Owner]. Nobody watches bytes that no variable has.
func (o *bareOwner) Stored() { o.svc.use() }

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
			_ = f.Close()
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
	w := c.nodes.freeze().from("")
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
		behind := revs[v.name] > written && !(st.SameBoot && v.kind == kindFound)
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

func bareVariable(v *variable, l *model.Layout) bare.Variable {
	return bare.Variable{ID: v.id, Off: l.Off, Size: l.Size, Version: v.version}
}

// writeBare brings the files of bare services to where the delta leads. It comes before the view is changed.
func (s *Core) writeBare(d *delta) {
	for _, st := range d.services {
		svc := st.service
		if svc == nil || d.bares[svc.id] == 0 || s.view.services[svc.id] != nil {
			continue
		}
		c := svc.content.Load()
		s.openBareFile(svc, c, d.bares[svc.id], nil)
		if f := c.bare.Load(); f != nil {
			f.Start()
		}
	}
	resize := func(longer bool) {
		for id, size := range d.bares {
			svc := s.view.services[id]
			if svc == nil || size == 0 || size > svc.bare != longer {
				continue
			}
			if c, f := svc.bareFile(); f != nil {
				s.wroteBare(svc, c, f.Resize(size))
			}
		}
	}
	resize(true)        // there may be variables behind the old end
	defer resize(false) // and those behind the new one have to go first
	for id, in := range d.inside {
		if svc := s.serviceIn(d, id); svc != nil {
			if c, f := svc.bareFile(); f != nil {
				if s.wroteBare(svc, c, s.writeVariables(c, f, in, d.events)) {
					f.Applied(d.rev)
				}
			}
		}
	}
}

// serviceIn finds a service that is there, or that the delta makes.
func (s *Core) serviceIn(d *delta, id uint64) *service {
	if svc := s.view.services[id]; svc != nil {
		return svc
	}
	for _, st := range d.services {
		if st.service != nil && st.service.id == id {
			return st.service
		}
	}
	return nil
}

// wroteBare gives a file up that could not be written to. What it lacks is written when it is opened again.
func (s *Core) wroteBare(svc *service, c *content, err error) bool {
	if err != nil {
		s.noBare(svc, err)
		c.closeBare()
	}
	return err == nil
}

func (c *content) closeBare() {
	if f := c.bare.Swap(nil); f != nil {
		_ = f.Close()
	}
}

// bareFile is what is loaded of a bare service, and its file; nil without one.
func (svc *service) bareFile() (*content, *bare.File) {
	c := svc.content.Load()
	if c == nil {
		return nil, nil
	}
	return c, c.bare.Load()
}

// writeVariables writes what a delta has for a bare service into its file.
func (s *Core) writeVariables(c *content, f *bare.File, in *contentDelta, events []*event) error {
	layouts := map[uint64]*model.Layout{}
	for _, st := range in.layouts {
		layouts[st.id] = st.layout
		f.Forget(st.id)
	}
	var puts []*variable
	for _, st := range in.vars {
		v := st.variable
		if v == nil {
			continue
		}
		l, placed := layouts[v.id]
		was := s.view.byID.get(v.id)
		switch {
		case !placed && (c.layouts.get(v.id) == nil || was != nil && was.version == v.version): // another name or mode
		case v.kind != kindFound:
			puts = append(puts, v)
		case placed:
			memory, err := l.Memory(v.data(), nil)
			if err == nil {
				err = f.Track(bareVariable(v, l), memory)
			}
			if err != nil {
				return err
			}
		default:
			f.Took(v.id, v.version)
		}
	}
	// Now that all places are known: a put tells of what has bytes in common with it.
	inOrder(puts, events)
	for _, v := range puts {
		l := cmp.Or(layouts[v.id], c.layouts.get(v.id))
		memory, err := l.Memory(v.data(), nil)
		if err == nil {
			err = f.Put(bareVariable(v, l), memory)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// inOrder sorts variables as they were changed: they may have bytes in common.
func inOrder(list []*variable, events []*event) {
	if len(list) < 2 {
		return
	}
	order := map[uint64]int{}
	for i, ev := range events {
		if ev.kind == model.EventSet {
			order[ev.v.id] = i
		}
	}
	slices.SortFunc(list, func(a, b *variable) int { return cmp.Compare(order[a.id], order[b.id]) })
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

// checkBare opens the file of a loaded bare service again, if it could not be had before. The committer calls it.
func (s *Core) checkBare(svc *service, c *content) {
	if svc.bare == 0 || c.bare.Load() != nil {
		return
	}
	_, revs, err := s.engine.LoadLayouts(s.ctx, svc.id)
	if err != nil {
		s.noBare(svc, err)
		return
	}
	s.openBareFile(svc, c, svc.bare, revs)
	if f := c.bare.Load(); f != nil {
		f.Start()
	}
}

// closeBare closes the files of all bare services.
func (s *Core) closeBare() error {
	for _, svc := range s.view.services {
		if c := svc.content.Load(); c != nil {
			c.closeBare()
		}
	}
	return s.bare.Close()
}

// finds are what was found in the files of bare services and is not carried out yet.
type finds struct {
	mu   sync.Mutex // guards the following
	list []find
}

type find struct {
	*bareOwner
	bare.Found
}

func (f *finds) add(o *bareOwner, list []bare.Found) {
	f.mu.Lock()
	for _, v := range list {
		f.list = append(f.list, find{o, v})
	}
	f.mu.Unlock()
	o.core.queue.find(o.core.commitFound)
}

// commitFound makes values of what was found in files, as many as fit into a batch. A value that was stored since it was found
// wins: it has been written over what was found.
func (s *Core) commitFound() {
	s.finds.mu.Lock()
	list := s.finds.list
	s.finds.list = nil
	s.finds.mu.Unlock()
	rest := s.commitSome(list)
	if len(rest) == 0 {
		return
	}
	s.finds.mu.Lock()
	s.finds.list = append(rest, s.finds.list...)
	s.finds.mu.Unlock()
	s.queue.find(s.commitFound)
}

// commitSome commits as much as fits into a batch, and returns the rest.
func (s *Core) commitSome(list []find) (rest []find) {
	b := newBatch(s.view, max(time.Now().UnixNano(), s.lastTime))
	e := &evaluator{batch: b, ctx: s.ctx, limits: s.limits, auth: s.auth, kind: kindFound}
	e.Origin, e.writer = model.Origin{Principal: model.Itself}, foundWriter
	var taken []find
	for i, f := range list {
		if len(taken) > 0 && (b.bytes > maxBatchBytes || b.keys() > maxBatchKeys) {
			rest = list[i:]
			break
		}
		c, file := f.svc.bareFile()
		if file == nil || file != f.file || s.view.services[f.svc.id] != f.svc {
			continue
		}
		v, l := e.ids.get(f.ID), c.layouts.get(f.ID)
		if v == nil || l == nil || v.version != f.Version || int64(len(f.Data)) != l.Size {
			continue
		}
		if r := e.set(v, l.Value(f.Data), nil, &model.Change{}, false); r.Unchanged {
			file.Took(f.ID, v.version)
			continue
		}
		b.keep()
		taken = append(taken, f)
	}
	d, err := s.store(b, nil)
	if err != nil {
		b.abandon()
		for _, f := range taken {
			if _, file := f.svc.bareFile(); file != nil {
				file.Lost(f.ID)
			}
		}
		if errors.Is(err, engine.ErrClosed) {
			s.broken(err)
		}
		return rest
	}
	if !b.empty() {
		s.lastTime = b.now
		var t touched
		s.publish(d, &t)
		t.wake()
	}
	return rest
}

// foundWriter signs what was found.
var foundWriter = unique.Make("memory")

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
