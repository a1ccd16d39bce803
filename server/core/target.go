package core

import (
	"cmp"
	"slices"
	"strings"

	"github.com/commy-project/commyfs/model"
)

// target is an existing variable or directory of a service.
type target struct {
	key     serviceKey
	service *service
	path    string
	before  uint64 // the version of a variable when it last changed itself
	at      entryKey
	entry
}

// conflicts tells whether a change is meant for another version than there is. Who names the variable by its id has seen this value
// also with a version that it had before a directory was renamed: where values are read that version can stay for a moment.
func (t *target) conflicts(c *model.Change) bool {
	if !c.HasVersion || c.IfVersion == t.v.version {
		return false
	}
	return c.ID == 0 || c.IfVersion < t.before || c.IfVersion > t.v.version
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
	at, n, err := e.look(s, c.Name)
	if err == nil && n.none() {
		err = model.ErrNotFound
	}
	return target{key: serviceKey{c.Tenant, c.Service}, service: s, path: c.Name, at: at, entry: n}, err
}

// findID finds a variable by its id: among all that is in memory, else in the services where it can be, which are few.
// That a variable is not there costs the same whatever the id is.
func (e *evaluator) findID(c *model.Change) (target, error) {
	v := e.ids.get(c.ID)
	if v != nil && v.dir.service.content.Load() == nil { // let go, and about to be forgotten
		if err := e.open(v.dir.service, e.namesOf(v.dir.service).tenant); err != nil {
			return target{}, err
		}
		v = e.ids.get(c.ID)
	}
	if v == nil {
		var failed error
		for _, s := range e.homes(c) {
			tenant := e.namesOf(s).tenant
			if e.auth.Need(e.Principal, tenant, 0) != nil {
				continue // as if nothing had gone there
			}
			if err := e.open(s, tenant); err != nil {
				failed = cmp.Or(failed, err)
			} else if v = e.ids.get(c.ID); v != nil {
				break
			}
		}
		if v == nil && failed != nil {
			return target{}, failed
		}
	}
	if v == nil {
		return target{}, e.missingID(c)
	}
	s := v.dir.service
	key := e.namesOf(s)
	if key == (serviceKey{}) || e.auth.Need(e.Principal, key.tenant, 0) != nil {
		return target{}, model.ErrNotFound
	}
	at := v.at()
	return target{key, s, e.path(at), v.version, at, entry{v: e.risen(v)}}, nil
}

// homes are the services that are not in memory and can have the variable that c means.
func (e *evaluator) homes(c *model.Change) []*service {
	homes := e.view.homes(c.ID, c.In)
	if s := e.service(serviceKey{c.Tenant, c.Service}); s != nil && s.content.Load() == nil {
		homes = append(homes, s) // so clients said it before there was Change.In
	}
	return slices.DeleteFunc(homes, func(s *service) bool { return e.places.get(s) == (placeKey{}) })
}

// look finds what a path names, which may be nothing. The error says why nothing can be there: ErrNotFound if the directory is not
// there that it would be in, ErrNotDirectory if a variable stands where a directory would have to.
func (e *evaluator) look(s *service, path string) (at entryKey, n entry, err error) {
	c := s.content.Load()
	for in := c.root; ; in = n.d.dir {
		name, rest, deeper := strings.Cut(path, "/")
		at = entryKey{in, name}
		switch n = e.entries.get(at); {
		case !deeper && n.v != nil:
			return at, entry{v: e.risen(n.v)}, nil
		case n.none() && c.isDamagedAt(at):
			return at, n, errDamaged
		case !deeper:
			return at, n, nil
		case n.v != nil:
			return at, entry{}, model.ErrNotDirectory
		case n.d == nil:
			return at, n, model.ErrNotFound
		}
		path = rest
	}
}

// room finds the place of a path in a service, and what is there. With parents it makes everything above it that is not
// there, also the service.
func (e *evaluator) room(tenant, name, path string, parents bool) (s *service, at entryKey, there entry, err error) {
	if err := checkPath(path, e.limits); err != nil {
		return nil, at, there, err
	}
	s, err = e.findService(tenant, name)
	if parents && err == model.ErrNotFound {
		s, err = e.makeService(tenant, name, 0, true)
	}
	if err != nil {
		return nil, at, there, err
	}
	if at, there, err = e.look(s, path); err == model.ErrNotFound && parents {
		if err = e.parents(s, tenant, path); err == nil {
			at, there, err = e.look(s, path)
		}
	}
	return s, at, there, err
}

// parents makes the directories above path that are not there.
func (e *evaluator) parents(s *service, tenant, path string) error {
	for i := range len(path) {
		if path[i] != '/' {
			continue
		}
		at, n, err := e.look(s, path[:i])
		if err == nil && n.none() {
			_, err = e.makeDir(at, tenant, path[:i], 0)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
