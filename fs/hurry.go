package fs

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/names"
	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// A large service takes seconds to be loaded the first time. Who only wants the attributes of one of its variables does not
// wait for that: the server is asked for the one variable. The kernel keeps no name of such an answer. So whoever wants more,
// a descriptor or a watch, comes by the names again, and waits until the service is loaded: from then on its changes come.

// patience is how long a stat waits for a service before it does without.
const patience = 50 * time.Millisecond

// statting are the system calls that leave their caller with attributes and nothing else.
var statting = []int{unix.SYS_NEWFSTATAT, unix.SYS_STATX}

// hurried reports whether a request is of a stat and its service is not to be had soon. That begins to be loaded.
func (f *FS) hurried(h *fuse.InHeader, s *varsync.Service) bool {
	if !s.Blank() || h.Pid == 0 || f.kernel.IsOwn(h) || !slices.Contains(statting, f.syscall(h.Pid)) {
		return false
	}
	ctx, cancel := context.WithTimeout(f.ctx, patience)
	defer cancel()
	_, err := s.Root(ctx)
	return err != nil && ctx.Err() != nil && s.Blank()
}

// hurry answers a lookup of a variable in a service that is not loaded, or says that there is nothing of that name. Directories
// have more than attributes: they are waited for.
func (f *FS) hurry(interrupt <-chan struct{}, h *fuse.InHeader, s *varsync.Service, file string, out *fuse.EntryOut) (done bool, err error) {
	name := names.Decode(file, names.Variable)
	if names.Reserved(file, names.Variable) || f.unshared.byName(s.ID(), name) != nil || f.unshared.isHidden(s.ID(), name) {
		return false, nil
	}
	ctx, cancel := f.askContext(interrupt)
	defer cancel()
	v, err := f.c.Read(ctx, &model.Read{Tenant: s.Tenant().Name(), Service: s.Name(), Name: name, Stat: true})
	switch {
	case ctx.Err() != nil || model.CodeOf(err) == model.CodeDisconnected:
		return false, cmp.Or(ctx.Err(), err) // it has waited long enough
	case !s.Blank():
		return false, nil // the copy is the only source again
	case model.CodeOf(err) == model.CodeNotFound:
		return false, syscall.ENOENT
	case err != nil:
		return false, nil
	}
	f.giveEarly(h, v.ID, s, out)
	out.AttrValid = 1 // for this one stat: nobody else gets at the node without a lookup
	f.variableAttr(s, v, &out.Attr)
	f.kernel.Sized(v.ID, out.Size, false)
	return true, nil
}

// hurryTo answers a lookup of a service that is not loaded. Its own attributes are asked for again, and waited for.
func (f *FS) hurryTo(h *fuse.InHeader, s *varsync.Service, out *fuse.EntryOut) {
	f.giveEarly(h, s.ID(), s, out)
	f.attr(s, &out.Attr)
}

func (f *FS) giveEarly(h *fuse.InHeader, id uint64, s *varsync.Service, out *fuse.EntryOut) {
	out.NodeId = id
	f.kernel.Learn(h.Pid, id, s)
	f.early.add(id, s)
}

// variableAttr is attr of a variable that is not in the copy.
func (f *FS) variableAttr(s *varsync.Service, v *model.Variable, out *fuse.Attr) {
	out.Ino = v.ID
	out.Owner = fuse.Owner{Uid: f.o.UID, Gid: f.o.GID}
	out.Blksize = ioSize
	out.Mode = unix.S_IFREG | v.Mode.Perm(false)&f.left(s.Tenant().Rights(), model.RightWrite)&^f.o.Umask
	out.Nlink = f.kernel.Links(v.ID)
	setSize(out, v.Size)
	setTimes(out, v.MTime)
}

// early has the nodes that the kernel was given before their services were loaded.
type early struct {
	some atomic.Bool // there are any: nearly always there are none

	mu sync.Mutex // guards the following
	m  map[uint64]*varsync.Service
}

func (e *early) add(id uint64, s *varsync.Service) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.m == nil {
		e.m = map[uint64]*varsync.Service{}
	}
	e.m[id] = s
	e.some.Store(true)
}

// of returns the service of a node that was given early, nil if it was not.
func (e *early) of(id uint64) *varsync.Service {
	if !e.some.Load() {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.m[id]
}

func (e *early) remove(id uint64) {
	if !e.some.Load() {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.m, id)
	e.some.Store(len(e.m) > 0)
}

// awaitEarly waits for the service of a node that was given early, before more is asked of it.
func (f *FS) awaitEarly(t ticket, interrupt <-chan struct{}, id uint64) error {
	s := f.early.of(id)
	if s == nil {
		return nil
	}
	err := f.load(t, interrupt, s)
	switch {
	case err == nil:
		f.early.remove(id)
	case id == s.ID() && !errors.Is(err, context.Canceled):
		return nil // as in a lookup of it
	}
	return err
}
