package fs

import (
	"context"
	"errors"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/fs/kernel"
	"github.com/commy-project/commyfs/internal/names"
	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

func stack() string { return string(debug.Stack()) }

// root is the top of the mount.
type root struct{}

func (root) ID() uint64 { return rootID }

// node finds what a node id stands for, nil if it is gone. The result is a root, *varsync.Tenant, *varsync.Service,
// *varsync.Dir, *varsync.Variable, *unshared or *controlNode.
func (f *FS) node(id uint64) varsync.Node {
	if id == rootID {
		return root{}
	}
	if isControl(id) {
		if n := f.control.node(id); n != nil {
			return n
		}
		return nil
	}
	if l := f.unshared.byID(id); l != nil {
		if v := l.committed(); v != nil {
			return v.Now()
		}
		return l
	}
	return f.c.Node(id)
}

// place is a directory, with what a change of something in it has to name.
type place struct {
	id      uint64
	tenant  *varsync.Tenant
	service *varsync.Service
	dir     *varsync.Dir // nil for root and tenant
	level   names.Level  // of what it holds
}

// place resolves a directory node for an operation on a name in it. While it is on its way to another service it waits.
func (f *FS) place(id uint64) (place, error) {
	p, err := f.placeNow(id)
	if errors.Is(err, syscall.ESTALE) && f.c.Moving() {
		f.c.Await(id, f.opBound())
		p, err = f.placeNow(id)
	}
	return p, err
}

// placeNow is place without waiting.
func (f *FS) placeNow(id uint64) (place, error) {
	switch n := f.node(id).(type) {
	case root:
		return place{id: id, level: names.Tenant}, nil
	case *varsync.Tenant:
		return place{id: id, tenant: n, level: names.Service}, nil
	case *varsync.Service:
		ctx := f.ctx
		if !n.Watched() { // else there is nothing to wait for
			var cancel context.CancelFunc
			ctx, cancel = f.opContext()
			defer cancel()
		}
		d, err := n.Root(ctx)
		if err != nil {
			return place{}, err
		}
		return place{id: id, tenant: n.Tenant(), service: n, dir: d, level: names.Variable}, nil
	case *varsync.Dir:
		if err := n.Service().Failed(); err != nil {
			return place{}, err
		}
		return place{id: id, tenant: n.Service().Tenant(), service: n.Service(), dir: n, level: names.Nested}, nil
	case nil:
		return place{}, syscall.ESTALE
	case *controlNode:
		if isDir(n) {
			return place{}, syscall.EACCES
		}
	}
	return place{}, syscall.ENOTDIR
}

// target names what is called name in the place, for a change.
func (p place) target(name string) (tenant, service, variable string) {
	switch p.level {
	case names.Tenant:
		return name, "", ""
	case names.Service:
		return p.tenant.Name(), name, ""
	}
	if d := p.dir.Name(); d != "" {
		name = d + "/" + name
	}
	return p.tenant.Name(), p.service.Name(), name
}

// lookup returns what is called name (decoded) in the place, nil if there is nothing.
func (f *FS) lookup(p place, name string) varsync.Node {
	switch p.level {
	case names.Tenant:
		if t := f.c.Tenant(name); t != nil {
			return t
		}
	case names.Service:
		if s := p.tenant.Service(name); s != nil {
			return s
		}
	default:
		return p.dir.Lookup(name)
	}
	return nil
}

// rights returns what the client may do in the place.
func (f *FS) rights(p place) model.Rights {
	if f.o.ReadOnly {
		return model.RightRead
	}
	if p.tenant == nil {
		// Whether a tenant can be made depends on its name: the server decides.
		return model.RightRead | model.RightWrite | model.RightCreate | model.RightDelete
	}
	return p.tenant.Rights()
}

// entry fills the reply that gives a node to the kernel under a name, and records it. Nodes with changes of this mount that
// are not committed are not cached: the kernel would keep a size that is not true. Nor are those of the second link; see
// [kernel.Cache.KeepWatches].
//
// The thread that asks is shown the size of what its process gathers, unless the committed value has more: the kernel takes the
// size for everybody's, and would cut what others read.
//
// A service has to be watched before; see [FS.watch].
func (f *FS) entry(h *fuse.InHeader, name string, n varsync.Node, out *fuse.EntryOut) {
	out.NodeId = n.ID()
	f.kernel.Learn(h.Pid, n.ID(), serviceOf(n))
	if now := f.c.Node(n.ID()); now != nil && serviceOf(now) != serviceOf(n) {
		f.kernel.Recount(n.ID()) // it has been moved since it was found
	}
	f.attr(n, &out.Attr)
	if !f.kernel.IsOwn(h) {
		f.pages.AwaitInherited(n.ID())
	}
	shown := f.setShown(n.ID(), &out.Attr)
	writers := f.handles.uncommitted(n.ID())
	if writers && !shown && !f.kernel.IsOwn(h) {
		if g := f.handles.gathering(n.ID(), &asker{tid: h.Pid, process: f.callers.process}); g != nil {
			setSize(&out.Attr, max(int64(out.Size), g.gathered.Load()-1))
		}
	}
	if !isDir(n) {
		f.kernel.Sized(n.ID(), out.Size, false)
	}
	current := f.kernel.Told(h.Pid, h.NodeId, name, n.ID())
	if _, isUnshared := n.(*unshared); !isUnshared && (isDir(n) || out.Nlink == 1) {
		if current && f.searchable(h.NodeId) {
			out.EntryValid = validity
		}
		if !writers {
			out.AttrValid = f.attrValidity()
		}
	}
}

// serviceOf is the service that a node is or is in, nil above.
func serviceOf(n varsync.Node) *varsync.Service {
	switch n := n.(type) {
	case *varsync.Service:
		return n
	case interface{ Service() *varsync.Service }:
		return n.Service()
	}
	return nil
}

// attrValidity is how long the kernel may keep attributes. A reply that is on its way to the kernel can miss the
// invalidation; the poke that raises MODIFY comes behind it. Without that poke, or if it comes late, they have to expire.
func (f *FS) attrValidity() uint64 {
	if f.kernel.Raises(kernel.Modify|kernel.Attrib) && f.o.EventDelay < time.Second {
		return validity
	}
	return 1
}

// watch loads a service before the kernel has it, and holds it meanwhile: a watch on its directory asks nothing more of us,
// and from then on its changes must come. Without a connection there is no error, and it is loaded when there is one. Other
// nodes are watched with their services.
func (f *FS) watch(t ticket, interrupt <-chan struct{}, n varsync.Node) (release func(), err error) {
	s, ok := n.(*varsync.Service)
	if !ok {
		return func() {}, nil
	}
	s.Hold()
	if err = f.load(t, interrupt, s); errors.Is(err, context.Canceled) {
		s.Release()
		return nil, err
	}
	if err != nil && s.Failed() == nil {
		f.log.Warn("a service could not be loaded", "service", s.ID(), "err", err)
	}
	return s.Release, nil
}

// load has a service in memory before something in it is looked for. It waits as long as the service's pages come, and the
// watchdog with it.
func (f *FS) load(t ticket, interrupt <-chan struct{}, n varsync.Node) error {
	s, ok := n.(*varsync.Service)
	if !ok || s.Watched() {
		return nil
	}
	ctx, cancel := context.WithCancel(f.ctx)
	ctx, cancel = interruptible(ctx, cancel, interrupt)
	defer cancel()
	f.requests.loads(t, s)
	defer f.requests.loads(t, nil)
	_, err := s.Root(ctx)
	return err
}

// fileName returns the name of a component in a directory listing.
func fileName(component string, l names.Level) string { return names.Encode(component, l) }

func checkName(name string) error {
	if len(name) > names.Max {
		return syscall.ENAMETOOLONG
	}
	return nil
}

// nothing is why there is nothing to remove or rename under a name.
func (f *FS) nothing(p place, file string) error {
	if names.Reserved(file, p.level) {
		return syscall.EPERM
	}
	return syscall.ENOENT
}

// checkNew refuses the names that the mount keeps for itself, and tenants that it was told not to show.
func (f *FS) checkNew(p place, file string) error {
	if names.Reserved(file, p.level) {
		return syscall.EPERM
	}
	if p.level == names.Tenant && !f.c.Shows(p.decode(file)) {
		return syscall.EACCES // it would be made, and not be seen
	}
	return nil
}
