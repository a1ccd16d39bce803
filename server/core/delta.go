package core

import (
	"github.com/commy-project/commyfs/engine"
	"github.com/commy-project/commyfs/model"
)

// delta is what a transaction of the store does, decoded: what it leaves under each key that it writes. The committer makes
// one of a batch and has it stored and shown; a load makes one of what is there. Nothing else changes a view.
type delta struct {
	rev      int64
	tenants  map[string]tenantState
	services map[placeKey]serviceState
	ferries  []*ferry                 // come first
	inside   map[uint64]*contentDelta // by the service's id
	floors   map[uint64]uint64        // the same; 0: gone
	moved    map[uint64]uint64        // as view.moved has it; 0: gone
	islands  map[islandKey]*island    // nil: gone
	bares    map[uint64]int64         // sizes of bare services, by their ids; 0: gone
	// Of variables that the store has in pieces: how they were, by the variables' ids, and those that are gone. A view has no
	// use for them.
	pieced  map[uint64]change
	dropped []*variable

	// What has happened, step by step, for those who watch, and the slots in memory files of variables that are gone. A view
	// has no use for them.
	events []*event
	tree   []*treeEvent
	freed  []slotRef
}

// tenantState is what is stored under a tenant's name; no tenant: nothing. The tenant tells which one it is: one that the
// view does not have yet is taken into it as it is.
type tenantState struct {
	tenant *tenant
	meta
}

// serviceState is the same for a service.
type serviceState struct {
	service *service
	meta
}

// contentDelta is a delta inside a service. Under a name there can be something of both kinds: what goes, and what comes.
type contentDelta struct {
	dirs    []dirState
	vars    []variableState
	layouts []layoutState
}

type dirState struct {
	entryKey
	dir  *dirInfo // nil: gone
	left bool     // what was there is in another service
}

type layoutState struct {
	id     uint64        // of the variable
	layout *model.Layout // nil: gone
}

type variableState struct {
	entryKey
	path     string // where that is, and its version, if the service has a memory file
	version  uint64
	variable *variable // nil: gone
}

// in is the part of the delta that is inside a service.
func (d *delta) in(service uint64) *contentDelta {
	c := d.inside[service]
	if c == nil {
		c = &contentDelta{}
		d.inside[service] = c
	}
	return c
}

func newDelta() *delta {
	return &delta{
		tenants: map[string]tenantState{}, services: map[placeKey]serviceState{},
		inside: map[uint64]*contentDelta{}, floors: map[uint64]uint64{}, moved: map[uint64]uint64{},
		islands: map[islandKey]*island{},
		pieced:  map[uint64]change{}, bares: map[uint64]int64{},
	}
}

// delta is the difference between the batch and the view.
func (b *batch) delta() *delta {
	d := newDelta()
	d.events, d.tree, d.freed, d.ferries = b.events, b.tree, b.freed, b.ferries
	for _, f := range d.ferries {
		f.forMemory(b)
	}
	b.treeDelta(d)
	for k, n := range b.entries.over {
		was := b.entries.base(k)
		if n.v != was.v {
			st := variableState{entryKey: k, variable: n.v}
			if c := k.in.service.content.Load(); c.mem != nil || c.building != nil {
				st.path = b.path(k)
				if n.v != nil {
					st.version = k.in.versionBy(n.v.version, b.infos.get)
				}
			}
			in := d.in(k.in.service.id)
			in.vars = append(in.vars, st)
		}
		if n.d != was.d {
			in := d.in(k.in.service.id)
			st := dirState{entryKey: k, dir: n.d}
			st.left = was.d != nil && b.departed.get(was.d.dir) != nil
			in.dirs = append(in.dirs, st)
		}
	}
	for id, v := range b.ids.over {
		switch was := b.ids.base(id); {
		case was == nil || !was.pieced:
		case v == nil:
			d.dropped = append(d.dropped, was)
		default:
			d.pieced[id] = change{was, b.between(was, v)}
		}
	}
	for s, floor := range b.floors.over {
		if b.places.get(s) != (placeKey{}) && floor != b.floors.base(s) {
			d.floors[s.id] = floor
		}
	}
	for s, k := range b.places.over {
		if k == (placeKey{}) && b.floors.base(s) != 0 {
			d.floors[s.id] = 0
		}
	}
	for s, size := range b.bares.over {
		if size != b.bares.base(s) {
			d.bares[s.id] = size
		}
	}
	for k, l := range b.layouts.over {
		if was := b.layouts.base(k); l != was {
			in := d.in(k.service.id)
			in.layouts = append(in.layouts, layoutState{k.id, l})
		}
	}
	for id, sid := range b.moved.over {
		if sid != b.moved.base(id) {
			d.moved[id] = sid
		}
	}
	for k, now := range b.islands.over {
		if now != b.islands.base(k) {
			d.islands[k] = now
		}
	}
	return d
}

// treeDelta is delta for tenants and services.
func (b *batch) treeDelta(d *delta) {
	for name, t := range b.tenants.over {
		if t != b.tenants.base(name) {
			d.tenants[name] = tenantState{tenant: t}
		}
	}
	for t, m := range b.tenantMetas.over {
		if b.tenants.get(t.name) == t && m != b.tenantMetas.base(t) { // else it is gone, or among those above
			d.tenants[t.name] = tenantState{tenant: t}
		}
	}
	for name, st := range d.tenants {
		if st.tenant != nil {
			st.meta = b.tenantMetas.get(st.tenant)
			d.tenants[name] = st
		}
	}
	for k, s := range b.services.over {
		if s != b.services.base(k) {
			d.services[k] = serviceState{service: s}
		}
	}
	for s, m := range b.serviceMetas.over {
		if k := b.places.get(s); k != (placeKey{}) && m != b.serviceMetas.base(s) {
			d.services[k] = serviceState{service: s}
		}
	}
	for k, st := range d.services {
		if st.service != nil {
			st.meta = b.serviceMetas.get(st.service)
			d.services[k] = st
		}
	}
}

// ops is the delta as the engine wants it: one operation for each key.
func (d *delta) ops() []engine.Op {
	var ops []engine.Op
	for name, t := range d.tenants {
		if t.tenant == nil {
			ops = append(ops, engine.DeleteTenant(name))
			continue
		}
		rec := engine.Tenant{ID: t.tenant.id, Name: name, MTime: t.mtime, Mode: uint32(t.mode)}
		if t.tenant.prefix != name {
			rec.Prefix = t.tenant.prefix
		}
		ops = append(ops, engine.PutTenant(rec))
	}
	type at struct{ prefix, name string }
	put := set[at]{}
	for k, s := range d.services {
		if s.service != nil {
			put.add(at{k.tenant.prefix, k.name})
			ops = append(ops, engine.PutService(engine.Service{ID: s.service.id, Tenant: k.tenant.prefix, Name: k.name, MTime: s.mtime, Mode: uint32(s.mode)}))
		}
	}
	for k, s := range d.services { // a tenant that was made where another one was has its prefix
		if s.service == nil && !put.has(at{k.tenant.prefix, k.name}) {
			ops = append(ops, engine.DeleteService(k.tenant.prefix, k.name))
		}
	}
	names := newStoredNames()
	for service, in := range d.inside {
		ops = append(ops, in.ops(service, d.pieced, names)...)
	}
	for _, in := range d.inside {
		ops = append(ops, in.gone(names)...)
	}
	for _, v := range d.dropped {
		ops = append(ops, engine.DeletePieces(v.id, len(v.data())))
	}
	for service, floor := range d.floors {
		if floor == 0 {
			ops = append(ops, engine.DeleteFloor(service))
		} else {
			ops = append(ops, engine.PutFloor(service, floor))
		}
	}
	for service, size := range d.bares {
		if size == 0 {
			ops = append(ops, engine.DeleteBare(service))
		} else {
			ops = append(ops, engine.PutBare(service, size))
		}
	}
	for id, service := range d.moved {
		if service == 0 {
			ops = append(ops, engine.DeleteMoved(id))
		} else {
			ops = append(ops, engine.PutMoved(id, service))
		}
	}
	for k, i := range d.islands {
		if i == nil {
			ops = append(ops, engine.DeleteIsland(k.home, k.prefix))
		} else {
			ops = append(ops, engine.PutIsland(i.stored(k)))
		}
	}
	return ops
}

// storedName is where the store has something: under which service, and under which name there.
type storedName struct {
	home uint64
	name string
}

func (k entryKey) stored() storedName { return storedName{k.in.home, k.in.stored(k.name)} }

// storedNames are those under which the store has something afterwards.
type storedNames struct{ dirs, vars set[storedName] }

func newStoredNames() *storedNames { return &storedNames{} }

// ops is what is put.
func (c *contentDelta) ops(service uint64, pieced map[uint64]change, put *storedNames) []engine.Op {
	ops := make([]engine.Op, 0, len(c.dirs)+len(c.vars))
	for _, st := range c.layouts {
		if l := st.layout; l == nil {
			ops = append(ops, engine.DeleteLayout(service, st.id))
		} else {
			ops = append(ops, engine.PutLayout(service, engine.Layout{ID: st.id, Off: l.Off, Size: l.Size, Type: uint8(l.Type), BigEndian: l.BigEndian}))
		}
	}
	for _, st := range c.dirs {
		d := st.dir
		if d == nil {
			continue
		}
		at := st.stored()
		put.dirs.add(at)
		rec := engine.Dir{ID: d.id, Name: at.name, Least: d.least, MTime: d.mtime, Mode: uint32(d.mode)}
		if !d.isOwnPrefix() {
			rec.Prefix = d.dir.prefix
		}
		if d.dir.home != at.home {
			rec.Home = d.dir.home
		}
		ops = append(ops, engine.PutDir(at.home, rec))
	}
	for _, st := range c.vars {
		v := st.variable
		if v == nil {
			continue
		}
		at := st.stored()
		put.vars.add(at)
		ops = engine.AppendVariable(ops, at.home, engine.Variable{
			ID: v.id, Name: at.name, Version: v.version, MTime: v.mtime, Mode: uint32(v.mode), Writer: v.writtenBy(), Type: v.kind,
			Data: v.data(),
		}, pieced[v.id].stored())
	}
	return ops
}

// gone is what is deleted. A directory that was made where another one was has its prefix, if that is gone, and one that has gone to
// another service has kept it: of what is under the same names in the two, the latter's stays.
func (c *contentDelta) gone(put *storedNames) (ops []engine.Op) {
	for _, st := range c.dirs {
		if at := st.stored(); st.dir == nil && !put.dirs.has(at) {
			put.dirs.add(at)
			ops = append(ops, engine.DeleteDir(at.home, at.name))
		}
	}
	for _, st := range c.vars {
		if at := st.stored(); st.variable == nil && !put.vars.has(at) {
			put.vars.add(at)
			ops = append(ops, engine.DeleteVariable(at.home, at.name))
		}
	}
	return ops
}
