package core

import (
	"cmp"
	"strings"

	"github.com/commy-project/commyfs/model"
)

// A client names by paths what it knows by ids. What a path leads to can be something else by the time that the change is carried out.

var errOther = &model.Error{Code: model.CodeConflict, Message: "the name stands for something else by now"}

// errElsewhere says that what is to be in a directory would not be: that directory is not where the path leads.
var errElsewhere = &model.Error{Code: model.CodeNotFound, Message: "the path leads into another directory by now"}

// expected checks that the names of c still stand for what the client took them for, and are where it took them to be.
func (e *evaluator) expected(c *model.Change) error {
	if c.Within != 0 && c.ID == 0 {
		if err := e.within(c.Within, c.Tenant, c.Service, c.Name); err != nil {
			return err
		}
	}
	if c.ToWithin != 0 {
		here := serviceKey{c.Tenant, c.Service}
		if c.ID != 0 { // it is where the variable is
			t, err := e.findID(c)
			if err != nil {
				return err
			}
			here = t.key
		}
		if err := e.within(c.ToWithin, cmp.Or(c.ToTenant, here.tenant), cmp.Or(c.ToService, here.name), c.ToName); err != nil {
			return err
		}
	}
	if c.Expect == 0 || c.ID != 0 {
		return nil
	}
	id, err := e.idOf(c.Tenant, c.Service, c.Name)
	if err == nil && id != c.Expect {
		err = errOther
	}
	return err
}

// within checks that a directory, service or tenant has a name. Where that one would be there can be nothing.
func (e *evaluator) within(id uint64, tenant, service, name string) error {
	switch i := strings.LastIndexByte(name, '/'); {
	case service == "" && name == "":
		return model.ErrInvalid // nothing has tenants
	case name == "":
		service = ""
	default:
		name = name[:max(i, 0)]
	}
	is, err := e.idOf(tenant, service, name)
	if err == nil && is != id {
		err = errElsewhere
	}
	return err
}

// idOf is the id of what a name stands for.
func (e *evaluator) idOf(tenant, service, name string) (uint64, error) {
	switch {
	case service == "" && name == "":
		t := e.tenants.get(tenant)
		if t == nil || e.auth.Need(e.Principal, tenant, 0) != nil {
			return 0, model.ErrNotFound
		}
		return t.id, nil
	case name == "":
		s, err := e.findService(tenant, service)
		if err != nil {
			return 0, err
		}
		return s.id, nil
	}
	t, err := e.find(&model.Change{Tenant: tenant, Service: service, Name: name})
	if err != nil {
		return 0, err
	}
	return t.id(), nil
}
