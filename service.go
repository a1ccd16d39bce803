package commyfs

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// Service is a name for a service, whether it exists or not.
type Service struct {
	c            *Client
	tenant, name string
}

// Path returns where the service is.
func (s *Service) Path() Path { return s.path("") }

func (s *Service) path(name string) Path { return Path{s.tenant, s.name, name} }

// Get returns a variable with a value of the caller's own.
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

// Stat describes a variable or directory; without a name the service itself.
func (s *Service) Stat(ctx context.Context, name string) (Info, error) {
	if name == "" {
		return s.c.find(ctx, Path{Tenant: s.tenant}, s.Path())
	}
	v, err := s.read(ctx, name, true)
	if errors.Is(err, ErrIsDirectory) {
		at := s.Path()
		if i := strings.LastIndexByte(name, '/'); i >= 0 {
			at.Name = name[:i]
		}
		return s.c.find(ctx, at, s.path(name))
	}
	if err != nil {
		return Info{}, err
	}
	return s.infoOf(v), nil
}

func (s *Service) read(ctx context.Context, name string, stat bool) (*model.Variable, error) {
	v, err := s.c.sync.Read(ctx, &model.Read{Tenant: s.tenant, Service: s.name, Name: name, Stat: stat})
	return v, s.c.failed(err)
}

func (s *Service) infoOf(v *model.Variable) Info {
	return Info{Path: s.path(v.Name), ID: v.ID, Version: v.Version, Time: timeOf(v.MTime), Writer: v.Writer,
		Size: v.Size, Mode: v.Mode}
}

// Load is Get with a value in the memory of dst, which is grown if need be. It makes the client follow the service, which
// waits for the server the first time; then it waits for nothing, and allocates nothing if dst is large enough.
func (s *Service) Load(ctx context.Context, name string, dst []byte) (Entry, error) {
	n, err := s.follow(ctx)
	if err != nil {
		return Entry{}, err
	}
	return s.load(ctx, n, name, dst)
}

// View is Load with a value that fn may read until it returns, and must not modify or keep. Where the copy is in this
// process's own memory, nothing is copied.
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
	if n.Local() {
		*buf = roomFor(v, *buf)
	}
	e, _, err := s.loadVariable(v, name, *buf)
	if err != nil {
		return err
	}
	return fn(e)
}

// buffers hold the values that View copies.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// followed returns the copy of the service, nil if there is none yet.
func (s *Service) followed() *varsync.Service {
	if t := s.c.sync.Tenant(s.tenant); t != nil {
		if n := t.Service(s.name); n != nil && n.Watched() {
			return n
		}
	}
	return nil
}

// follow returns the copy of the service, making it if there is none.
func (s *Service) follow(ctx context.Context) (*varsync.Service, error) {
	if n := s.followed(); n != nil {
		return n, nil
	}
	if err := s.c.sync.WatchTree(ctx); err != nil {
		return nil, s.c.failed(err)
	}
	t := s.c.sync.Tenant(s.tenant)
	if t == nil {
		return nil, ErrNotFound
	}
	n := t.Service(s.name)
	if n == nil {
		return nil, ErrNotFound
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
	dst = roomFor(v, dst)
	e, shared, err := s.loadVariable(v, name, dst)
	if shared {
		e.Value = append(dst[:0], e.Value...)
	}
	return e, err
}

// variable finds a variable in the copy. A name that another client on this host was told is stored can be on its way.
func (s *Service) variable(ctx context.Context, n *varsync.Service, name string) (*varsync.Variable, error) {
	v, err := n.Variable(ctx, name)
	if errors.Is(err, ErrNotFound) && n.Names() == varsync.NamesBehind && s.c.sync.Barrier(ctx) {
		v, err = n.Variable(ctx, name)
	}
	return v, s.c.failed(err)
}

// roomFor returns dst, or memory that is large enough for the value, as far as one can tell.
func roomFor(v *varsync.Variable, dst []byte) []byte {
	if size := v.Meta().Size; int64(cap(dst)) < size {
		return make([]byte, 0, size)
	}
	return dst
}

// loadVariable loads into the memory of dst, or else says that others share the value.
func (s *Service) loadVariable(v *varsync.Variable, name string, dst []byte) (e Entry, shared bool, err error) {
	data, meta, err := v.Load(dst)
	if err != nil {
		return Entry{}, false, s.c.failed(err)
	}
	known, writer := v.Meta(), v.Writer()
	e = Entry{Info{Path: s.path(name), ID: v.ID(), Version: meta.Version, Time: timeOf(meta.MTime), Size: meta.Size,
		Mode: v.Mode()}, data}
	if known.Version == meta.Version {
		e.Writer = writer
	}
	return e, !within(data, dst), nil
}

// within reports whether data is in the memory of dst.
func within(data, dst []byte) bool {
	return len(data) == 0 || cap(dst) > 0 && &data[0] == &dst[:1][0]
}
