package fs

import (
	"strings"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/internal/names"
	varsync "github.com/commy-project/commyfs/sync"
)

// tree is what the kernel should have, as package kernel asks for it.
type tree struct{ f *FS }

func (t tree) Find(dir uint64, file string) (uint64, error) {
	n, err := t.f.findNow(dir, file)
	if n == nil {
		return 0, err
	}
	return n.ID(), nil
}

func (t tree) Attr(id uint64, dir bool, out *fuse.Attr) bool {
	if m := t.f.memory.node(id); m != nil {
		st, there := m.s.MemoryStat()
		t.f.memoryAttr(m, st, out)
		return there
	}
	n := t.f.node(id)
	if n == nil {
		out.Ino = id
		out.Mode, out.Nlink = syscall.S_IFREG|0o644, 1
		if dir {
			out.Mode = syscall.S_IFDIR | 0o755
		}
		out.Owner = fuse.Owner{Uid: t.f.o.UID, Gid: t.f.o.GID}
		t.f.setShown(id, out) // it is still read by who has it open
		return false
	}
	t.f.attr(n, out)
	if v, ok := n.(*varsync.Variable); ok && v.Dirty() {
		setSize(out, v.DirtySize()) // the kernel has counted what this mount's editors have written since
	}
	t.f.setShown(id, out)
	return true
}

func (t tree) Value(id uint64) (varsync.Notice, bool) {
	v, ok := t.f.c.Node(id).(*varsync.Variable)
	if !ok || v.Gone() {
		return varsync.Notice{}, false
	}
	return varsync.Notice{Kind: varsync.Modified, ID: id, Parent: v.Parent().ID(), Path: pathOf(v), MTime: v.Current().MTime}, true
}

func (t tree) Written(id uint64) bool { return t.f.handles.uncommitted(id) }

func (t tree) Searchable(dir uint64) bool { return t.f.searchable(dir) }

func (t tree) Lives(id uint64) bool {
	n := t.f.c.Node(id)
	if n == nil {
		return t.f.c.Away(id)
	}
	return isDir(n)
}

func (t tree) Service(id uint64) *varsync.Service { return serviceOf(t.f.c.Node(id)) }

func (t tree) SameRights(a, b *varsync.Service) bool {
	return a.Tenant().Rights() == b.Tenant().Rights()
}

// changed passes on what the tree has changed. A change of a variable that lies in memory is one of the memory.
func (f *FS) changed(notices []varsync.Notice) {
	f.cachedElsewhere(notices)
	f.kernel.Changed(notices)
	for i := range notices {
		for _, r := range notices[i].Risen {
			f.follow(r.Variable, r.From, r.To)
			f.sightings.follow(r.Variable, r.From, r.To)
		}
	}
	if len(notices) == 1 && notices[0].Queued { // they come alone
		return // others are told when it is replayed
	}
	f.streams.tell(notices)
	if !f.memory.known.Load() {
		return
	}
	for i := range notices {
		if n := &notices[i]; n.Variable != nil && n.Variable.Service().Bare() != 0 && f.memory.of(n.Variable.Service()) != nil {
			f.memoryChanged(n.Variable.Service())
		}
	}
}

// memoryChanged has events raised for a bare service's memory.
func (f *FS) memoryChanged(s *varsync.Service) {
	id, pages := memoryBits|s.ID()&(1<<memorySerial-1), false
	if n := f.memory.of(s); n != nil {
		id, pages = n.id, f.memory.paged(n)
	}
	path := []string{names.Encode(s.Tenant().Name(), names.Tenant), names.Encode(s.Name(), names.Service), memoryName}
	f.kernel.MemoryChanged(id, s.ID(), path, time.Now().UnixNano(), pages)
}

func pathOf(v *varsync.Variable) []string {
	s := v.Service()
	return append([]string{s.Tenant().Name(), s.Name()}, strings.Split(v.Name(), "/")...)
}

// stale reports whether the kernel takes a name for another node than the given one, nil for none. Told ESTALE it looks again.
func (f *FS) stale(dir uint64, file string, n varsync.Node) bool {
	if n == nil {
		return f.kernel.Stale(dir, file, 0)
	}
	return f.kernel.Stale(dir, file, n.ID())
}
