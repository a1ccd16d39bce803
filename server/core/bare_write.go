package core

import (
	"cmp"
	"slices"

	"github.com/commy-project/commyfs/bare"
	"github.com/commy-project/commyfs/model"
)

func bareVariable(v *variable, l *model.Layout) bare.Variable {
	return bare.Variable{ID: v.id, Off: l.Off, Size: l.Size, Version: v.dir.version(v.version)}
}

// writeBare brings the files of bare services to where the delta leads. It comes before the view is changed.
func (s *Core) writeBare(d *delta) {
	for _, st := range d.services {
		svc := st.service
		if svc == nil || d.bares[svc.id] == 0 || s.view.services[svc.id] != nil {
			continue
		}
		c := svc.content.Load()
		s.openBareFile(svc, c, d.bares[svc.id], nil)
		if f := c.bare.Load(); f != nil {
			f.Start()
		}
	}
	resize := func(longer bool) {
		for id, size := range d.bares {
			svc := s.view.services[id]
			if svc == nil || size == 0 || size > svc.bare != longer {
				continue
			}
			if c, f := svc.bareFile(); f != nil {
				s.wroteBare(svc, c, f.Resize(size))
			}
		}
	}
	resize(true)        // there may be variables behind the old end
	defer resize(false) // and those behind the new one have to go first
	for id, in := range d.inside {
		if svc := s.serviceIn(d, id); svc != nil {
			if c, f := svc.bareFile(); f != nil {
				if s.wroteBare(svc, c, s.writeVariables(c, f, in, d.events)) {
					f.Applied(d.rev)
				}
			}
		}
	}
}

// serviceIn finds a service that is there, or that the delta makes.
func (s *Core) serviceIn(d *delta, id uint64) *service {
	if svc := s.view.services[id]; svc != nil {
		return svc
	}
	for _, st := range d.services {
		if st.service != nil && st.service.id == id {
			return st.service
		}
	}
	return nil
}

// wroteBare gives a file up that could not be written to. What it lacks is written when it is opened again.
func (s *Core) wroteBare(svc *service, c *content, err error) bool {
	if err != nil {
		s.noBare(svc, err)
		c.closeBare()
	}
	return err == nil
}

// writeVariables writes what a delta has for a bare service into its file.
func (s *Core) writeVariables(c *content, f *bare.File, in *contentDelta, events []*event) error {
	layouts := map[uint64]*model.Layout{}
	for _, st := range in.layouts {
		layouts[st.id] = st.layout
		f.Forget(st.id)
	}
	var puts []*variable
	for _, st := range in.vars {
		v := st.variable
		if v == nil {
			continue
		}
		l, placed := layouts[v.id]
		was := s.view.byID.get(v.id)
		switch {
		case !placed && (c.layouts.get(v.id) == nil || was != nil && was.version == v.version): // another name or mode
		case !placed && was != nil && was.value == v.value: // another name: what programs have stored since counts
			f.Renumber(v.id, v.version)
		case v.kind != kindFound:
			puts = append(puts, v)
		case placed:
			memory, err := l.Memory(v.data(), nil)
			if err == nil {
				err = f.Track(bareVariable(v, l), memory)
			}
			if err != nil {
				return err
			}
		default:
			f.Took(v.id, v.version)
		}
	}
	// Now that all places are known: a put tells of what has bytes in common with it.
	inOrder(puts, events)
	for _, v := range puts {
		l := cmp.Or(layouts[v.id], c.layouts.get(v.id))
		memory, err := l.Memory(v.data(), nil)
		if err == nil {
			err = f.Put(bareVariable(v, l), memory)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// inOrder sorts variables as they were changed: they may have bytes in common.
func inOrder(list []*variable, events []*event) {
	if len(list) < 2 {
		return
	}
	order := map[uint64]int{}
	for i, ev := range events {
		if ev.kind == model.EventSet {
			order[ev.v.id] = i
		}
	}
	slices.SortFunc(list, func(a, b *variable) int { return cmp.Compare(order[a.id], order[b.id]) })
}
