package core

import "strings"

// walk goes over what is in a directory, in the order of names, and if it is deep over all below, in the order of paths.
type walk struct {
	*cursor
	deep   bool
	least  uint64 // the least version of what came last
	levels []level
	path   []byte // of the directory that the walk is in, with a slash behind it
}

// level is a directory that the walk is in.
type level struct {
	dir    uint64
	size   int       // of walk.path without it
	least  uint64    // see dirInfo; of all that it is in too
	resume nodeKey   // where to go on after what is below
	wait   []waiting // what has been returned and not gone into, the last first: a-b comes between a and a/b
}

type waiting struct {
	dir   uint64
	name  string
	least uint64
}

// before tells whether what is in the directory comes before a name that is after the directory's own.
func (d waiting) before(name string) bool {
	rest, ok := strings.CutPrefix(name, d.name)
	return !ok || rest > "/"
}

// walk begins one over the directory of that id, whose path is path, and which has so much as least.
func (f frozen) walk(dir uint64, path string, least uint64, deep bool) *walk {
	w := &walk{cursor: f.from(nodeKey{dir: dir}), deep: deep, levels: []level{{dir: dir, least: least}}}
	if path != "" {
		w.path = append(append(w.path, path...), '/')
	}
	return w
}

// version is that of a variable which came last.
func (w *walk) version(v *variable) uint64 { return max(v.version, w.least) }

// next returns what comes next, and where that is in the service; false: that was all.
func (w *walk) next() (n entry, path string, ok bool) {
	for len(w.levels) > 0 {
		in := &w.levels[len(w.levels)-1]
		n, here := w.cursor.next()
		here = here && n.key().dir == in.dir
		last := len(in.wait) - 1
		switch {
		case last >= 0 && (!here || in.wait[last].before(n.name())):
			in.resume = nodeKey{dir: in.dir + 1}
			if here {
				in.resume = n.key()
			}
			d := in.wait[last]
			in.wait = in.wait[:last]
			w.levels = append(w.levels, level{dir: d.dir, size: len(w.path), least: max(in.least, d.least)})
			w.path = append(append(w.path, d.name...), '/')
			w.seek(nodeKey{dir: d.dir})
			continue
		case !here:
			w.path = w.path[:in.size]
			if w.levels = w.levels[:len(w.levels)-1]; len(w.levels) > 0 {
				w.seek(w.levels[len(w.levels)-1].resume)
			}
			continue
		}
		w.least = in.least
		if n.d != nil && w.deep {
			in.wait = append(in.wait, waiting{n.d.id, n.d.name, n.d.least})
		}
		if len(w.path) == 0 {
			return n, n.name(), true
		}
		return n, string(w.path) + n.name(), true
	}
	return entry{}, "", false
}
