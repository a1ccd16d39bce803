package commyfs

import (
	"context"

	"github.com/commy-project/commyfs/model"
)

// Layout is where a registered variable lies in the memory of its bare service, and what its bytes mean there.
type Layout = model.Layout

// Type is the type of a registered variable.
type Type = model.Type

// The types. The values of all but TypeRaw are text, as they are in a mount.
const (
	TypeRaw  = model.TypeRaw
	TypeText = model.TypeText
	TypeBool = model.TypeBool
	TypeU8   = model.TypeU8
	TypeU16  = model.TypeU16
	TypeU32  = model.TypeU32
	TypeU64  = model.TypeU64
	TypeI8   = model.TypeI8
	TypeI16  = model.TypeI16
	TypeI32  = model.TypeI32
	TypeI64  = model.TypeI64
	TypeF32  = model.TypeF32
	TypeF64  = model.TypeF64
)

// ParseType returns the type of a name: raw, text, bool, u8 to u64, i8 to i64, f32 or f64.
func ParseType(name string) (Type, error) { return model.ParseType(name) }

// CreateBare creates a bare service: size bytes of shared memory, all 0, rounded up to whole pages of 4,096. Programs on the
// server's host map its file, which [Service.Memory] finds; [Service.Register] makes parts of it variables.
func (s *Service) CreateBare(ctx context.Context, size int64) error {
	c := s.op(model.OpBare, "", nil)
	c.Size, c.Parents = size, true
	_, err := s.c.one(ctx, Op{c})
	return err
}

// Resize gives a bare service another size. It fails with [ErrConflict] if a registered variable lies behind the new end.
// Nothing moves: programs that have mapped the service see the bytes that they have mapped.
func (s *Service) Resize(ctx context.Context, size int64) error {
	c := s.op(model.OpResize, "", nil)
	c.Size = size
	_, err := s.c.one(ctx, Op{c})
	return err
}

// RegisterOptions say how [Service.Register] takes what is there.
type RegisterOptions struct {
	Overlap bool // the variable may have bytes in common with others
	Replace bool // a registered variable of that name is registered anew
}

// Register makes a part of a bare service's memory a variable, which has the value that the memory has there. It creates the
// directories of the name. It fails with [ErrConflict] if another variable has some of the bytes, and with [ErrExists] if
// there is a variable of that name with another layout.
func (s *Service) Register(ctx context.Context, name string, l Layout, o RegisterOptions) error {
	_, err := s.c.one(ctx, s.OpRegister(name, l, o))
	return err
}

// OpRegister is [Service.Register].
func (s *Service) OpRegister(name string, l Layout, o RegisterOptions) Op {
	c := s.op(model.OpRegister, name, nil)
	c.Layout, c.Overlap, c.NoReplace, c.Parents = &l, o.Overlap, !o.Replace, true
	return Op{c}
}

// Registered returns the layouts of a bare service's variables, by their names. It asks the server. [Service.Delete] is the
// end of [Service.Register]: the bytes stay as they are.
func (s *Service) Registered(ctx context.Context) (map[string]Layout, error) {
	layouts := map[string]Layout{}
	req := &model.List{Tenant: s.tenant, Service: s.name, Recursive: true}
	err := s.c.sync.List(ctx, req, func(page []model.Entry) error {
		for i := range page {
			if e := &page[i]; e.Layout != nil {
				layouts[e.Name] = *e.Layout
			}
		}
		return nil
	})
	return layouts, s.c.failed(err)
}

// MemoryFile is where the memory of a bare service is, on the server's host.
type MemoryFile struct {
	Path string // a file of Size bytes to map
	Bell string // the file with which programs tell of their stores, and wait for others' changes
	Size int64
	// Write is set if this client may store into it.
	Write bool
}

// Memory returns where the memory of a bare service is. It fails with [ErrUnsupported] on another host than the server's.
func (s *Service) Memory(ctx context.Context) (MemoryFile, error) {
	if err := s.c.sync.WatchTree(ctx); err != nil {
		return MemoryFile{}, s.c.failed(err)
	}
	n := s.node()
	if n == nil && s.c.sync.Barrier(ctx) {
		n = s.node()
	}
	if n == nil {
		return MemoryFile{}, s.c.failed(ErrNotFound)
	}
	f, err := n.BareFile(ctx)
	if err != nil {
		return MemoryFile{}, s.c.failed(err)
	}
	return MemoryFile{f.Path, f.Bell, f.Size, f.Write}, nil
}
