package commyfs

import (
	"bytes"
	"context"
	"errors"

	"github.com/commy-project/commyfs/model"
)

// Op is one change of a [Client.Txn].
type Op struct{ change model.Change }

func (s *Service) op(op model.Op, name string, value []byte) model.Change {
	// The value can become the one that the copy of the service holds.
	return model.Change{Op: op, Tenant: s.tenant, Service: s.name, Name: name, Data: bytes.Clone(value)}
}

// OpPut is [Service.Put].
func (s *Service) OpPut(name string, value []byte) Op {
	c := s.op(model.OpStore, name, value)
	c.Create, c.Parents = true, true
	return Op{c}
}

// OpCreate is [Service.Create]. In a Txn it fails with [ErrConflict].
func (s *Service) OpCreate(name string, value []byte) Op { return s.OpUpdate(name, value, 0) }

// OpUpdate is [Service.Update].
func (s *Service) OpUpdate(name string, value []byte, version uint64) Op {
	o := s.OpPut(name, value)
	o.change.HasVersion, o.change.IfVersion = true, version
	return o
}

// OpAppend is [Service.Append].
func (s *Service) OpAppend(name string, data []byte) Op {
	c := s.op(model.OpAppend, name, data)
	c.Create, c.Parents = true, true
	return Op{c}
}

// OpDelete is [Service.Delete].
func (s *Service) OpDelete(name string) Op { return Op{s.op(model.OpDelete, name, nil)} }

// OpDeleteVersion is [Service.DeleteVersion].
func (s *Service) OpDeleteVersion(name string, version uint64) Op {
	o := s.OpDelete(name)
	o.change.HasVersion, o.change.IfVersion = true, version
	return o
}

// OpMkdir is [Service.Mkdir].
func (s *Service) OpMkdir(name string) Op {
	c := s.op(model.OpMkdir, name, nil)
	c.Parents = true
	return Op{c}
}

// OpRmdir is [Service.Rmdir].
func (s *Service) OpRmdir(name string) Op { return Op{s.op(model.OpRmdir, name, nil)} }

// OpRename is [Service.Rename].
func (s *Service) OpRename(name string, to *Service, newName string) Op {
	c := s.op(model.OpRename, name, nil)
	c.ToTenant, c.ToService, c.ToName, c.Parents = to.tenant, to.name, newName, true
	return Op{c}
}

// Txn carries out several changes as one, all or none, in order, and returns the version that each leads to. They may be of
// several services.
func (c *Client) Txn(ctx context.Context, ops ...Op) ([]uint64, error) {
	if len(ops) == 0 {
		return nil, nil
	}
	changes := make([]model.Change, len(ops))
	for i := range ops {
		changes[i] = ops[i].change
	}
	results, err := c.sync.Report(ctx, changes...)
	if err != nil {
		return nil, c.failed(err)
	}
	versions := make([]uint64, len(results))
	for i := range results {
		versions[i] = results[i].Version
	}
	return versions, nil
}

func (c *Client) one(ctx context.Context, op Op) (uint64, error) {
	versions, err := c.Txn(ctx, op)
	if err != nil {
		return 0, err
	}
	return versions[0], nil
}

// Put sets a variable and returns its version. It makes what is missing: the variable, its directories, the service, the
// tenant. The version stays the same if the variable has that value already.
func (s *Service) Put(ctx context.Context, name string, value []byte) (version uint64, err error) {
	return s.c.one(ctx, s.OpPut(name, value))
}

// Create is [Service.Put] for a variable that does not exist, else [ErrExists].
func (s *Service) Create(ctx context.Context, name string, value []byte) (version uint64, err error) {
	version, err = s.c.one(ctx, s.OpCreate(name, value))
	if errors.Is(err, ErrConflict) {
		err = ErrExists
	}
	return version, err
}

// Update is [Service.Put] for a variable that still has a version, as [Service.Get] returned it, else [ErrConflict].
// Version 0 is that of a variable that does not exist.
func (s *Service) Update(ctx context.Context, name string, value []byte, version uint64) (uint64, error) {
	return s.c.one(ctx, s.OpUpdate(name, value, version))
}

// Append adds bytes to the end of a variable, whatever it holds, and returns its version. It makes what is missing.
func (s *Service) Append(ctx context.Context, name string, data []byte) (version uint64, err error) {
	return s.c.one(ctx, s.OpAppend(name, data))
}

// Delete deletes a variable.
func (s *Service) Delete(ctx context.Context, name string) error {
	_, err := s.c.one(ctx, s.OpDelete(name))
	return err
}

// DeleteVersion deletes a variable that still has a version, else [ErrConflict].
func (s *Service) DeleteVersion(ctx context.Context, name string, version uint64) error {
	_, err := s.c.one(ctx, s.OpDeleteVersion(name, version))
	return err
}

// Mkdir makes a directory and what it is in; without a name the service itself. Variables need none that was made before.
func (s *Service) Mkdir(ctx context.Context, name string) error {
	_, err := s.c.one(ctx, s.OpMkdir(name))
	return err
}

// Rmdir removes an empty directory; without a name the service itself.
func (s *Service) Rmdir(ctx context.Context, name string) error {
	_, err := s.c.one(ctx, s.OpRmdir(name))
	return err
}

// Rename gives a variable or directory another name, which may be in another service, and makes what is missing above it.
// A variable of that name is replaced.
func (s *Service) Rename(ctx context.Context, name string, to *Service, newName string) error {
	_, err := s.c.one(ctx, s.OpRename(name, to, newName))
	return err
}
