package sync

import (
	"slices"
	"strings"
	"unique"

	"github.com/commy-project/commyfs/model"
)

// filling is the content of a service that is loaded for the first time, as far as its pages are here. There can be a million
// variables: nothing of a page is kept but what they need. It is out of everybody's sight until it is [filling.install]ed.
type filling struct {
	s      *Service
	values bool
	top    Dir // stands for the service's root, whose entries it has
	made   [indexShards][]*Variable
	dirs   []*Dir

	names  textArena
	data   byteArena
	writer unique.Handle[string] // the last one
	last   string
	dir    *Dir // where the last variable was, and its path
	path   string
}

func newFilling(s *Service, values bool) *filling { return &filling{s: s, values: values} }

// Blank reports whether nothing is known of what is in the service: it has not been loaded yet, and nobody has a node of it.
func (s *Service) Blank() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return !s.filled && s.root.emptyLocked()
}

// add takes a page. Directories come before what is in them.
func (f *filling) add(dirs []model.Dir, vars []model.Variable) {
	for _, d := range slices.SortedFunc(slices.Values(dirs), func(a, b model.Dir) int { return strings.Compare(a.Name, b.Name) }) {
		parent, name := f.parentOf(d.Name)
		if parent == nil || d.Name == "" || parent.childLocked(name) != nil {
			continue // no server of ours sends such
		}
		sub := &Dir{s: f.s, id: d.ID, name: strings.Clone(name), parent: f.above(parent), mtime: d.MTime, mode: d.Mode}
		parent.dirs.put(sub)
		f.dirs = append(f.dirs, sub)
	}
	names, data := 0, 0
	for i := range vars {
		names += len(vars[i].Name) - strings.LastIndexByte(vars[i].Name, '/') - 1
		data += len(vars[i].Data)
	}
	f.names.expect(names)
	f.data.expect(data)
	for i := range vars {
		f.addVariable(&vars[i])
	}
}

func (f *filling) addVariable(in *model.Variable) {
	dir, name := f.parentOf(in.Name)
	if dir == nil || in.Name == "" || dir.dirs.get(name) != nil || f.values && int64(len(in.Data)) != in.Size {
		return // no server of ours sends such
	}
	if in.Writer != f.last || f.writer == (unique.Handle[string]{}) {
		f.last, f.writer = in.Writer, unique.Make(in.Writer)
	}
	v := &Variable{s: f.s, id: in.ID, name: f.names.copy(name), parent: f.above(dir),
		version: in.Version, mtime: in.MTime, mode: in.Mode, writer: f.writer, size: in.Size, slot: in.Slot}
	if f.values {
		v.hold(f.data.copy(in.Data))
	}
	if !dir.vars.putLast(v) {
		if dir.vars.get(name) != nil {
			return
		}
		dir.vars.put(v)
	}
	shard := &f.made[shardOf(v.id)]
	*shard = append(*shard, v)
}

// above is the directory that the nodes in dir name as theirs.
func (f *filling) above(dir *Dir) *Dir {
	if dir == &f.top {
		return f.s.root
	}
	return dir
}

// parentOf returns the directory that holds name, and name's last component; nil if there is no such directory.
func (f *filling) parentOf(name string) (*Dir, string) {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return &f.top, name
	}
	if path := name[:i]; f.dir == nil || path != f.path {
		f.dir, f.path = f.find(path), path
	}
	return f.dir, name[i+1:]
}

func (f *filling) find(path string) *Dir {
	d := &f.top
	for comp := range strings.SplitSeq(path, "/") {
		if d = d.dirs.get(comp); d == nil {
			return nil
		}
	}
	return d
}

// fillLocked makes an empty service what the snapshot says, and returns what may have come from another service.
func (s *Service) fillLocked(sn *snapshot, prefix []string) []Notice {
	f := sn.filling
	if f == nil {
		f = newFilling(s, s.buffered())
		f.add(sn.dirs, sn.vars)
	}
	s.root.mtime, s.root.mode = sn.root.MTime, sn.root.Mode
	s.root.vars.take(&f.top.vars)
	s.root.dirs.take(&f.top.dirs)
	over := map[uint64]Node{}
	for _, d := range f.dirs {
		if was := s.c.index.put(d); was != nil {
			over[d.id] = was
		}
	}
	for _, was := range s.c.index.putAll(&f.made) {
		over[was.ID()] = was
	}
	for id, was := range over {
		if isAbove(was) {
			s.detachLocked(s.c.index.get(id))
			delete(over, id)
		}
	}
	return s.cameLocked(prefix, over)
}

// cameLocked returns notices of what is in a service that was not known before, and has come from another one: over is what has the same
// ids in those that have not told yet.
func (s *Service) cameLocked(prefix []string, over map[uint64]Node) (out []Notice) {
	roots := map[uint64]Node{}
	for id := range s.c.moves.left {
		roots[id] = s.c.index.get(id)
	}
	if t := s.c.moves.tally; t != nil {
		for id, x := range t.nodes {
			if x.known {
				roots[id] = s.c.index.get(id)
			}
		}
	}
	for id := range over {
		roots[id] = s.c.index.get(id)
	}
	seen := map[uint64]bool{}
	for id, n := range roots {
		if !s.holdsLocked(n, id) || over[id] != nil && over[stateOf(n).parent] != nil {
			continue // with what it is in
		}
		for _, n := range below(nil, n) {
			if seen[n.ID()] {
				continue
			}
			seen[n.ID()] = true
			st := stateOf(n)
			_, path, _ := placeIn(s, n)
			in := Notice{Kind: Created, ID: n.ID(), Parent: st.parent, MTime: st.mtime, Path: join(prefix, path)}
			if in.Variable, _ = n.(*Variable); in.Variable == nil {
				in.Dir = true
			}
			in.move = &movement{over: over[n.ID()], came: arrival{n: n, state: st}, first: true}
			out = append(out, in)
		}
	}
	return out
}

// arenaChunk is how much of an arena one of its users can keep in memory.
const arenaChunk = 4 << 10

// textArena has many short strings in few pieces of memory.
type textArena struct {
	b    *strings.Builder
	left int // expected
}

// expect says how much comes next.
func (a *textArena) expect(n int) { a.left = n }

func (a *textArena) copy(s string) string {
	if a.b == nil || a.b.Cap()-a.b.Len() < len(s) {
		a.b = &strings.Builder{}
		a.b.Grow(max(len(s), min(a.left, arenaChunk)))
	}
	a.left -= len(s)
	from := a.b.Len()
	a.b.WriteString(s)
	return a.b.String()[from:]
}

// byteArena is the same of values. A large one stays where it is.
type byteArena struct {
	b    []byte
	left int
}

func (a *byteArena) expect(n int) { a.left = n }

func (a *byteArena) copy(data []byte) []byte {
	a.left -= len(data)
	if len(data) == 0 {
		return nil
	}
	if len(data) > arenaChunk/4 {
		return data // most of its page is such
	}
	if cap(a.b)-len(a.b) < len(data) {
		a.b = make([]byte, 0, max(len(data), min(a.left+len(data), arenaChunk)))
	}
	from := len(a.b)
	a.b = append(a.b, data...)
	return a.b[from:len(a.b):len(a.b)]
}
