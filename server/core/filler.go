package core

import (
	"fmt"
	"strings"

	"github.com/commy-project/commyfs/engine"
	"github.com/commy-project/commyfs/model"
)

// filler puts what the store has of a service into an empty content: first all directories, which come in no order that helps,
// then the variables.
type filler struct {
	*content
	dirs   []engine.Dir
	linked bool
	// by has the directories by their prefixes; last is the one that was wanted last.
	by   map[string]*directory
	last *directory
}

func newFiller(c *content) *filler {
	return &filler{content: c, by: map[string]*directory{"": c.root}, last: c.root}
}

// place is where in the service something is that the store has under a name.
func (f *filler) place(stored string) (entryKey, error) {
	i := strings.LastIndexByte(stored, '/') + 1
	if prefix := stored[:i]; f.last.prefix != prefix {
		d := f.by[prefix]
		if d == nil {
			return entryKey{}, fmt.Errorf("%w: the directory that %q is in is not there", engine.ErrCorrupt, stored)
		}
		f.last = d
	}
	return entryKey{f.last, stored[i:]}, nil
}

// link puts the directories, which are all there, where they belong.
func (f *filler) link() error {
	if f.linked {
		return nil
	}
	f.linked = true
	list := make([]*dirInfo, len(f.dirs))
	ids := map[uint64]bool{0: true}
	for i := range f.dirs {
		e := &f.dirs[i]
		d := &directory{id: e.ID, service: f.root.service, home: f.root.home, prefix: e.Prefix}
		if d.prefix == "" {
			d.prefix = e.Name + "/"
		}
		if f.by[d.prefix] != nil || ids[d.id] {
			return fmt.Errorf("%w: what is in directory %q is in another one", engine.ErrCorrupt, e.Name)
		}
		f.by[d.prefix], ids[d.id] = d, true
		list[i] = &dirInfo{id: e.ID, dir: d, least: e.Least, meta: meta{e.MTime, model.Mode(e.Mode)}}
		d.now = list[i]
	}
	for i, n := range list {
		at, err := f.place(f.dirs[i].Name)
		if err != nil {
			return err
		}
		n.in, n.name = at.in, at.name
	}
	seen := map[*directory]int{f.root: -1} // on the way up from which of them
	for i, n := range list {
		d := n.dir
		for ; seen[d] == 0; d = d.now.in {
			seen[d] = i + 1
		}
		if seen[d] == i+1 && d != n.dir || n.in == n.dir {
			return fmt.Errorf("%w: directory %q is in itself", engine.ErrCorrupt, f.dirs[i].Name)
		}
	}
	for _, n := range list {
		f.fill(entryKey{n.in, n.name}, entry{d: n})
		f.prefixed(n.dir, n.isOwnPrefix())
	}
	f.dirs = nil
	return nil
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
