package commyfs

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// Service is a handle for a service, which need not exist.
type Service struct {
	c            *Client
	tenant, name string
	near         atomic.Pointer[near]
}

// near is where the names of a service have led.
type near struct {
	node  *varsync.Service
	steps uint64
}

// Path returns the path of the service.
func (s *Service) Path() Path { return s.path("") }

func (s *Service) path(name string) Path { return Path{s.tenant, s.name, name} }

// Get returns a variable.
func (s *Service) Get(ctx context.Context, name string) (Entry, error) {
	if n := s.followed(); n != nil {
		return s.load(ctx, n, name, nil)
	}
	v, err := s.read(ctx, name, false)
	if err != nil {
		return Entry{}, err
	}
	return Entry{s.infoOf(v), slices.Clip(v.Data)}, nil
}

// Stat describes a variable or directory; the empty name is the service itself.
func (s *Service) Stat(ctx context.Context, name string) (Info, error) {
	if name == "" {
		return s.c.find(ctx, Path{Tenant: s.tenant}, s.Path())
	}
	info, err := s.stat(ctx, name)
	if errors.Is(err, ErrIsDirectory) {
		at := s.Path()
		if i := strings.LastIndexByte(name, '/'); i >= 0 {
			at.Name = name[:i]
		}
		return s.c.find(ctx, at, s.path(name))
	}
	return info, err
}

// stat is Stat for a variable.
func (s *Service) stat(ctx context.Context, name string) (Info, error) {
	if n := s.followed(); n != nil {
		v, err := s.variable(ctx, n, name)
		if err != nil {
			return Info{}, err
		}
		e := v.Describe()
		return currentInfo(&e, v), nil
	}
	v, err := s.read(ctx, name, true)
	if err != nil {
		return Info{}, err
	}
	return s.infoOf(v), nil
}

// currentInfo is infoOf for an entry of the copy. Shared memory can be ahead of the entry.
func currentInfo(e *model.Entry, v *varsync.Variable) Info {
	if now := v.Current(); now.Version > e.Version {
		e.Version, e.MTime, e.Size, e.Writer = now.Version, now.MTime, now.Size, ""
	}
	return infoOf(e)
}

func (s *Service) read(ctx context.Context, name string, stat bool) (*model.Variable, error) {
	v, err := s.c.sync.Read(ctx, &model.Read{Tenant: s.tenant, Service: s.name, Name: name, Stat: stat})
	return v, s.c.failed(err)
}

func (s *Service) infoOf(v *model.Variable) Info {
	return Info{Tenant: s.tenant, Service: s.name, Name: v.Name, ID: v.ID, Version: v.Version, Time: timeOf(v.MTime), Writer: v.Writer,
		Size: v.Size, Mode: v.Mode}
}

// Load is like Get, but makes the client follow the service, and stores the value in dst if it is large enough. While the
// service is followed, it neither waits for the network nor, if dst is large enough, allocates memory.
func (s *Service) Load(ctx context.Context, name string, dst []byte) (Entry, error) {
	if n := s.node(); n != nil {
		if v := n.Known(name); v != nil {
			return s.loadFrom(v, name, dst)
		}
	}
	n, err := s.follow(ctx)
	if err != nil {
		return Entry{}, err
	}
	return s.load(ctx, n, name, dst)
}

// View is like Load, but lends the value to fn, which must neither modify nor keep it, and copies nothing. A value in shared
// memory (see [Options.NoMap]) can change while fn runs. Then fn is called again, and what it returned before is ignored: its last
// call has seen a whole value.
func (s *Service) View(ctx context.Context, name string, fn func(Entry) error) error {
	n, err := s.follow(ctx)
	if err != nil {
		return err
	}
	v, err := s.variable(ctx, n, name)
	if err != nil {
		return err
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	called := false
	err = v.View(*buf, func(data []byte, m varsync.Meta) error {
		called = true
		e := entryOf(v, data, m)
		e.setPath(s.path(name))
		return fn(e)
	})
	if err != nil && !called {
		err = s.c.failed(err)
	}
	return err
}

// buffers are for values that have to be copied.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// node returns the service in the tree of the copy, nil if it is not there.
func (s *Service) node() *varsync.Service {
	steps := s.c.sync.TreeSteps() // before the tree is looked at: it goes on
	if at := s.near.Load(); at != nil && at.steps == steps {
		return at.node
	}
	if t := s.c.sync.Tenant(s.tenant); t != nil {
		if n := t.Service(s.name); n != nil {
			s.near.Store(&near{n, steps})
			return n
		}
	}
	return nil
}

// followed returns the copy of the service, nil if it is not followed.
func (s *Service) followed() *varsync.Service {
	if n := s.node(); n != nil && n.Watched() {
		return n
	}
	return nil
}

// follow returns the copy of the service, and begins to follow it if need be. If another client on this host has just
// created the service, the copy may not have it yet.
func (s *Service) follow(ctx context.Context) (*varsync.Service, error) {
	if n := s.followed(); n != nil {
		return n, nil
	}
	if err := s.c.sync.WatchTree(ctx); err != nil {
		return nil, s.c.failed(err)
	}
	n := s.node()
	if n == nil && s.c.sync.Barrier(ctx) {
		n = s.node()
	}
	if n == nil {
		return nil, s.c.failed(ErrNotFound)
	}
	if _, err := n.Root(ctx); err != nil {
		return nil, s.c.failed(err)
	}
	return n, nil
}

func (s *Service) load(ctx context.Context, n *varsync.Service, name string, dst []byte) (Entry, error) {
	v, err := s.variable(ctx, n, name)
	if err != nil {
		return Entry{}, err
	}
	return s.loadFrom(v, name, dst)
}

func (s *Service) loadFrom(v *varsync.Variable, name string, dst []byte) (Entry, error) {
	e, err := load(v, dst)
	if err != nil {
		err = s.c.failed(err)
	}
	e.Tenant, e.Service, e.Name = s.tenant, s.name, name
	return e, err
}

// variable finds a variable in the copy. If another client on this host has just created, deleted or renamed variables, the
// copy may not have that yet.
func (s *Service) variable(ctx context.Context, n *varsync.Service, name string) (*varsync.Variable, error) {
	behind := n.Names() == varsync.NamesBehind // before the copy is looked at: it goes on
	v, err := n.Variable(ctx, name)
	if behind && (err != nil || !v.StillNamed() || v.Name() != name) && s.c.sync.Barrier(ctx) {
		v, err = n.Variable(ctx, name)
	}
	return v, s.c.failed(err)
}

// load loads a value into dst, or into a new buffer. It does not set the path.
func load(v *varsync.Variable, dst []byte) (Entry, error) {
	dst = roomFor(v, dst)
	e, shared, err := loadShared(v, dst)
	if shared {
		e.Value = append(dst[:0], e.Value...)
	}
	if e.Value == nil && err == nil {
		e.Value = []byte{}
	}
	return e, err
}

// roomFor returns dst, or a new buffer if the current value does not fit.
func roomFor(v *varsync.Variable, dst []byte) []byte {
	if size := v.Meta().Size; int64(cap(dst)) < size {
		return make([]byte, 0, size)
	}
	return dst
}

// loadShared is load, except that the value may be memory that others share.
func loadShared(v *varsync.Variable, dst []byte) (e Entry, shared bool, err error) {
	data, meta, err := v.LoadStored(dst)
	if err != nil {
		return Entry{}, false, err
	}
	return entryOf(v, data, meta), len(data) > 0 && (cap(dst) == 0 || &data[0] != &dst[:1][0]), nil
}

func entryOf(v *varsync.Variable, data []byte, meta varsync.Meta) Entry {
	known := v.Known()
	e := Entry{Info{ID: v.ID(), Version: meta.Version, Time: timeOf(meta.MTime), Size: meta.Size, Mode: known.Mode}, data}
	if known.Version == meta.Version {
		e.Writer = known.Writer
	}
	return e
}
