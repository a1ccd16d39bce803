package commyfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// Op is one change of a [Client.Txn].
type Op struct{ change model.Change }

func (s *Service) op(op model.Op, name string, value []byte) model.Change {
	// The copy of the service may keep the value.
	return model.Change{Op: op, Tenant: s.tenant, Service: s.name, Name: name, Data: bytes.Clone(value)}
}

// OpPut is [Service.Put].
func (s *Service) OpPut(name string, value []byte) Op {
	c := s.op(model.OpStore, name, value)
	c.Create, c.Parents = true, true
	return Op{c}
}

// OpCreate is [Service.Create], but fails with [ErrConflict] if the variable exists.
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
	if to == nil {
		to = s
	}
	c := s.op(model.OpRename, name, nil)
	c.ToTenant, c.ToService, c.ToName, c.Parents = to.tenant, to.name, newName, true
	return Op{c}
}

// OpExchange is [Service.Exchange].
func (s *Service) OpExchange(name string, with *Service, other string) Op {
	if with == nil {
		with = s
	}
	c := s.op(model.OpExchange, name, nil)
	c.ToTenant, c.ToService, c.ToName = with.tenant, with.name, other
	return Op{c}
}

// TxnError says which change made a [Client.Txn] of several fail, by its index.
type TxnError = varsync.RefusedError

// Txn makes changes atomically and in order, and returns the resulting versions. The changes may belong to different
// services. If the server refuses one of several, the error is a *[TxnError].
func (c *Client) Txn(ctx context.Context, ops ...Op) ([]uint64, error) {
	if len(ops) == 0 {
		return nil, nil
	}
	changes := make([]model.Change, len(ops))
	for i := range ops {
		changes[i] = ops[i].change
		if err := c.checkSize(changes[i].Data); err != nil {
			return nil, err
		}
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
	if err := c.checkSize(op.change.Data); err != nil {
		return 0, err
	}
	res, err := c.sync.Change(ctx, op.change)
	return res.Version, c.failed(err)
}

func (c *Client) checkSize(value []byte) error {
	if most := c.sync.MaxValue(); int64(len(value)) > most {
		return fmt.Errorf("%w: more than %d bytes", ErrTooLarge, most)
	}
	return nil
}

// Put sets a variable and returns its version. It creates the variable, its directories, the service and the tenant as
// needed. If the variable has that value already, its version does not change. If the service is followed, only what
// differs from the current value is sent.
func (s *Service) Put(ctx context.Context, name string, value []byte) (version uint64, err error) {
	op := s.OpPut(name, value)
	if n := s.followed(); n != nil {
		if res, ok, err := n.Put(ctx, name, op.change.Data); ok {
			return res.Version, s.c.failed(err)
		}
	}
	return s.c.one(ctx, op)
}

// Create is like [Service.Put], but fails with [ErrExists] if the variable exists.
func (s *Service) Create(ctx context.Context, name string, value []byte) (version uint64, err error) {
	version, err = s.c.one(ctx, s.OpCreate(name, value))
	if errors.Is(err, ErrConflict) {
		err = ErrExists
	}
	return version, err
}

// Update is like [Service.Put], but fails with [ErrConflict] unless the variable has the given version. A variable that does
// not exist has version 0.
func (s *Service) Update(ctx context.Context, name string, value []byte, version uint64) (uint64, error) {
	return s.c.one(ctx, s.OpUpdate(name, value, version))
}

// Append appends to the current value of a variable and returns its version. It creates what is missing, as Put does.
func (s *Service) Append(ctx context.Context, name string, data []byte) (version uint64, err error) {
	return s.c.one(ctx, s.OpAppend(name, data))
}

// Delete deletes a variable.
func (s *Service) Delete(ctx context.Context, name string) error {
	_, err := s.c.one(ctx, s.OpDelete(name))
	return err
}

// DeleteVersion deletes a variable, but fails with [ErrConflict] unless it has the given version.
func (s *Service) DeleteVersion(ctx context.Context, name string, version uint64) error {
	_, err := s.c.one(ctx, s.OpDeleteVersion(name, version))
	return err
}

// Mkdir creates a directory and its parents; the empty name is the service itself. Put does not need it.
func (s *Service) Mkdir(ctx context.Context, name string) error {
	_, err := s.c.one(ctx, s.OpMkdir(name))
	return err
}

// Rmdir removes an empty directory; the empty name is the service itself.
func (s *Service) Rmdir(ctx context.Context, name string) error {
	_, err := s.c.one(ctx, s.OpRmdir(name))
	return err
}

// Rename renames a variable or directory, or moves it to another service; a nil service is the same one. It creates the
// parents of the new name, and replaces a variable of that name.
func (s *Service) Rename(ctx context.Context, name string, to *Service, newName string) error {
	_, err := s.c.one(ctx, s.OpRename(name, to, newName))
	return err
}

// Exchange gives two variables or directories, which must exist, each other's names, in one step; a nil service is the same one.
// It is announced as two renamings.
func (s *Service) Exchange(ctx context.Context, name string, with *Service, other string) error {
	_, err := s.c.one(ctx, s.OpExchange(name, with, other))
	return err
}
