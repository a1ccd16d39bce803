package sync

import (
	"context"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/commy-project/commyfs/model"
)

// Service is one service: a tree of directories and variables.
type Service struct {
	c     *Client
	id    uint64
	epoch uint64 // of the ids in it; see inFlight

	// guarded by Client.mu
	tenant *Tenant
	name   string
	bare   int64
	mtime  int64 // until the service is loaded; then root has it
	mode   model.Mode

	used    atomic.Bool  // lately
	holders atomic.Int32 // see Hold
	unused  int          // letGo's own
	listed  int64        // the last revision of which all was told at once; guarded by Client.steps
	heard   atomic.Int64 // when a page of its contents last came, in Unix nanoseconds

	mu         sync.RWMutex // guards the following
	state      watchState
	transition *transition // nil unless under way
	on         *session    // watched: the connection over which it was loaded or brought up to date last
	failure    failure
	filled     bool  // it has been loaded since it was last let go
	rev        int64 // engine revision that the copy has come to, or is being brought to
	root       *Dir
	acc        accessor // nil until loaded; see setAccessor

	mapped atomic.Pointer[mappedAccessor] // acc, if it is one
}

func newService(c *Client, id uint64) *Service {
	s := &Service{c: c, id: id, epoch: c.currentEpoch()}
	s.root = &Dir{s: s, id: id}
	return s
}

// ID implements [Node].
func (s *Service) ID() uint64 { return s.id }

// Name returns the service's name.
func (s *Service) Name() string {
	s.c.mu.RLock()
	defer s.c.mu.RUnlock()
	return s.name
}

// Tenant returns the tenant that holds the service.
func (s *Service) Tenant() *Tenant {
	s.c.mu.RLock()
	defer s.c.mu.RUnlock()
	return s.tenant
}

// Bare returns how many bytes a bare service has, 0 if it is a named one.
func (s *Service) Bare() int64 {
	s.c.mu.RLock()
	defer s.c.mu.RUnlock()
	return s.bare
}

// BareFile asks the server where the file of a bare service is: a server on this host alone tells.
func (s *Service) BareFile(ctx context.Context) (*model.MemoryFile, error) {
	return call(ctx, s.c, func(ctx context.Context, conn Conn) (*model.MemoryFile, error) { return conn.BareFile(ctx, s.id) })
}

// OpenBare has the server hand out the file of a bare service, and its bell: to read, or also to write, for who may write the
// whole service. It fails with model.ErrUnsupported if the server is on another host.
func (s *Service) OpenBare(ctx context.Context, write bool) (memory, bell *os.File, err error) {
	type files struct{ memory, bell *os.File }
	f, err := call(ctx, s.c, func(ctx context.Context, conn Conn) (f files, err error) {
		f.memory, f.bell, err = conn.OpenBare(ctx, s.id, write)
		return f, err
	})
	return f.memory, f.bell, err
}

// MTime returns when an entry of the service's top last came, went or was renamed, or what was set since, in Unix
// nanoseconds. Until the service is loaded it is that of when the client learnt of the service.
func (s *Service) MTime() int64 {
	mtime, _ := s.meta()
	return mtime
}

// Mode returns the permission bits that the service has been given as a directory.
func (s *Service) Mode() model.Mode {
	_, mode := s.meta()
	return mode
}

func (s *Service) meta() (mtime int64, mode model.Mode) {
	s.c.mu.RLock()
	defer s.c.mu.RUnlock()
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.filled {
		return s.root.mtime, s.root.mode
	}
	return s.mtime, s.mode
}

// Mapped reports whether values are read from the mapped memory file.
func (s *Service) Mapped() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.acc.(*mappedAccessor)
	return ok
}

// Revision is the revision of the store that the copy has come to.
func (s *Service) Revision() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.rev
}

// Names says how far the names that the copy has of a service can be relied on.
type Names uint8

const (
	// NamesFollow: the names follow those of the server at the network's pace.
	NamesFollow Names = iota
	// NamesCurrent: the names are those that were last acknowledged to anybody on this host.
	NamesCurrent
	// NamesBehind: names in the service have changed, and the change was acknowledged to somebody on this host, but the
	// copy does not have it yet; or that may be so, because the server is being replaced.
	NamesBehind
)

// Names says how far the names in the service can be relied on. It looks at memory only.
func (s *Service) Names() Names {
	s.mu.RLock()
	acc, rev := s.acc, s.rev
	s.mu.RUnlock()
	a, ok := acc.(*mappedAccessor)
	switch {
	case !ok:
		return NamesFollow
	case a.unchangedSince(s.id, rev):
		return NamesCurrent
	}
	return NamesBehind
}

// Known returns the variable of that name, if the service is watched, the variable is there, and it is certain that the
// name has not changed for anybody on this host. It looks at memory only.
func (s *Service) Known(name string) *Variable {
	s.use()
	s.mu.RLock()
	v, _ := s.lookupLocked(name).(*Variable)
	acc, rev, state := s.acc, s.rev, s.state
	s.mu.RUnlock()
	if v == nil || state != watched {
		return nil
	}
	if a, ok := acc.(*mappedAccessor); ok && !a.unchangedSince(s.id, rev) {
		return nil
	}
	return v
}

// Root returns the directory at the top of the service, loading the service if need be: it waits on the network only the
// first time, within ctx, and no longer than [Options.Timeout] for more of it to come.
func (s *Service) Root(ctx context.Context) (*Dir, error) {
	if err := s.load(ctx); err != nil {
		return nil, err
	}
	return s.root, nil
}

// Variable returns the variable of that name (components joined by '/').
func (s *Service) Variable(ctx context.Context, name string) (*Variable, error) {
	if err := s.load(ctx); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := s.lookupLocked(name)
	switch n := n.(type) {
	case *Variable:
		return n, nil
	case nil:
		return nil, model.ErrNotFound
	}
	return nil, model.ErrIsDirectory
}

// prefix returns the components from the root to the service. It must be called without Service.mu (lock order).
func (s *Service) prefix() []string {
	s.c.mu.RLock()
	defer s.c.mu.RUnlock()
	return []string{s.tenant.name, s.name}
}

func join(prefix []string, name string) []string {
	out := make([]string, 0, len(prefix)+1+strings.Count(name, "/"))
	out = append(out, prefix...)
	for more := true; more; {
		var part string
		part, name, more = strings.Cut(name, "/")
		out = append(out, part)
	}
	return out
}

// lookupLocked finds a directory or variable; s.mu must be held.
func (s *Service) lookupLocked(name string) Node {
	d := s.root
	for {
		comp, rest, more := strings.Cut(name, "/")
		n := d.childLocked(comp)
		if !more {
			return n
		}
		next, ok := n.(*Dir)
		if !ok {
			return nil
		}
		d, name = next, rest
	}
}

// parentLocked returns the directory that holds name, and name's last component; nil if there is no such directory.
func (s *Service) parentLocked(name string) (*Dir, string) {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return s.root, name
	}
	d, _ := s.lookupLocked(name[:i]).(*Dir)
	return d, name[i+1:]
}

// Dir is a directory inside a service, or the service's top.
type Dir struct {
	s  *Service
	id uint64
	// guarded by Service.mu
	name    string
	parent  *Dir // nil at the top
	mtime   int64
	mode    model.Mode
	gone    bool
	moved   uint64 // by which rename of all it has got its name, or the directory around it; 0: by none
	vars    nameList[*Variable]
	dirs    nameList[*Dir]
	cursors map[*Cursor]struct{} // under way; nil: none
}

// ID implements [Node]. The top directory of a service has the service's id.
func (d *Dir) ID() uint64 { return d.id }

// Service returns the service that the directory is in.
func (d *Dir) Service() *Service { return d.s }

// Name returns the directory's path inside the service, empty at the top.
func (d *Dir) Name() string {
	d.s.mu.RLock()
	defer d.s.mu.RUnlock()
	return d.pathLocked()
}

// Where returns the directory's path inside the service and a number that rises whenever it gets another one. What goes to another
// service is another Dir there.
func (d *Dir) Where() (path string, moved uint64) {
	d.s.mu.RLock()
	defer d.s.mu.RUnlock()
	for at := d; at != nil; at = at.parent {
		moved = max(moved, at.moved)
	}
	return d.pathLocked(), moved
}

// MTime returns when an entry of the directory last came, went or was renamed, or what was set since, in Unix nanoseconds.
func (d *Dir) MTime() int64 {
	d.s.mu.RLock()
	defer d.s.mu.RUnlock()
	return d.mtime
}

// Mode returns the permission bits that the directory has been given.
func (d *Dir) Mode() model.Mode {
	d.s.mu.RLock()
	defer d.s.mu.RUnlock()
	return d.mode
}

// Parent returns the directory above, nil at the service's top.
func (d *Dir) Parent() *Dir {
	d.s.mu.RLock()
	defer d.s.mu.RUnlock()
	return d.parent
}

// Lookup returns the *Dir or *Variable of that name, nil if there is none.
func (d *Dir) Lookup(name string) Node {
	d.s.mu.RLock()
	defer d.s.mu.RUnlock()
	return d.childLocked(name)
}

// Child is an entry of a directory.
type Child struct {
	Name string
	Node Node
}

func (d *Dir) label() string { return d.name }

// childLocked returns the *Dir or *Variable of that name, nil if there is none.
func (d *Dir) childLocked(name string) Node {
	if v := d.vars.get(name); v != nil {
		return v
	}
	if sub := d.dirs.get(name); sub != nil {
		return sub
	}
	return nil
}

// addLocked puts a *Dir or *Variable into the directory that it names.
func addLocked(n Node) {
	switch n := n.(type) {
	case *Variable:
		n.parent.vars.put(n)
	case *Dir:
		n.parent.dirs.put(n)
	}
}

// takeLocked takes a *Dir or *Variable out of the directory that it names.
func takeLocked(n Node) {
	switch n := n.(type) {
	case *Variable:
		n.parent.vars.remove(n.name, n)
	case *Dir:
		n.parent.dirs.remove(n.name, n)
	}
}

// Children returns the entries in no order.
func (d *Dir) Children() []Child {
	d.s.mu.RLock()
	defer d.s.mu.RUnlock()
	var out []Child
	d.dirs.all(func(n *Dir) { out = append(out, Child{n.name, n}) })
	d.vars.all(func(n *Variable) { out = append(out, Child{n.name, n}) })
	return out
}

func (d *Dir) emptyLocked() bool { return d.vars.empty() && d.dirs.empty() }

// Gone reports whether the directory has been removed.
func (d *Dir) Gone() bool {
	d.s.mu.RLock()
	defer d.s.mu.RUnlock()
	return d.gone
}

func (d *Dir) pathLocked() string {
	if d.parent == nil {
		return ""
	}
	return joinName(d.parent.pathLocked(), d.name)
}

// joinName joins a directory's path inside a service and a component.
func joinName(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}
