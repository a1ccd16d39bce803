package fs

import (
	"cmp"
	"slices"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/fs/estate"
	"github.com/commy-project/commyfs/internal/names"
	varsync "github.com/commy-project/commyfs/sync"
)

// dirHandle is an open directory.
type dirHandle struct {
	mu      sync.Mutex // guards the following
	listing *listing   // nil: not read yet
	closed  bool

	record    *estate.Handle // what an heir must know; nil: nobody is told
	inherited bool           // another process began to read it
}

// listing walks over the entries of a directory as they were when the reading began, so that offsets mean something. It does
// not have them all: there can be a million.
type listing struct {
	level names.Level
	dots  [2]dirEntry
	// own are the files of this mount, and tenants and services, in order; hidden, the names that they or nobody has.
	own    []dirEntry
	hidden map[string]struct{}
	// cursor walks over what is in a service; nil above.
	cursor *varsync.Cursor
	room   []varsync.Child

	// where it is
	off  uint64
	left []dirEntry      // of own
	page []varsync.Child // of the cursor's
}

type dirEntry struct {
	name string
	id   uint64
	dir  bool
}

// pageEntries is how many entries are taken from a cursor at a time.
const pageEntries = 128

func isDir(n varsync.Node) bool {
	switch n := n.(type) {
	case *varsync.Variable, *unshared, *memoryNode:
		return false
	case *controlNode:
		return n.is(syscall.S_IFDIR)
	}
	return true
}

// list begins to list a directory.
func (f *FS) list(id uint64) (*listing, error) {
	if n, ok := f.node(id).(*controlNode); ok {
		return f.control.list(n), nil
	}
	for try := 0; ; try++ {
		p, err := f.place(id)
		if err != nil {
			return nil, err
		}
		l := f.listed(p, id)
		if l.cursor == nil || !p.dir.Gone() || try == 3 {
			return l, nil
		}
		// It has gone to another service since, and has left behind what was in it.
		l.cursor.Close()
		f.c.Await(id, f.opBound())
	}
}

// listed is the listing of a place.
func (f *FS) listed(p place, id uint64) *listing {
	l := &listing{level: p.level, dots: [2]dirEntry{{".", id, true}, {"..", parentID(f.node(id)), true}}}
	add := func(component string, n varsync.Node) {
		l.own = append(l.own, dirEntry{fileName(component, p.level), n.ID(), isDir(n)})
	}
	switch p.level {
	case names.Tenant:
		for _, t := range f.c.Tenants() {
			add(t.Name(), t)
		}
	case names.Service:
		for _, s := range p.tenant.Services() {
			add(s.Name(), s)
		}
	default:
		// A draft that is committed between the two is in both, and not in none.
		l.hidden = f.unshared.hiddenIn(id)
		for _, u := range f.unshared.in(id) {
			if _, name, removed := f.unshared.where(u); !removed {
				if add(name, u); u.private() {
					l.hidden[name] = struct{}{}
				}
			}
		}
		l.cursor, l.room = p.dir.Cursor(), make([]varsync.Child, pageEntries)
	}
	slices.SortFunc(l.own, func(a, b dirEntry) int { return cmp.Compare(a.name, b.name) })
	l.left = l.own
	return l
}

// peek returns the next entry; false: there is none.
func (l *listing) peek() (dirEntry, bool) {
	if l.off < uint64(len(l.dots)) {
		return l.dots[l.off], true
	}
	e, ok := l.shared()
	if len(l.left) > 0 && (!ok || l.left[0].name < e.name) {
		return l.left[0], true
	}
	return e, ok
}

// pass goes on behind the entry that peek returns.
func (l *listing) pass() {
	l.off++
	if l.off <= uint64(len(l.dots)) {
		return
	}
	e, ok := l.shared()
	if len(l.left) > 0 && (!ok || l.left[0].name <= e.name) {
		less := !ok || l.left[0].name < e.name
		if l.left = l.left[1:]; less {
			return
		}
	}
	l.page = l.page[1:]
}

// shared returns the next entry that is not this mount's own.
func (l *listing) shared() (dirEntry, bool) {
	if l.cursor == nil {
		return dirEntry{}, false
	}
	for {
		if len(l.page) == 0 {
			n := l.cursor.Next(l.room)
			if n == 0 {
				return dirEntry{}, false
			}
			l.page = l.room[:n]
		}
		c := l.page[0]
		if _, hidden := l.hidden[c.Name]; !hidden {
			return dirEntry{fileName(c.Name, l.level), c.Node.ID(), isDir(c.Node)}, true
		}
		l.page = l.page[1:]
	}
}

// seek goes to an offset that an entry was given, or behind the end.
func (l *listing) seek(off uint64) {
	if off < l.off {
		l.off, l.left, l.page = 0, l.own, nil
		if l.cursor != nil {
			l.cursor.Rewind()
		}
	}
	for l.off < off {
		if _, ok := l.peek(); !ok {
			return
		}
		l.pass()
	}
}

func (l *listing) close() {
	if l != nil && l.cursor != nil {
		l.cursor.Close()
	}
}

// dirState is a number that changes when an entry of a directory comes, goes or is renamed.
func (f *FS) dirState(id uint64) uint64 {
	switch d := f.node(id).(type) {
	case interface{ MTime() int64 }:
		return uint64(d.MTime())
	case root:
		return uint64(f.c.MTime())
	}
	return 0
}

// bequeath notes of which entries a listing is. Offsets mean something to an heir only if it has the same.
func (d *dirHandle) bequeath(state uint64, l *listing) {
	switch {
	case d.record == nil:
	case l.cursor != nil && len(l.own) > 0: // files of this mount
		d.record.SetUnread()
	default:
		d.record.SetRead(estate.Read{Version: state})
	}
}

// goesOn reports whether a listing has the entries that the one before it had.
func (d *dirHandle) goesOn(state uint64, l *listing) bool {
	if d.record == nil {
		return false
	}
	left, ok := d.record.Read()
	return ok && left.Version == state && (l.cursor == nil || len(l.own) == 0)
}

// close ends what the kernel has closed.
func (d *dirHandle) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.listing.close()
	d.listing, d.closed = nil, true
}

// parentID is the number of the directory above.
func parentID(n varsync.Node) uint64 {
	switch n := n.(type) {
	case *varsync.Service:
		return n.Tenant().ID()
	case *varsync.Dir:
		if up := n.Parent(); up != nil {
			return up.ID()
		}
	}
	return rootID
}

// ReadDir lists names.
func (f *FS) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) (status fuse.Status) {
	defer f.end(f.begin("readdir", &in.InHeader), &status)
	return f.readDir(in, func(e fuse.DirEntry, _ dirEntry) bool { return out.AddDirEntry(e) })
}

// ReadDirPlus lists names with attributes: each entry is a lookup.
func (f *FS) ReadDirPlus(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) (status fuse.Status) {
	defer f.end(f.begin("readdirplus", &in.InHeader), &status)
	keep := f.searchable(in.NodeId)
	return f.readDir(in, func(e fuse.DirEntry, d dirEntry) bool {
		eo := out.AddDirLookupEntry(e)
		if eo == nil {
			return false
		}
		if !keep || d.name == "." || d.name == ".." || isControl(in.NodeId) {
			return true
		}
		// The listing can be older than the last change: a name that was taken away since would stay in the kernel.
		n, err := f.find(in.NodeId, d.name)
		if err != nil || n == nil || n.ID() != d.id {
			return true
		}
		if _, service := n.(*varsync.Service); !service { // listing a tenant is no reason to load its services
			f.entry(&in.InHeader, d.name, n, eo)
		}
		return true
	})
}

func (f *FS) readDir(in *fuse.ReadIn, add func(fuse.DirEntry, dirEntry) bool) fuse.Status {
	d := f.handles.dir(in.Fh)
	if d == nil {
		return fuse.EBADF
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return fuse.EBADF
	}
	if in.Offset == 0 || d.listing == nil {
		state := f.dirState(in.NodeId)
		l, err := f.list(in.NodeId)
		if err != nil {
			return f.errno("readdir", err)
		}
		if d.inherited && in.Offset > 0 && !d.goesOn(state, l) {
			l.close()
			return fuse.EIO
		}
		d.listing.close()
		d.listing, d.inherited = l, false
		d.bequeath(state, l)
	}
	l := d.listing
	l.seek(in.Offset)
	if l.off != in.Offset {
		return fuse.OK // behind the end
	}
	for e, ok := l.peek(); ok; e, ok = l.peek() {
		mode := uint32(syscall.S_IFREG)
		if e.dir {
			mode = syscall.S_IFDIR
		}
		if !add(fuse.DirEntry{Name: e.name, Ino: e.id, Mode: mode, Off: l.off + 1}, e) {
			break
		}
		l.pass()
	}
	return fuse.OK
}
