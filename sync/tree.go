package sync

import (
	"slices"
	"time"

	"github.com/commy-project/commyfs/model"
)

// Tenant is the top level of the tree.
type Tenant struct {
	c  *Client
	id uint64
	// guarded by Client.mu
	name     string
	mtime    int64
	mode     model.Mode
	rights   model.Rights
	services map[string]*Service
}

// ID implements [Node].
func (t *Tenant) ID() uint64 { return t.id }

// Name returns the tenant's name.
func (t *Tenant) Name() string {
	t.c.mu.RLock()
	defer t.c.mu.RUnlock()
	return t.name
}

// Rights returns what this client may do in the tenant.
func (t *Tenant) Rights() model.Rights {
	t.c.mu.RLock()
	defer t.c.mu.RUnlock()
	return t.rights
}

// MTime returns when a service of the tenant last came, went or was renamed, or what was set since, in Unix nanoseconds.
func (t *Tenant) MTime() int64 {
	t.c.mu.RLock()
	defer t.c.mu.RUnlock()
	return t.mtime
}

// Mode returns the permission bits that the tenant has been given as a directory.
func (t *Tenant) Mode() model.Mode {
	t.c.mu.RLock()
	defer t.c.mu.RUnlock()
	return t.mode
}

func (t *Tenant) touched(time int64) {
	if time != 0 {
		t.mtime = time
	}
}

// MTime returns when a tenant last came, went or was renamed, as far as this client knows, in Unix nanoseconds: nobody
// keeps it, so at first it is the latest time of a tenant, or now.
func (c *Client) MTime() int64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.mtime
}

// Service returns the service of that name, nil if there is none.
func (t *Tenant) Service(name string) *Service {
	t.c.mu.RLock()
	defer t.c.mu.RUnlock()
	return t.services[name]
}

// Services returns the tenant's services in no order.
func (t *Tenant) Services() []*Service {
	t.c.mu.RLock()
	defer t.c.mu.RUnlock()
	out := make([]*Service, 0, len(t.services))
	for _, s := range t.services {
		out = append(out, s)
	}
	return out
}

// Tenant returns the tenant of that name, nil if there is none that the client may see.
func (c *Client) Tenant(name string) *Tenant {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.tenants[name]
}

// TreeSteps rises with each change of the tenants and services: while it is the same, names lead where they have led.
func (c *Client) TreeSteps() uint64 { return c.treeSteps.Load() }

// Tenants returns the visible tenants in no order.
func (c *Client) Tenants() []*Tenant {
	c.mu.RLock()
	defer c.mu.RUnlock()
	out := make([]*Tenant, 0, len(c.tenants))
	for _, t := range c.tenants {
		out = append(out, t)
	}
	return out
}

// Node returns what has the id, nil if this client does not know it.
func (c *Client) Node(id uint64) Node { return c.index.get(id) }

func (c *Client) tenantByIDLocked(id uint64) *Tenant {
	t, _ := c.index.get(id).(*Tenant)
	return t
}

// Shows reports whether [Options.Tenants] lets a tenant of that name be seen.
func (c *Client) Shows(tenant string) bool { return !c.hidden(tenant) }

func (c *Client) hidden(tenant string) bool {
	return len(c.opts.Tenants) > 0 && !slices.Contains(c.opts.Tenants, tenant)
}

// applyTree makes the tree what a complete listing says. It returns notices only when there was a tree before.
func (c *Client) applyTree(tenants []model.Tenant, services []model.Service) []Notice {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := !c.treeLoaded
	c.treeLoaded = true
	for _, t := range tenants {
		c.mtime = max(c.mtime, t.MTime)
	}
	if c.mtime == 0 {
		c.mtime = time.Now().UnixNano()
	}
	keep := make(map[uint64]bool, len(tenants)+len(services))
	for _, t := range tenants {
		keep[t.ID] = true
	}
	for _, s := range services {
		keep[s.ID] = true
	}
	var steps []model.TreeChange
	for _, t := range c.tenants {
		steps = append(steps, t.goneLocked(func(s *Service) bool { return keep[s.id] })...)
	}
	for _, t := range c.tenants {
		if !keep[t.id] {
			steps = append(steps, model.TreeChange{Gone: true, Tenant: model.Tenant{ID: t.id}})
		}
	}
	for _, t := range tenants {
		steps = append(steps, model.TreeChange{Tenant: t})
	}
	for _, s := range services {
		steps = append(steps, model.TreeChange{Service: s})
	}
	notices := c.treeStepsLocked(steps)
	if first {
		return nil
	}
	return notices
}

// changeTree has fn change the tree, and tells of it.
func (c *Client) changeTree(fn func() []Notice) {
	c.steps.Lock()
	defer c.steps.Unlock()
	notices := fn()
	if m := &c.moves; m.tally != nil {
		m.tally.note(0, notices)
		c.notify(c.untold(false))
		return
	}
	var before []Notice
	for i := range notices {
		if n := &notices[i]; n.Kind == Deleted && c.moves.waiting() {
			before = append(before, c.forsake(n.ID, true)...)
		}
	}
	c.notify(append(before, notices...))
}

// goneLocked returns the steps that remove the tenant's services, but those to keep.
func (t *Tenant) goneLocked(keep func(*Service) bool) []model.TreeChange {
	var steps []model.TreeChange
	for _, s := range t.services {
		if !keep(s) {
			steps = append(steps, model.TreeChange{Gone: true, Service: model.Service{ID: s.id}})
		}
	}
	return steps
}

func (c *Client) treeStepsLocked(steps []model.TreeChange) []Notice {
	c.treeSteps.Add(1)
	var out []Notice
	for _, st := range steps {
		var n *Notice
		if st.Tenant.ID != 0 {
			c.mtime = max(c.mtime, st.Time)
			if t := c.tenantByIDLocked(st.Tenant.ID); t != nil && (st.Gone || c.hidden(st.Tenant.Name)) {
				out = append(out, c.treeStepsLocked(t.goneLocked(func(*Service) bool { return false }))...)
			}
			n = c.tenantStepLocked(st)
		} else {
			n = c.serviceStepLocked(st)
		}
		if n != nil {
			n.Dir, n.Own = true, st.Own
			out = append(out, *n)
		}
	}
	return out
}

func (c *Client) tenantStepLocked(st model.TreeChange) *Notice {
	in := st.Tenant
	t := c.tenantByIDLocked(in.ID)
	gone := st.Gone || c.hidden(in.Name)
	switch {
	case gone && t == nil:
		return nil
	case gone:
		if c.tenants[t.name] == t {
			delete(c.tenants, t.name)
		}
		c.index.drop(t)
		return &Notice{Kind: Deleted, ID: t.id, Path: []string{t.name}}
	case t == nil:
		t = &Tenant{c: c, id: in.ID, name: in.Name, mtime: in.MTime, mode: in.Mode, rights: in.Rights, services: map[string]*Service{}}
		c.tenants[in.Name] = t
		c.index.put(t)
		return &Notice{Kind: Created, ID: t.id, Path: []string{t.name}, MTime: t.mtime}
	}
	same := t.mtime == in.MTime && t.mode == in.Mode
	t.rights, t.mtime, t.mode = in.Rights, in.MTime, in.Mode
	switch {
	case t.name == in.Name && same:
		return nil
	case t.name == in.Name:
		return &Notice{Kind: MetaChanged, ID: t.id, Path: []string{t.name}, MTime: t.mtime}
	}
	old := t.name
	if c.tenants[old] == t {
		delete(c.tenants, old)
	}
	t.name = in.Name
	c.tenants[t.name] = t
	return &Notice{Kind: Renamed, ID: t.id, Path: []string{t.name}, OldPath: []string{old}, MTime: t.mtime}
}

func (c *Client) serviceStepLocked(st model.TreeChange) *Notice {
	in := st.Service
	s, _ := c.index.get(in.ID).(*Service)
	t := c.tenantByIDLocked(in.Tenant)
	gone := st.Gone || t == nil // moved to a tenant that is hidden from us
	switch {
	case gone && s == nil:
		return nil
	case gone:
		if s.tenant.services[s.name] == s {
			delete(s.tenant.services, s.name)
		}
		s.tenant.touched(st.Time)
		c.moves.dropping(s)
		c.index.drop(s)
		s.drop()
		return &Notice{Kind: Deleted, ID: s.id, Parent: s.tenant.id, Path: []string{s.tenant.name, s.name}}
	case s == nil:
		s = newService(c, in.ID)
		s.tenant, s.name, s.mtime, s.mode, s.bare = t, in.Name, in.MTime, in.Mode, in.Bare
		t.services[s.name] = s
		t.touched(st.Time)
		c.index.put(s)
		return &Notice{Kind: Created, ID: s.id, Parent: t.id, Path: []string{t.name, s.name}, MTime: s.mtime}
	}
	s.mtime, s.mode, s.bare = in.MTime, in.Mode, in.Bare
	if s.name == in.Name && s.tenant == t {
		return nil
	}
	n := &Notice{Kind: Renamed, ID: s.id, Parent: t.id, OldParent: s.tenant.id, MTime: s.mtime,
		Path: []string{t.name, in.Name}, OldPath: []string{s.tenant.name, s.name}}
	if s.tenant.services[s.name] == s {
		delete(s.tenant.services, s.name)
	}
	s.tenant.touched(st.Time)
	t.touched(st.Time)
	s.tenant, s.name = t, in.Name
	t.services[s.name] = s
	return n
}
