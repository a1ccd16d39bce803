package core

import (
	"slices"
	"strings"

	"github.com/commy-project/commyfs/model"
)

// To another service things go one by one, in one transaction: their keys in the store and their slots in the memory file are
// those of the service.

// carried is a variable or directory on its way to another service, with all that is in it, each behind the directory that
// holds it.
type carried struct {
	service *service
	path    string
	list    []entry // the first is that itself
}

// carry takes down what goes to another service with t, under another name.
func (e *evaluator) carry(t target, to *service, name string) (carried, error) {
	c := carried{t.service, t.path, []entry{t.entry}}
	if e.bares.get(t.service) != 0 || e.bares.get(to) != 0 {
		return carried{}, model.ErrCrossDevice // it has no place there, or would leave its own
	}
	if t.d == nil {
		return c, nil
	}
	if t.service.content.Load().holdsDamaged(t.path) {
		return carried{}, errDamaged // it would stay behind
	}
	paths, err := e.inside(t.service, t.path)
	if err != nil {
		return carried{}, err
	}
	slices.SortFunc(paths, strings.Compare) // a directory comes before what is in it
	for _, path := range paths {
		if len(name)+len(path)-len(t.path) > e.limits.Name {
			return carried{}, model.ErrNameTooLong
		}
		c.list = append(c.list, e.entries.get(entryKey{t.service, path}))
	}
	return c, nil
}

// takeOut takes it from its service.
func (e *evaluator) takeOut(c carried) {
	for _, n := range slices.Backward(c.list) {
		if n.v != nil {
			e.drop(n.v)
			continue
		}
		e.tick()
		e.put(c.service, n.d.name, entry{})
		e.stirred(c.service, n.d.name)
		e.emit(&event{service: c.service, kind: model.EventRmdir, name: n.d.name, time: e.now, d: n.d})
	}
}

// putIn puts it into a service, under a name that is free. Ids, modes and times are kept; what becomes of versions settle says.
func (e *evaluator) putIn(c carried, s *service, name string) {
	for _, n := range c.list {
		if n.v != nil {
			e.settle(n.v, s, name+n.v.name[len(c.path):])
			continue
		}
		d := *n.d
		d.name = name + n.d.name[len(c.path):]
		e.tick()
		e.put(s, d.name, entry{d: &d})
		e.stirred(s, d.name)
		e.emit(&event{service: s, kind: model.EventMkdir, name: d.name, time: e.now, d: &d})
	}
	for _, n := range c.list { // what has come into the directories has changed their times
		if n.d == nil {
			continue
		}
		path := name + n.d.name[len(c.path):]
		if now := e.entries.get(entryKey{s, path}).d; now.meta != n.d.meta {
			d := *now
			d.meta = n.d.meta
			e.tick()
			e.put(s, path, entry{d: &d})
			e.emit(&event{service: s, kind: model.EventMeta, name: path, d: &d})
		}
	}
}

// moveDir moves a directory and everything below it to another service, at once or not at all.
func (e *evaluator) moveDir(t target, to serviceKey, c *model.Change) (model.Result, error) {
	s, err := e.room(to.tenant, to.name, c.ToName, c.Parents)
	if err != nil {
		return model.Result{}, err
	}
	switch there := e.entries.get(entryKey{s, c.ToName}); {
	case there.v != nil:
		return model.Result{}, model.ErrNotDirectory
	case there.d != nil && c.NoReplace:
		return model.Result{}, model.ErrExists
	case there.d != nil:
		if err := e.auth.Need(e.Principal, to.tenant, model.RightDelete); err != nil {
			return model.Result{}, err
		}
		if err := e.dropDir(s, there.d); err != nil {
			return model.Result{}, err
		}
	}
	if err := e.auth.NeedNew(e.Principal, to.tenant, model.RightCreate); err != nil {
		return model.Result{}, err
	}
	all, err := e.carry(t, s, c.ToName)
	if err != nil {
		return model.Result{}, err
	}
	e.takeOut(all)
	e.putIn(all, s, c.ToName)
	return e.at(s, c.ToName).result(), nil
}
