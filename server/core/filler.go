package core

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unique"

	"github.com/commy-project/commyfs/engine"
	"github.com/commy-project/commyfs/model"
)

// filler puts what the store has of a service into an empty content: first all directories, which come in no order that helps and
// not all of which are the service's, then the variables.
type filler struct {
	*content
	core    *Core
	service *service
	// by has the directories of the service by where the store has what is in them; last is the one that was wanted last.
	by   map[engine.Area]*directory
	last *directory
	ids  set[uint64] // of directories

	// found are the directories that have come, and first, by where they are stored, that which came last of those which are
	// not linked yet: its number in found, and 1.
	found []foundDir
	first map[engine.Area]int
	// walk are those of the service below which nothing is linked yet.
	walk []*directory
	// islands are directories that were made in the service, and elsewhere has the prefixes of those, and of all below them, that
	// are in another one now.
	islands   []engine.Island
	elsewhere set[string]

	writer unique.Handle[string]
}

// foundDir is a directory that has come. next is like filler.first: the one that came before, of those stored in the same place.
type foundDir struct {
	engine.Dir
	next int
}

func newFiller(s *Core, c *content) *filler {
	root := c.root
	f := &filler{content: c, core: s, service: root.service, last: root, first: map[engine.Area]int{}, walk: []*directory{root}}
	f.by = map[engine.Area]*directory{root.area(): root}
	f.ids.add(root.id)
	return f
}

// area is where the store has what is in a directory.
func (d *directory) area() engine.Area { return engine.Area{Home: d.home, Prefix: d.prefix} }

// prefixOf is the first part of a stored name, which tells the directory.
func prefixOf(stored string) string { return stored[:strings.LastIndexByte(stored, '/')+1] }

// Fill takes directories, until all have come, and puts variables where they belong.
func (f *filler) Fill(p engine.Page) error {
	f.service.steps.Add(1)
	f.islands = append(f.islands, p.Islands...)
	for _, e := range p.Dirs {
		at := engine.Area{Home: p.Home, Prefix: prefixOf(e.Name)}
		f.found = append(f.found, foundDir{e, f.first[at]})
		f.first[at] = len(f.found)
	}
	vars := make([]*variable, len(p.Variables))
	for i := range p.Variables {
		e := &p.Variables[i]
		if i == 0 || e.Writer != p.Variables[i-1].Writer {
			f.writer = unique.Make(e.Writer)
		}
		at := f.place(p.Home, e.Name)
		vars[i] = &variable{
			id: e.ID, version: e.Version, mtime: e.MTime, mode: model.Mode(e.Mode), dir: at.in, name: at.name, writer: f.writer,
			value: newValue(e.Data), slot: f.high, kind: e.Type,
		}
		f.fill(at, entry{v: vars[i]})
		f.high++
	}
	for _, i := range p.InPieces {
		vars[i].pieced = true
	}
	f.core.view.remember(vars)
	for _, d := range p.Damaged {
		f.core.damagedValue(f.content, f.place(p.Home, d.Name), d)
	}
	return nil
}

// Has tells whether the service has the directory that is stored so, and fails if nobody has.
func (f *filler) Has(home uint64, prefix string) (bool, error) {
	switch {
	case f.by[engine.Area{Home: home, Prefix: prefix}] != nil:
		return true, nil
	case home != f.root.home || f.elsewhere.has(prefix):
		return false, nil
	}
	return false, fmt.Errorf("%w: the directory that this is in is not there", engine.ErrCorrupt)
}

// place is where in the service something is that is stored under a name, in a directory that the service has.
func (f *filler) place(home uint64, stored string) entryKey {
	prefix := prefixOf(stored)
	if f.last.prefix != prefix || f.last.home != home {
		f.last = f.by[engine.Area{Home: home, Prefix: prefix}]
	}
	return entryKey{f.last, stored[len(prefix):]}
}

// Missing links all directories that can be, from the top down.
func (f *filler) Missing(read engine.Areas) (missing []engine.Area, err error) {
	var waiting []*directory
	for len(f.walk) > 0 {
		d := f.walk[len(f.walk)-1]
		f.walk = f.walk[:len(f.walk)-1]
		if !read.Hold(d.home, d.prefix) {
			waiting, missing = append(waiting, d), append(missing, d.area())
			continue
		}
		if err := f.take(d.area(), func(e *engine.Dir) error { return f.link(d, e) }); err != nil {
			return nil, err
		}
	}
	if f.walk = waiting; len(missing) > 0 {
		return missing, nil
	}
	if err := f.leave(); err != nil {
		return nil, err
	}
	f.found, f.first, f.islands, f.ids = nil, nil, nil, nil
	return nil, nil
}

// take calls fn with the directories that are stored in a place.
func (f *filler) take(at engine.Area, fn func(*engine.Dir) error) error {
	n := f.first[at]
	delete(f.first, at)
	for n > 0 {
		e := &f.found[n-1]
		if err := fn(&e.Dir); err != nil {
			return err
		}
		n = e.next
	}
	return nil
}

// link puts a directory into the one that it is in.
func (f *filler) link(in *directory, e *engine.Dir) error {
	d := &directory{id: e.ID, service: f.service, home: cmp.Or(e.Home, in.home), prefix: cmp.Or(e.Prefix, e.Name+"/")}
	if f.by[d.area()] != nil || f.ids.has(d.id) {
		return fmt.Errorf("%w: what is in directory %q is in another one", engine.ErrCorrupt, e.Name)
	}
	f.by[d.area()] = d
	f.ids.add(d.id)
	f.walk = append(f.walk, d)
	n := &dirInfo{id: e.ID, dir: d, in: in, name: e.Name[len(in.prefix):], least: e.Least, meta: meta{e.MTime, model.Mode(e.Mode)}}
	d.now = n
	f.fill(entryKey{in, n.name}, entry{d: n})
	if d.home == f.root.home {
		f.prefixed(d, n.isOwnPrefix())
	}
	return nil
}

// leave finds out which directories that were made in the service are in another one now. It is none of the service's business what
// is there; but their prefixes are not free. What then belongs to nobody is an error.
func (f *filler) leave() error {
	var walk []string
	taken := func(id uint64, prefix string) {
		f.prefixed(&directory{id: id, home: f.root.home, prefix: prefix}, false)
	}
	for _, i := range f.islands {
		if f.by[engine.Area{Home: i.Home, Prefix: i.Prefix}] == nil {
			f.elsewhere.add(i.Prefix)
			taken(i.ID, i.Prefix)
			walk = append(walk, i.Prefix)
		}
	}
	for len(walk) > 0 {
		in := walk[len(walk)-1]
		walk = walk[:len(walk)-1]
		err := f.take(engine.Area{Home: f.root.home, Prefix: in}, func(e *engine.Dir) error {
			if cmp.Or(e.Home, f.root.home) != f.root.home {
				return nil // it was made in another service, which has an island for it
			}
			own := e.Name + "/"
			prefix := cmp.Or(e.Prefix, own)
			if f.by[engine.Area{Home: f.root.home, Prefix: prefix}] != nil {
				return fmt.Errorf("%w: what is in directory %q, which is elsewhere, is in another one", engine.ErrCorrupt, e.Name)
			}
			if prefix == own {
				delete(f.prefixes, prefix) // of an island
			} else {
				taken(e.ID, prefix)
			}
			if !f.elsewhere.has(prefix) {
				f.elsewhere.add(prefix)
				walk = append(walk, prefix)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for at := range f.first {
		if at.Home != f.root.home {
			delete(f.first, at) // what others have between what is the service's
		}
	}
	if len(f.first) == 0 {
		return nil
	}
	// They are the first that have come of all homes.
	i := slices.IndexFunc(f.found, func(e foundDir) bool { return f.first[engine.Area{Home: f.root.home, Prefix: prefixOf(e.Name)}] != 0 })
	return fmt.Errorf("%w: directory %q is in itself, or in one that is not there", engine.ErrCorrupt, f.found[i].Name)
}

// fill is put while the content is nobody else's.
func (c *content) fill(k entryKey, n entry) {
	c.put(k, n)
	version := uint64(0)
	if n.v != nil {
		version = k.in.version(n.v.version)
	}
	k.in.contains(len(k.name), version, func(d *directory) *dirInfo { return d.now })
}
