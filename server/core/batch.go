package core

import (
	"github.com/commy-project/commyfs/diff"
	"github.com/commy-project/commyfs/engine"
	"github.com/commy-project/commyfs/model"
)

// batch collects what a number of reports change, over a view that stays as it is until the engine has stored the batch.
// Each report is kept or rolled back as a whole.
type batch struct {
	view *view

	tenants  layer[string, *tenant]
	called   layer[*tenant, string] // the name of a tenant; "": it is gone
	prefixed layer[string, *tenant] // as view.prefixed has it
	services layer[placeKey, *service]
	places   layer[*service, placeKey] // where a service is now; the zero key when it is gone
	crowds   layer[*tenant, int]       // number of services of a tenant
	entries  layer[entryKey, entry]
	counts   layer[*directory, int]       // number of entries of a directory
	infos    layer[*directory, *dirInfo]  // what a directory is called, and where it is
	prefixes layer[prefixKey, *directory] // as content.prefixes has it
	ids      layer[uint64, *variable]
	moved    layer[uint64, uint64]     // as view.moved has it; 0: not there
	islands  layer[islandKey, *island] // as view.islands has it
	floors   layer[*service, uint64]
	bares    layer[*service, int64] // sizes of bare services; 0: it is a named one
	layouts  layer[layoutKey, *model.Layout]

	tenantMetas  layer[*tenant, meta]
	serviceMetas layer[*service, meta]

	// changes has what is known of how large values came from others. Of those that are rolled back it is of no use.
	changes map[*variable]change

	// What has gone to other services: departed has what a directory is there, ferries have what is in them, and ferried has that
	// by the directories.
	departed layer[*directory, *directory]
	ferries  []*ferry
	ferried  map[*directory][]entry
	brought  int // entries that the report has taken to other services

	now    int64 // commit time of the last change
	events []*event
	tree   []*treeEvent
	taken  []slotRef // slots given to new variables
	freed  []slotRef // slots of variables that are gone
	bytes  int       // value bytes that the engine will be given
	pieces int       // at most so many operations are for pieces of large values
	wrote  bool      // something other than deletions
	// answers is about how many bytes the answers to the reports take in the store.
	answers int
	// work is about how many bytes of memory all reports so far have filled, those that were refused as well.
	work int

	// what to come back to
	saved struct {
		events, tree, taken, freed, bytes, pieces, ferries int
		wrote                                              bool
	}
}

// serviceKey names a service.
type serviceKey struct{ tenant, name string }

// placeKey is a name in a tenant.
type placeKey struct {
	tenant *tenant
	name   string
}

// entryKey is a name in a directory.
type entryKey struct {
	in   *directory
	name string
}

// prefixKey is a prefix of a service's names in the store.
type prefixKey struct {
	service *service
	prefix  string
}

// layoutKey names a registered variable.
type layoutKey struct {
	service *service
	id      uint64
}

type slotRef struct {
	service *service
	slot    uint32
}

func newBatch(v *view, now int64) *batch {
	b := &batch{
		view:    v,
		now:     now,
		tenants: newLayer(func(name string) *tenant { return v.tenants[name] }),
		called: newLayer(func(t *tenant) string {
			if v.tenants[t.name] != t {
				return ""
			}
			return t.name
		}),
		prefixed: newLayer(func(prefix string) *tenant { return v.prefixed[prefix] }),
		services: newLayer(func(k placeKey) *service { return k.tenant.services[k.name] }),
		places: newLayer(func(s *service) placeKey {
			if v.services[s.id] != s {
				return placeKey{}
			}
			return placeKey{s.tenant, s.name}
		}),
		crowds:   newLayer(func(t *tenant) int { return len(t.services) }),
		counts:   newLayer(func(d *directory) int { return d.count }),
		infos:    newLayer(func(d *directory) *dirInfo { return d.now }),
		prefixes: newLayer(func(k prefixKey) *directory { return k.service.content.Load().prefixes[k.prefix] }),
		departed: newLayer(func(*directory) *directory { return nil }),
		moved:    newLayer(func(id uint64) uint64 { return v.moved[id] }),
		islands:  newLayer(func(k islandKey) *island { return v.islands[k] }),
		floors:   newLayer(func(s *service) uint64 { return s.content.Load().floor }),
		bares:    newLayer(func(s *service) int64 { return s.bare }),
		layouts:  newLayer(func(k layoutKey) *model.Layout { return k.service.content.Load().layouts.get(k.id) }),

		tenantMetas:  newLayer(func(t *tenant) meta { return t.meta }),
		serviceMetas: newLayer(func(s *service) meta { return s.meta }),
	}
	b.entries, b.ids = newLayer(b.hadUnder), newLayer(b.hadBy)
	return b
}

// keep makes what was done since the last keep or rollback part of the batch.
func (b *batch) keep() {
	b.tenants.keep()
	b.called.keep()
	b.prefixed.keep()
	b.services.keep()
	b.places.keep()
	b.crowds.keep()
	b.entries.keep()
	b.counts.keep()
	b.infos.keep()
	b.prefixes.keep()
	b.ids.keep()
	b.moved.keep()
	b.islands.keep()
	b.departed.keep()
	b.floors.keep()
	b.bares.keep()
	b.layouts.keep()
	b.tenantMetas.keep()
	b.serviceMetas.keep()
	s := &b.saved
	s.events, s.tree, s.taken, s.freed, s.bytes, s.wrote = len(b.events), len(b.tree), len(b.taken), len(b.freed), b.bytes, b.wrote
	s.pieces, s.ferries = b.pieces, len(b.ferries)
}

// rollback forgets what was done since.
func (b *batch) rollback() {
	b.tenants.rollback()
	b.called.rollback()
	b.prefixed.rollback()
	b.services.rollback()
	b.places.rollback()
	b.crowds.rollback()
	b.entries.rollback()
	b.counts.rollback()
	b.infos.rollback()
	b.prefixes.rollback()
	b.ids.rollback()
	b.moved.rollback()
	b.islands.rollback()
	b.departed.rollback()
	b.floors.rollback()
	b.bares.rollback()
	b.layouts.rollback()
	b.tenantMetas.rollback()
	b.serviceMetas.rollback()
	s := &b.saved
	b.giveBack(s.taken, s.ferries)
	b.events, b.tree, b.taken, b.freed, b.bytes, b.wrote = b.events[:s.events], b.tree[:s.tree], b.taken[:s.taken], b.freed[:s.freed], s.bytes, s.wrote
	b.pieces, b.ferries = s.pieces, b.ferries[:s.ferries]
}

// service finds a service by its names.
func (b *batch) service(k serviceKey) *service {
	if t := b.tenants.get(k.tenant); t != nil {
		return b.services.get(placeKey{t, k.name})
	}
	return nil
}

// namesOf are the names of a service; the zero key when it is gone.
func (b *batch) namesOf(s *service) serviceKey {
	k := b.places.get(s)
	if k == (placeKey{}) {
		return serviceKey{}
	}
	return serviceKey{b.called.get(k.tenant), k.name}
}

// abandon forgets the whole batch.
func (b *batch) abandon() { b.giveBack(0, 0) }

// giveBack frees the slots that were taken since there were so many of them, and so many ferries.
func (b *batch) giveBack(taken, ferries int) {
	for _, r := range b.taken[taken:] {
		r.service.content.Load().giveSlot(r.slot)
	}
	for _, f := range b.ferries[ferries:] {
		f.giveBack()
	}
}

// tick is the commit time of the next change: no two are alike.
func (b *batch) tick() int64 {
	b.now++
	return b.now
}

// keys is about how many operations the engine will be given.
func (b *batch) keys() int {
	return len(b.entries.over) + len(b.islands.over) + len(b.services.over) + len(b.tenants.over) + len(b.floors.over) +
		len(b.bares.over) + len(b.layouts.over) + len(b.tenantMetas.over) + len(b.serviceMetas.over) + len(b.moved.over) + b.pieces
}

// empty reports whether the kept reports changed nothing.
func (b *batch) empty() bool { return len(b.events) == 0 && len(b.tree) == 0 }

// put has a directory have n under a name, in the place of what it had before, and keeps count. A variable in it is nobody
// else's yet.
func (b *batch) put(k entryKey, n entry) {
	b.work += putCost + len(k.name)
	was := b.entries.get(k)
	if over, ok := b.entries.over[k]; ok && over.v != nil {
		b.bytes -= len(over.v.data())
		b.pieces -= engine.Pieces(len(over.v.data()))
	}
	if was.v != nil && was.v.pieced {
		b.pieces++ // those that are removed
	}
	b.entries.set(k, n)
	if was.d != nil && (n.d == nil || n.d.dir != was.d.dir) {
		b.setPrefix(was.d.dir, true)
	}
	switch {
	case n.v != nil:
		n.v.pieced = engine.Pieces(len(n.v.data())) > 0
		b.bytes += len(n.v.data())
		b.pieces += engine.Pieces(len(n.v.data()))
		b.ids.set(n.v.id, n.v)
		k.in.contains(len(k.name), n.v.version, b.infos.get)
	case n.d != nil:
		b.infos.set(n.d.dir, n.d)
		b.setPrefix(n.d.dir, n.d.isOwnPrefix())
		k.in.contains(len(k.name), 0, b.infos.get)
		if dir := n.d.dir; dir.had {
			dir.highest = max(dir.highest, n.d.least)
			k.in.contains(len(k.name)+1+dir.longest, dir.highest, b.infos.get)
		}
	}
	if !n.none() {
		b.wrote = true
	}
	if was.none() == n.none() {
		return
	}
	if n.none() {
		b.counts.set(k.in, b.counts.get(k.in)-1)
	} else {
		b.counts.set(k.in, b.counts.get(k.in)+1)
	}
}

// setPrefix keeps prefixes, for a directory that is gone, or whose prefix is its own, or is not.
func (b *batch) setPrefix(d *directory, own bool) {
	if b.departed.get(d) != nil || d.home != d.service.id {
		return
	}
	k := prefixKey{d.service, d.prefix}
	switch was := b.prefixes.get(k); {
	case !own && was != d:
		b.prefixes.set(k, d)
	case own && was == d:
		b.prefixes.set(k, nil)
	}
}

// risen is a variable with the version that it has.
func (b *batch) risen(v *variable) *variable {
	version := v.dir.versionBy(v.version, b.infos.get)
	if version == v.version {
		return v
	}
	now := *v
	now.version = version
	b.differs(&now, v, []diff.Range{})
	return &now
}

// highest is no less than the version of a variable, or than all that there have been in a directory.
func (b *batch) highest(n entry) uint64 {
	switch {
	case n.v != nil:
		return n.v.version
	case !n.d.dir.had:
		return 0
	}
	return n.d.dir.versionBy(n.d.dir.highest, b.infos.get)
}

// path is where a name in a directory is in its service.
func (b *batch) path(k entryKey) string { return k.in.pathBy(k.name, b.infos.get) }

// putCost is about what the layers and the tree take for a change of a name, in memory and in time.
const putCost = 1 << 10

// raise lifts the service's version floor.
func (b *batch) raise(s *service, version uint64) {
	if version > b.floors.get(s) {
		b.floors.set(s, version)
	}
}

// slot takes a free entry of the service's memory file.
func (b *batch) slot(s *service) uint32 {
	slot := s.content.Load().takeSlot()
	b.taken = append(b.taken, slotRef{s, slot})
	return slot
}
