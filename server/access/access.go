// Package access decides who may do what on a server.
//
// Who somebody is, is a [model.Principal]. What it may do is asked of the [Authorizer] each time that it matters and kept
// nowhere: a right that is taken away is gone at once, on open connections too. A principal that the Authorizer does not
// know may do nothing.
package access

import (
	"sync"

	"github.com/commy-project/commyfs/engine"
	"github.com/commy-project/commyfs/model"
)

// AllRights is all that one can do in a tenant.
const AllRights = model.RightRead | model.RightWrite | model.RightCreate | model.RightDelete | model.RightAdmin

// ErrRevoked is for who was known and is not any more.
var ErrRevoked = &model.Error{Code: model.CodeUnauthorized, Message: "the API key was revoked"}

// Authorizer knows what each principal may do.
type Authorizer struct {
	// mu guards the following. It is a leaf.
	mu     sync.RWMutex
	grants map[model.Principal]grant
	keys   map[string]engine.Key
	// lost are the names of keys whose records cannot be read. It does not change.
	lost map[string]bool
}

// grant is rights in the tenants that match one of the patterns, in every tenant if there is none.
type grant struct {
	tenants []string
	rights  model.Rights
}

// New returns an authorizer for a server that belongs to some principals, who may do everything, as it may itself.
func New(owners ...model.Principal) *Authorizer {
	a := &Authorizer{grants: map[model.Principal]grant{}, keys: map[string]engine.Key{}, lost: map[string]bool{}}
	for _, p := range append(owners, model.Itself) {
		a.grants[p] = grant{rights: AllRights}
	}
	return a
}

func (a *Authorizer) grant(p model.Principal) (grant, error) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	g, ok := a.grants[p]
	if !ok {
		return g, ErrRevoked
	}
	return g, nil
}

func (g grant) in(tenant string) model.Rights {
	if matches(g.tenants, tenant) {
		return g.rights
	}
	return 0
}

// Check asks whether the principal may still do anything at all.
func (a *Authorizer) Check(p model.Principal) error {
	_, err := a.grant(p)
	return err
}

// Rights is what the principal may do in a tenant; 0 hides the tenant.
func (a *Authorizer) Rights(p model.Principal, tenant string) model.Rights {
	g, err := a.grant(p)
	if err != nil {
		return 0
	}
	return g.in(tenant)
}

// Need asks for rights in a tenant that a request names: a hidden tenant is not there. With none it asks whether the
// tenant is hidden.
func (a *Authorizer) Need(p model.Principal, tenant string, want model.Rights) error {
	g, err := a.grant(p)
	switch have := g.in(tenant); {
	case err != nil:
		return err
	case have == 0:
		return model.ErrNotFound
	case have&want != want:
		return model.ErrDenied
	}
	return nil
}

// NeedNew is Need where the request would make the name: that a hidden tenant cannot be made says nothing about whether
// it is there.
func (a *Authorizer) NeedNew(p model.Principal, tenant string, want model.Rights) error {
	err := a.Need(p, tenant, want)
	if err == model.ErrNotFound {
		return model.ErrDenied
	}
	return err
}

// NeedToChange asks for any right to change something in a tenant.
func (a *Authorizer) NeedToChange(p model.Principal, tenant string) error {
	if err := a.Need(p, tenant, 0); err != nil {
		return err
	}
	if a.Rights(p, tenant)&(model.RightWrite|model.RightCreate|model.RightDelete) == 0 {
		return model.ErrDenied
	}
	return nil
}

// Administers asks whether the principal may manage keys.
func (a *Authorizer) Administers(p model.Principal) bool {
	g, _ := a.grant(p)
	return g.rights&model.RightAdmin != 0
}

// Oversees asks whether another principal is p's to administer: p may manage keys, and the other one has no tenant that p
// has not.
func (a *Authorizer) Oversees(p, other model.Principal) bool {
	g, _ := a.grant(p)
	o, err := a.grant(other)
	return err == nil && g.oversees(o)
}

func (g grant) oversees(o grant) bool {
	return g.rights&model.RightAdmin != 0 && within(o.tenants, g.tenants)
}
