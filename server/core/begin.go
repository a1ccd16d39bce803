package core

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/commy-project/commyfs/engine"
	"github.com/commy-project/commyfs/model"
)

// errDamaged is for who wants what a record describes that cannot be read. The record stays as it is: nothing else gets its
// name.
var errDamaged = fmt.Errorf("%w: its record in the store cannot be read", model.ErrInternal)

// setAside leaves a record out, and says so: one that cannot be read does not keep the server from serving the others.
func (s *Core) setAside(d engine.Damaged) {
	s.damaged++
	s.log.Error("a record cannot be read and is left as it is", "tenant", d.Tenant, "service", d.Service, "client", fmt.Sprintf("%x", d.Client),
		"key", d.Name, "home", d.Home, "prefix", d.Prefix, "err", d.Err)
}

// damage remembers that the record of a tenant, or of a service, cannot be read.
func (v *view) damage(k serviceKey) {
	if v.damaged == nil {
		v.damaged = map[string]map[string]bool{}
	}
	if v.damaged[k.tenant] == nil {
		v.damaged[k.tenant] = map[string]bool{}
	}
	v.damaged[k.tenant][k.name] = true
}

// loadTree reads what must be known from the start.
func (s *Core) loadTree(ctx context.Context) error {
	v := s.view
	broken := func(d engine.Damaged) {
		s.setAside(d)
		v.damage(serviceKey{d.Tenant, d.Service})
	}
	var damaged []engine.Damaged
	tenants, services, rev, err := s.engine.LoadTree(ctx, func(d engine.Damaged) { damaged = append(damaged, d) })
	if err != nil {
		return err
	}
	d := newDelta()
	d.rev = rev
	prefixed := map[string]*tenant{}
	for _, e := range tenants {
		m, prefix := meta{e.MTime, model.Mode(e.Mode)}, cmp.Or(e.Prefix, e.Name)
		if other := prefixed[prefix]; other != nil {
			broken(engine.Damaged{Tenant: e.Name, Err: fmt.Errorf("tenant with the services of %q", other.name)})
			continue
		}
		t := newTenant(e.ID, e.Name, prefix, m)
		d.tenants[e.Name], prefixed[prefix] = tenantState{t, m}, t
	}
	// named are the names of a service that is stored under a prefix, which is one if nobody knows whose it is.
	named := func(prefix, name string) serviceKey {
		if t := prefixed[prefix]; t != nil {
			prefix = t.name
		}
		return serviceKey{prefix, name}
	}
	for _, d := range damaged {
		if d.Service != "" {
			d.Tenant = named(d.Tenant, d.Service).tenant
		}
		broken(d)
	}
	ids := map[uint64]serviceKey{}
	for _, e := range services {
		t, names := prefixed[e.Tenant], named(e.Tenant, e.Name)
		other, twice := ids[e.ID]
		switch {
		case t == nil && v.damaged[names.tenant][""]:
			v.damage(names) // as its tenant
			continue
		case t == nil:
			broken(engine.Damaged{Tenant: names.tenant, Service: e.Name, Err: errors.New("service without a tenant")})
			continue
		case twice:
			broken(engine.Damaged{Tenant: names.tenant, Service: e.Name, Err: fmt.Errorf("service with the id of %q/%q", other.tenant, other.name)})
			continue
		}
		ids[e.ID] = names
		m := meta{e.MTime, model.Mode(e.Mode)}
		svc := newService(e.ID, e.Name, t, m)
		svc.since.Store(rev) // only the server changes anything
		d.services[placeKey{t, e.Name}] = serviceState{svc, m}
	}
	if d.moved, err = s.engine.LoadMoved(ctx, s.setAside); err != nil {
		return err
	}
	islands, err := s.engine.LoadIslands(ctx, s.setAside)
	if err != nil {
		return err
	}
	for _, i := range islands {
		d.islands[islandKey{i.Home, i.Prefix}] = &island{i.ID, i.Service, i.Was}
	}
	if d.bares, err = s.engine.LoadBare(ctx, s.setAside); err != nil {
		return err
	}
	v.apply(d)
	if err := s.loadClients(ctx, rev); err != nil {
		return err
	}
	keys, err := s.engine.LoadKeys(ctx, func(d engine.Damaged) {
		s.setAside(d)
		s.auth.Lose(d.Name)
	})
	if err != nil {
		return err
	}
	for _, k := range keys {
		s.auth.Add(k)
	}
	return nil
}

// loadClients reads the answers to the clients of the server before. Of a client whose answer cannot be read it is not known
// what was carried out: what was sent first to a server before this one is refused then, unless its answer is there.
func (s *Core) loadClients(ctx context.Context, rev int64) error {
	broken := func(d engine.Damaged) {
		s.setAside(d)
		if d.Client == "" {
			s.unknown = true
			return
		}
		c := s.knownClient(d.Client)
		c.damaged, c.high = true, max(c.high, d.Slot+1)
	}
	results, err := s.engine.LoadResults(ctx, broken)
	if err != nil {
		return err
	}
	for _, r := range results {
		if err := s.knownClient(r.Client).restore(r, rev); err != nil {
			broken(engine.Damaged{Client: r.Client, Slot: r.Slot, Err: err})
		}
	}
	for _, c := range s.clients {
		s.restored(c)
	}
	if err := s.loadReserved(ctx); err != nil {
		return err
	}
	nanos, err := s.engine.LoadForgot(ctx)
	switch {
	case errors.Is(err, engine.ErrCorrupt), errors.Is(err, engine.ErrSchema):
		s.setAside(engine.Damaged{Err: err})
		s.forgot = s.up
	case err != nil:
		return err
	case nanos != 0:
		s.forgot = time.Unix(0, nanos)
	}
	old, err := s.engine.LoadClients(ctx, func(d engine.Damaged) {
		s.setAside(d)
		s.unknown = true
	})
	if err != nil {
		return err
	}
	for _, r := range old {
		c, err := restoreLegacy(r, rev)
		if err != nil {
			s.setAside(engine.Damaged{Client: r.ID, Err: err})
			s.unknown = true
			continue
		}
		s.legacy[r.ID] = c
	}
	return nil
}

func (s *Core) knownClient(id string) *client {
	c := s.clients[id]
	if c == nil {
		c = newClient(id)
		s.clients[id] = c
	}
	return c
}

// loadReserved gives the clients back what they had set aside when the server before was closed. One that was killed leaves
// nothing: then ids are new, or two variables could have the same.
func (s *Core) loadReserved(ctx context.Context) error {
	ids, err := s.engine.LoadReserved(ctx)
	switch {
	case errors.Is(err, engine.ErrCorrupt), errors.Is(err, engine.ErrSchema):
		s.setAside(engine.Damaged{Err: err})
		return nil
	case err != nil || len(ids) == 0:
		return err
	}
	// Before any of them is used: they must not be there another time.
	if _, err := s.engine.CommitFreeing(ctx, []engine.Op{engine.DeleteReserved()}); err != nil {
		s.log.Warn("ids that were set aside are given up", "err", err)
		return nil
	}
	for id, list := range ids {
		c := s.clients[id]
		if c == nil {
			c = s.knownClient(id)
			c.born = s.up
		}
		for _, n := range list {
			c.reserve(n)
		}
	}
	return nil
}

// storeReserved keeps what the clients have set aside for the next server. Nothing is committed any more.
func (s *Core) storeReserved() {
	ids := map[string][]uint64{}
	s.mu.Lock()
	left := maxGoneReserved
	for id, c := range s.clients {
		c.mu.Lock()
		if n := len(c.reserved); n > 0 && n <= left {
			ids[id] = slices.Collect(maps.Keys(c.reserved))
			left -= n
		}
		c.mu.Unlock()
	}
	s.mu.Unlock()
	if len(ids) == 0 {
		return
	}
	if _, err := s.engine.Commit(s.ctx, []engine.Op{engine.PutReserved(ids)}); err != nil {
		s.log.Info("ids that were set aside are given up", "err", err)
	}
}
