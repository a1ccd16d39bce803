package core

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
}

// Bounds of one report.
const (
	maxChanges     = 1000
	maxRenamed     = 1000                         // variables and directories that one rename moves
	maxReportBytes = engine.MaxBatch - 3<<20      // values that one report makes the engine store
	maxReportKeys  = engine.MaxOps - 2*maxRenamed // operations of the engine for one report
	maxBatchBytes  = 8 << 20                      // the same for a batch of several reports
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
	e.wrote = false
	clear(e.merge)
	keys, work := e.keys(), e.work
	for i := range r.Changes {
		index = i
		if results[i], err = e.change(&r.Changes[i]); err != nil {
			return nil, i, err
		}
		if e.bytes-e.saved.bytes > maxReportBytes || e.keys()-keys > maxReportKeys {
			if op := r.Changes[i].Op; op == model.OpRename || op == model.OpExchange {
				return nil, i, model.ErrCrossDevice
			}
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

// expected checks that the name still stands for what the client took it for.
func (e *evaluator) expected(c *model.Change) error {
	if c.Expect == 0 || c.ID != 0 {
		return nil
	}
	var id uint64
	switch {
	case c.Service == "" && c.Name == "":
		t := e.tenants.get(c.Tenant)
		if t == nil || e.auth.Need(e.Principal, c.Tenant, 0) != nil {
			return model.ErrNotFound
		}
		id = t.id
	case c.Name == "":
		s, err := e.findService(c.Tenant, c.Service)
		if err != nil {
			return err
		}
		id = s.id
	default:
		t, err := e.find(&model.Change{Tenant: c.Tenant, Service: c.Service, Name: c.Name})
		if err != nil {
			return err
		}
		id = t.id()
	}
	if id != c.Expect {
		return errOther
	}
	return nil
}

var errOther = &model.Error{Code: model.CodeConflict, Message: "the name stands for something else by now"}

// target is an existing variable or directory of a service.
type target struct {
	key     serviceKey
	service *service
	path    string
	entry
}

// find resolves what c names. The error is ErrNotFound if and only if nothing is there and nothing is in its way.
func (e *evaluator) find(c *model.Change) (target, error) {
	if c.ID != 0 {
		return e.findID(c)
	}
	if err := checkPath(c.Name, e.limits); err != nil {
		return target{}, err
	}
	s, err := e.findService(c.Tenant, c.Service)
	if err != nil {
		return target{}, err
	}
	t := target{serviceKey{c.Tenant, c.Service}, s, c.Name, e.entries.get(entryKey{s, c.Name})}
	if t.none() {
		return t, e.missing(s, c.Name)
	}
	return t, nil
}

// findID finds a variable by its id: among all that is in memory, else in the services where it can be, which are few.
// That a variable is not there costs the same whatever the id is.
func (e *evaluator) findID(c *model.Change) (target, error) {
	v := e.ids.get(c.ID)
	if v != nil && v.service.content.Load() == nil { // let go, and about to be forgotten
		if err := e.open(v.service, e.places.get(v.service).tenant); err != nil {
			return target{}, err
		}
		v = e.ids.get(c.ID)
	}
	if v == nil {
		for _, s := range e.homes(c) {
			if err := e.open(s, e.places.get(s).tenant); err != nil {
				return target{}, err
			}
			if v = e.ids.get(c.ID); v != nil {
				break
			}
		}
	}
	if v == nil {
		return target{}, e.missingID(c)
	}
	key := e.places.get(v.service)
	if key == (serviceKey{}) || e.auth.Need(e.Principal, key.tenant, 0) != nil {
		return target{}, model.ErrNotFound
	}
	return target{key, v.service, v.name, entry{v: v}}, nil
}

// homes are the services that are not in memory and can have the variable that c means.
func (e *evaluator) homes(c *model.Change) []*service {
	homes := e.view.homes(c.ID, c.In)
	if s := e.services.get(serviceKey{c.Tenant, c.Service}); s != nil && s.content.Load() == nil {
		homes = append(homes, s) // so clients said it before there was Change.In
	}
	return slices.DeleteFunc(homes, func(s *service) bool { return e.places.get(s) == (serviceKey{}) })
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
	s := e.services.get(serviceKey{tenant, name})
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

// missing says why nothing is at path: ErrNotDirectory if a variable stands where a directory would have to.
func (e *evaluator) missing(s *service, path string) error {
	if s.content.Load().inDamaged(path) {
		return errDamaged
	}
	for p := parentOf(path); p != ""; p = parentOf(p) {
		n := e.entries.get(entryKey{s, p})
		if n.v != nil {
			return model.ErrNotDirectory
		}
		if n.d != nil {
			break
		}
	}
	return model.ErrNotFound
}

// room finds or, with parents, makes everything above path in a service that may have to be made as well.
func (e *evaluator) room(tenant, name, path string, parents bool) (*service, error) {
	if err := checkPath(path, e.limits); err != nil {
		return nil, err
	}
	s, err := e.findService(tenant, name)
	if parents && err == model.ErrNotFound {
		s, err = e.makeService(tenant, name, 0, true)
	}
	if err != nil {
		return nil, err
	}
	if s.content.Load().inDamaged(path) {
		return nil, errDamaged
	}
	return s, e.parents(s, tenant, path, parents)
}

// parents checks the directories above path, and makes the missing ones if asked to.
func (e *evaluator) parents(s *service, tenant, path string, make bool) error {
	p := parentOf(path)
	if p == "" {
		return nil
	}
	switch n := e.entries.get(entryKey{s, p}); {
	case n.d != nil:
		return nil
	case n.v != nil:
		return model.ErrNotDirectory
	case !make:
		return e.missing(s, p)
	}
	if err := e.parents(s, tenant, p, true); err != nil {
		return err
	}
	_, err := e.makeDir(s, tenant, p, 0)
	return err
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
