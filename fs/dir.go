package fs

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/internal/names"
	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// Mkdir makes a tenant, a service or a directory; the server decides, so lock directories work across hosts.
func (f *FS) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) (status fuse.Status) {
	defer f.end(f.begin("mkdir", &in.InHeader), &status)
	if f.kernel.IsPoke(&in.InHeader) {
		return f.kernel.PokeEntry(in.NodeId, name, out)
	}
	res, err := f.structural(&in.InHeader, name, model.Change{Op: model.OpMkdir, NewMode: model.NewMode(in.Mode)})
	if err != nil {
		return f.errno("mkdir", err)
	}
	n := f.c.Node(res.ID)
	if n == nil {
		return fuse.Status(syscall.ESTALE) // made, and removed by somebody else at once
	}
	if release, err := f.watch(nil, n); err == nil { // it is made, whether or not anybody waits
		defer release()
	}
	f.entry(&in.InHeader, name, n, out)
	return fuse.OK
}

// Rmdir removes an empty tenant, service or directory.
func (f *FS) Rmdir(_ <-chan struct{}, h *fuse.InHeader, name string) (status fuse.Status) {
	defer f.end(f.begin("rmdir", h), &status)
	if f.kernel.IsPoke(h) {
		return f.kernel.PokeGone(h.NodeId, name)
	}
	n, err := f.find(h.NodeId, name)
	if err != nil {
		return f.errno("rmdir", err)
	}
	if n != nil && len(f.unshared.in(n.ID())) > 0 {
		return fuse.Status(syscall.ENOTEMPTY)
	}
	if f.stale(h.NodeId, name, n) {
		return fuse.Status(syscall.ESTALE)
	}
	if _, err = f.structural(h, name, model.Change{Op: model.OpRmdir}); err == nil {
		f.kernel.Removed(h.NodeId, name)
	}
	return f.errno("rmdir", err)
}

// Unlink removes a variable or a file of this mount.
func (f *FS) Unlink(_ <-chan struct{}, h *fuse.InHeader, name string) (status fuse.Status) {
	defer f.end(f.begin("unlink", h), &status)
	if f.kernel.IsPoke(h) {
		return f.kernel.PokeGone(h.NodeId, name)
	}
	err := f.unlink(h, name)
	if err == nil {
		f.kernel.Removed(h.NodeId, name)
	}
	return f.errno("unlink", err)
}

func (f *FS) unlink(h *fuse.InHeader, name string) error {
	if err := f.mayChangeIn(h, h.NodeId); err != nil {
		return err
	}
	n, err := f.find(h.NodeId, name)
	if err != nil {
		return err
	}
	if f.stale(h.NodeId, name, n) {
		return syscall.ESTALE
	}
	switch n := n.(type) {
	case nil:
		return syscall.ENOENT
	case *unshared:
		return f.discard(n)
	case *varsync.Variable:
		if f.kernel.Settled(n.ID()) {
			return syscall.ESTALE // the kernel asks again, and hears of one link
		}
		removed := f.unlinking(n)
		_, err := f.structural(h, name, model.Change{Op: model.OpDelete})
		if err == nil {
			removed()
		}
		return err
	}
	return syscall.EISDIR
}

// structural reports one change of what a name in a directory stands for.
func (f *FS) structural(h *fuse.InHeader, name string, ch model.Change) (model.Result, error) {
	if err := errors.Join(checkName(name), f.mayChangeIn(h, h.NodeId)); err != nil {
		return model.Result{}, err
	}
	p, err := f.place(h.NodeId)
	if err != nil {
		return model.Result{}, err
	}
	if ch.Op == model.OpMkdir {
		if err := f.checkNew(p, name); err != nil {
			return model.Result{}, err
		}
	} else if n, err := f.find(h.NodeId, name); err != nil {
		return model.Result{}, err
	} else if n != nil {
		ch.Expect = n.ID() // not what somebody else has given the name to meanwhile
	}
	name = p.decode(name)
	if ch.Op == model.OpMkdir {
		if f.unshared.byName(h.NodeId, name) != nil {
			return model.Result{}, syscall.EEXIST
		}
		if err := f.unparkName(h.NodeId, name); err != nil {
			return model.Result{}, err
		}
	}
	ch.Tenant, ch.Service, ch.Name = p.target(name)
	ctx, cancel := f.opContext()
	defer cancel()
	res, err := f.c.Report(ctx, ch)
	if err != nil {
		return model.Result{}, err
	}
	return res[0], nil
}

// dirHandle is an open directory: its entries as they were when the reading began, so that offsets mean something.
type dirHandle struct {
	mu      sync.Mutex // guards the following
	entries []dirEntry
	listed  bool
}

type dirEntry struct {
	name string
	id   uint64
	dir  bool
}

// OpenDir opens a directory.
func (f *FS) OpenDir(interrupt <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) (status fuse.Status) {
	defer f.end(f.begin("opendir", &in.InHeader), &status)
	if err := f.may(&in.InHeader, f.node(in.NodeId), mayRead); err != nil {
		return f.errno("opendir", err)
	}
	if err := f.load(interrupt, f.node(in.NodeId)); err != nil {
		return f.errno("opendir", err)
	}
	if _, err := f.place(in.NodeId); err != nil {
		return f.errno("opendir", err)
	}
	out.Fh = f.handles.addDir(&dirHandle{})
	return fuse.OK
}

// ReleaseDir closes a directory.
func (f *FS) ReleaseDir(in *fuse.ReleaseIn) { f.handles.removeDir(in.Fh) }

// FsyncDir has nothing to do: what was acknowledged is stored.
func (f *FS) FsyncDir(<-chan struct{}, *fuse.FsyncIn) fuse.Status { return fuse.OK }

func isDir(n varsync.Node) bool {
	switch n.(type) {
	case *varsync.Variable, *unshared:
		return false
	}
	return true
}

// list returns the entries of a directory.
func (f *FS) list(id uint64) ([]dirEntry, error) {
	p, err := f.place(id)
	if err != nil {
		return nil, err
	}
	out := []dirEntry{{".", id, true}, {"..", parentID(f.node(id)), true}}
	add := func(component string, n varsync.Node) {
		out = append(out, dirEntry{fileName(component, p.level), n.ID(), isDir(n)})
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
		for _, c := range p.dir.Children() {
			if l := f.unshared.byName(id, c.Name); (l == nil || !l.private()) && !f.unshared.isHidden(id, c.Name) {
				add(c.Name, c.Node)
			}
		}
	}
	for _, l := range f.unshared.in(id) {
		if _, name, removed := f.unshared.where(l); !removed && (l.private() || f.lookup(p, name) == nil) {
			add(name, l)
		}
	}
	slices.SortFunc(out[2:], func(a, b dirEntry) int { return cmp.Compare(a.name, b.name) })
	return out, nil
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
		if !keep || d.name == "." || d.name == ".." {
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
	if in.Offset == 0 || !d.listed {
		entries, err := f.list(in.NodeId)
		if err != nil {
			return f.errno("readdir", err)
		}
		d.entries, d.listed = entries, true
	}
	for i := in.Offset; i < uint64(len(d.entries)); i++ {
		e := d.entries[i]
		mode := uint32(syscall.S_IFREG)
		if e.dir {
			mode = syscall.S_IFDIR
		}
		if !add(fuse.DirEntry{Name: e.name, Ino: e.id, Mode: mode, Off: i + 1}, e) {
			break
		}
	}
	return fuse.OK
}
