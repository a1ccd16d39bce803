package fs

import (
	"context"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// A request names a directory by its number, a change by its path. Somebody else can rename the directory, or one above it, while the
// change is on its way.

// whereabouts tells whether a directory is where it was. It may not be there again: it has been elsewhere then.
type whereabouts struct {
	tenant, service string
	dir             *varsync.Dir
	moved           uint64
}

func (p place) whereabouts() (w whereabouts) {
	if p.tenant != nil {
		w.tenant = p.tenant.Name()
	}
	if p.service != nil {
		w.service = p.service.Name()
	}
	if w.dir = p.dir; p.dir != nil {
		_, w.moved = p.dir.Where()
	}
	return w
}

// aim has a change be of what is called name in a place, and nowhere else.
func (p place) aim(ch *model.Change, name string) {
	ch.Tenant, ch.Service, ch.Name = p.target(name)
	ch.Within = p.within()
}

// aimTo is aim for the second name of a change.
func (p place) aimTo(ch *model.Change, name string) {
	ch.ToTenant, ch.ToService, ch.ToName = p.target(name)
	ch.ToWithin = p.within()
}

func (p place) within() uint64 {
	if p.id == rootID {
		return 0 // for the server nothing has tenants
	}
	return p.id
}

// atPlaces has the server make a change that names places, and again where they are by then if it was refused because one of them has
// moved. The events that the server has refused it for come before its answer.
func (f *FS) atPlaces(ctx context.Context, change func() error, places ...*place) error {
	for {
		var was [2]whereabouts
		for i, p := range places {
			was[i] = p.whereabouts()
		}
		err := change()
		if !misses(err) || ctx.Err() != nil {
			return err
		}
		moved := false
		for i, p := range places {
			now, gone := f.place(p.id)
			if gone != nil {
				return err
			}
			moved = moved || now.whereabouts() != was[i]
			*p = now
		}
		if !moved {
			return err
		}
	}
}

// reportAt reports a change of what is called name in a place.
func (f *FS) reportAt(ctx context.Context, ch model.Change, p *place, name string) (res model.Result, err error) {
	err = f.atPlaces(ctx, func() error {
		p.aim(&ch, name)
		list, err := f.c.Report(ctx, ch)
		if err == nil {
			res = list[0]
		}
		return err
	}, p)
	return res, err
}

// probeAt asks whether a change of what is called name in a place would be accepted.
func (f *FS) probeAt(ctx context.Context, probe *model.Probe, p *place, name string) (answer *model.Probed, err error) {
	err = f.atPlaces(ctx, func() (err error) {
		probe.Tenant, probe.Service, probe.Name = p.target(name)
		answer, err = f.c.Probe(ctx, probe)
		return err
	}, p)
	return answer, err
}

// misses reports whether an error can be that a path leads to nothing, or to something else than was meant.
func misses(err error) bool {
	switch model.CodeOf(err) {
	case model.CodeNotFound, model.CodeExists, model.CodeNotEmpty, model.CodeIsDirectory, model.CodeNotDirectory, model.CodeConflict:
		return true
	}
	return false
}
