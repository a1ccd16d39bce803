package core

import (
	"iter"
	"slices"

	"github.com/commy-project/commyfs/engine"
)

// A directory that goes to another service takes its keys with it: they stay those of the service in which it was made, its home, so
// that a move is a few records, however much is in the directory. It is an island from then on: its home has to be told that
// what is stored there is elsewhere. So is every directory that is stored in another service's keys than those of the
// directory that it is in, and what comes out of an island. A directory that is neither an island nor in one has always been in
// its home, and so has what its home does not know to be elsewhere: so their prefixes can be given again.

// islandKey is what an island has in the store, which nobody else has.
type islandKey struct {
	home   uint64
	prefix string
}

// island is where a directory is, and where it was. It is not changed.
type island struct {
	id, service uint64
	was         []uint64
}

// maxWas is how many services an island remembers. Who has known a variable in an earlier one, and has not heard of it since, does
// not find it by its id.
const maxWas = 64

func (i *island) stored(k islandKey) engine.Island {
	return engine.Island{Home: k.home, Prefix: k.prefix, ID: i.id, Service: i.service, Was: i.was}
}

// key is that of the directory as an island.
func (d *directory) key() islandKey { return islandKey{d.home, d.prefix} }

// islandsOf are the island that a directory is, and those that it is in.
func (b *batch) islandsOf(d *directory) iter.Seq[*island] {
	return func(yield func(*island) bool) {
		if len(b.islands.over) == 0 && len(b.view.islands) == 0 {
			return
		}
		for at := d; ; {
			if i := b.islands.get(at.key()); i != nil && !yield(i) {
				return
			}
			n := b.infos.get(at)
			if n == nil {
				return
			}
			at = n.in
		}
	}
}

// onIsland reports whether a directory is an island, or in one.
func (b *batch) onIsland(d *directory) bool {
	for range b.islandsOf(d) {
		return true
	}
	return false
}

// wasIn is where that has been which islands have brought along that is in a directory, as far as they say.
func (b *batch) wasIn(d *directory) (services []uint64) {
	for i := range b.islandsOf(d) {
		for _, id := range i.was {
			if id != d.service.id && !slices.Contains(services, id) && len(services) < maxWas {
				services = append(services, id)
			}
		}
	}
	return services
}

// setIsland makes a directory an island in a service, or takes an island there. from is where it was before, which can be the same.
func (b *batch) setIsland(d *directory, from, service uint64) {
	k := d.key()
	now := &island{id: d.id, service: service}
	was := b.islands.get(k)
	if was != nil {
		if was.service == service {
			return
		}
		now.was = was.was
	}
	if from != service && !slices.Contains(now.was, from) {
		now.was = append(slices.Clone(now.was), from)
	}
	if n := len(now.was); n > maxWas {
		now.was = now.was[n-maxWas:]
	}
	b.islands.set(k, now)
	b.wrote = true
}

// stranded makes an island of a directory that is renamed inside its service, if it has to be one. What it was in need not be there
// tomorrow to tell where it has been.
func (b *batch) stranded(d *dirInfo, to *directory) {
	k := d.dir.key()
	if (d.dir.home != to.home || b.onIsland(d.in)) && b.islands.get(k) == nil {
		b.islands.set(k, &island{id: d.id, service: d.dir.service.id, was: b.wasIn(d.in)})
	}
}

// astray is the same for a variable.
func (b *batch) astray(v *variable, to *directory) {
	if v.dir == to {
		return
	}
	still := b.wasIn(to)
	if service := to.service.id; b.moved.get(v.id) != service && slices.ContainsFunc(b.wasIn(v.dir), func(id uint64) bool { return !slices.Contains(still, id) }) {
		b.moved.set(v.id, service)
	}
}

// went is where things that were in a service are now, by how many islands say so.
type went map[uint64]map[uint64]int

func (w went) count(i *island, n int) {
	for _, from := range i.was {
		to := w[from]
		if to == nil {
			to = map[uint64]int{}
			w[from] = to
		}
		if to[i.service] += n; to[i.service] == 0 {
			delete(to, i.service)
		}
		if len(to) == 0 {
			delete(w, from)
		}
	}
}

// setIsland has an island at a place in the store, or none. The caller holds view.mu.
func (v *view) setIsland(k islandKey, now *island) {
	if was := v.islands[k]; was != nil {
		v.went.count(was, -1)
		delete(v.islands, k)
	}
	if now != nil {
		v.islands[k] = now
		v.went.count(now, 1)
	}
}
