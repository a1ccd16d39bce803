package core

import (
	"context"
	"errors"
	"fmt"
	"unique"

	"github.com/commy-project/commyfs/engine"
	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/server/access"
)

// evaluator carries out reports on a batch. It belongs to the committer.
type evaluator struct {
	*batch
	ctx    context.Context
	limits model.Limits
	nextID func(context.Context) (uint64, error)
	load   func(context.Context, *service) error
	// full: nothing is left but room for deletions.
	full bool
	// merge has the event of this report, by its place in events, that a next value of the variable is merged into.
	merge map[uint64]int

	model.Origin
	auth    *access.Authorizer
	writer  unique.Handle[string]
	kind    uint8 // of the values, see kindFound
	reserve func(id uint64) bool
	leased  func(client string, lease uint64) bool
	packing     // what is packed for the report
	most    int // what goes to another service is in its memory file at once
}

// Bounds of one report.
const (
	maxChanges     = 1000
	maxReportBytes = engine.MaxBatch - 3<<20 // values that one report makes the engine store
	maxReportKeys  = engine.MaxOps - 2000    // operations of the engine for one report; the rest is for answers
	maxBatchBytes  = 8 << 20                 // the same for a batch of several reports
	maxBatchKeys   = 8000
	// maxWork is what one report may have the server do, in bytes of memory that are filled on the way: far more than any
	// report needs that changes each variable once. A batch is full when its reports have done so much together.
	maxWork     = 36 << 20
	maxBatch    = 1000 // reports
	resultBytes = 25   // about what a result takes in the store
)

// report carries out r and leaves it to the caller to keep it. After an error it is rolled back; index tells which change
// was refused.
func (e *evaluator) report(r *model.Report) (results []model.Result, index int, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: panic: %v", model.ErrInternal, p)
		}
		if err != nil {
			results = nil
			e.rollback()
		}
	}()
	if len(r.Changes) > maxChanges {
		return nil, 0, &model.Error{Code: model.CodeInvalid, Message: fmt.Sprintf("more than %d changes in a report", maxChanges)}
	}
	results = make([]model.Result, len(r.Changes))
	e.wrote, e.brought = false, 0
	clear(e.merge)
	keys, work := e.keys(), e.work
	for i := range r.Changes {
		index = i
		if results[i], err = e.change(&r.Changes[i]); err != nil {
			return nil, i, err
		}
		if e.bytes-e.saved.bytes > maxReportBytes || e.keys()-keys > maxReportKeys {
			return nil, i, model.ErrTooLarge
		}
		if e.work-work > maxWork {
			return nil, i, &model.Error{Code: model.CodeTooLarge, Message: "the changes of the report are too much work together"}
		}
	}
	if e.full && e.wrote {
		return nil, index, model.ErrNoSpace
	}
	e.wrote = e.wrote || e.saved.wrote
	return results, 0, nil
}

func (e *evaluator) change(c *model.Change) (model.Result, error) {
	if c.Lease != 0 && !e.leased(e.Client, c.Lease) {
		return model.Result{}, model.ErrLockLost
	}
	if err := e.expected(c); err != nil {
		return model.Result{}, err
	}
	switch c.Op {
	case model.OpStore, model.OpPatch, model.OpWrite, model.OpAppend, model.OpTruncate, model.OpCreate:
		return e.value(c)
	case model.OpAdd:
		return e.add(c)
	case model.OpDelete:
		return e.remove(c)
	case model.OpRename:
		return e.rename(c)
	case model.OpExchange:
		return e.exchange(c)
	case model.OpMkdir:
		return e.mkdir(c)
	case model.OpRmdir:
		return e.rmdir(c)
	case model.OpSetMeta:
		return e.setMeta(c)
	case model.OpBare:
		return e.makeBare(c)
	case model.OpRegister:
		return e.register(c)
	case model.OpResize:
		return e.resize(c)
	}
	return model.Result{}, model.ErrUnsupported
}

// findService finds a service of a tenant that the session may see, and loads it.
func (e *evaluator) findService(tenant, name string) (*service, error) {
	if err := checkTenant(tenant, e.limits); err != nil {
		return nil, err
	}
	if err := checkService(name, e.limits); err != nil {
		return nil, err
	}
	if err := e.auth.Need(e.Principal, tenant, 0); err != nil {
		return nil, err
	}
	s := e.service(serviceKey{tenant, name})
	if s == nil {
		if d := e.view.damaged[tenant]; d[""] || d[name] {
			return nil, errDamaged
		}
		return nil, model.ErrNotFound
	}
	return s, e.open(s, tenant)
}

// open loads a service for who may change something in its tenant.
func (e *evaluator) open(s *service, tenant string) error {
	if err := e.auth.NeedToChange(e.Principal, tenant); err != nil {
		return err
	}
	return e.ensure(s)
}

// ensure loads s, in the rare case that the session has not done so before it handed in the report.
func (e *evaluator) ensure(s *service) error {
	if s.content.Load() != nil {
		s.use()
		return nil
	}
	if f := s.failed.Load(); f != nil {
		return f.err // the session has just tried; everybody would wait here
	}
	return e.load(e.ctx, s)
}

// id gives the next id.
func (e *evaluator) id() (uint64, error) {
	id, err := e.nextID(e.ctx)
	if err != nil {
		return 0, fromEngine(err)
	}
	return id, nil
}

// fromEngine puts an error of the engine into the protocol's words.
func fromEngine(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, engine.ErrNoSpace):
		return model.ErrNoSpace
	case errors.Is(err, engine.ErrTooLarge):
		return model.ErrTooLarge
	case errors.Is(err, engine.ErrUnavailable), errors.Is(err, engine.ErrClosed), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return model.ErrUnavailable
	}
	return fmt.Errorf("%w: %w", model.ErrInternal, err)
}
