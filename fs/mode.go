package fs

import (
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// The mode that a file shows is the one that is kept at the server, less what the credentials do not allow and what the
// mount takes away (--umask). It counts for everybody but root, here and not in the kernel, which would refuse the pokes
// too. The owner of the files is whoever may come in where nobody else may.

// What the bits of a mode allow.
const (
	mayExec  = 1
	mayWrite = 2
	mayRead  = 4
)

// fmodeExec is in the flags of an open for execve.
const fmodeExec = 0x20

// shown is the mode of a node, with its type.
func (f *FS) shown(n varsync.Node) uint32 {
	var mode model.Mode
	kind := uint32(syscall.S_IFDIR)
	switch n := n.(type) {
	case *varsync.Tenant:
		mode = n.Mode()
	case *varsync.Service:
		mode = n.Mode()
	case *varsync.Dir:
		mode = n.Mode()
	case *varsync.Variable:
		mode, kind = n.Mode(), syscall.S_IFREG
	case *unshared:
		mode, kind = n.perm(), syscall.S_IFREG
	case *controlNode:
		return n.mode &^ (f.o.Umask & 0o077)
	case *memoryNode:
		// All variables are in it, also those that others may not read.
		mode, kind = model.NewMode(0o600), syscall.S_IFREG
	}
	return kind | mode.Perm(kind == syscall.S_IFDIR)&f.ceiling(n)&^f.o.Umask
}

// ceiling has the bits of a mode that the credentials leave.
func (f *FS) ceiling(n varsync.Node) uint32 {
	var r model.Rights
	writes := model.RightCreate | model.RightDelete
	switch n := n.(type) {
	case root:
		r = f.rights(place{})
	case *varsync.Tenant:
		r = n.Rights()
	case *varsync.Service:
		r = n.Tenant().Rights()
	case *varsync.Dir:
		r = n.Service().Tenant().Rights()
	case *varsync.Variable:
		r, writes = n.Service().Tenant().Rights(), model.RightWrite
	case *unshared:
		r = writes
	case *controlNode:
	case *memoryNode:
		if writes = model.RightWrite; n.s.Bare() != 0 {
			r = n.s.Tenant().Rights()
		}
	}
	return f.left(r, writes)
}

// left has the bits of a mode that rights leave, writes being those that it takes to write.
func (f *FS) left(r, writes model.Rights) uint32 {
	if f.o.ReadOnly || r&writes == 0 {
		return 0o555
	}
	return 0o777
}

// allowed is what the mode lets somebody do. Root passes it, but not what the credentials leave.
func (f *FS) allowed(h *fuse.InHeader, n varsync.Node) uint32 {
	mode := f.shown(n)
	if h.Uid != 0 {
		return mode >> f.class(h) & 7
	}
	may := f.ceiling(n) & 7
	if !isDir(n) && mode&0o111 == 0 {
		may &^= mayExec
	}
	return may
}

// may checks the mode bits of a node.
func (f *FS) may(h *fuse.InHeader, n varsync.Node, want uint32) error {
	switch {
	case want&mayWrite != 0 && f.o.ReadOnly:
		return syscall.EROFS
	case n != nil && want&^f.allowed(h, n) != 0:
		return syscall.EACCES
	}
	return nil
}

// mayOpen checks an open with flags: the mode bits of the file and, since the kernel can know the name from before that was
// forbidden, whether its directory may be searched.
func (f *FS) mayOpen(h *fuse.InHeader, n varsync.Node, flags uint32) error {
	var want uint32
	switch {
	case flags&fmodeExec != 0:
		want = mayExec
	case reads(flags):
		want = mayRead
	}
	if writes(flags) || flags&syscall.O_TRUNC != 0 {
		want |= mayWrite
	}
	if err := f.may(h, n, want); err != nil {
		return err
	}
	switch n := n.(type) {
	case *varsync.Variable:
		return f.may(h, n.Parent(), mayExec)
	case *unshared:
		parent, _, _ := f.unshared.where(n)
		return f.may(h, f.node(parent), mayExec)
	}
	return nil
}

// mayChangeIn checks a change of the entries of a directory.
func (f *FS) mayChangeIn(h *fuse.InHeader, dir uint64) error {
	n := f.node(dir)
	if n != nil && !isDir(n) {
		return syscall.ENOTDIR
	}
	return f.may(h, n, mayWrite|mayExec)
}

// class tells which of the mode bits are about who makes a request, by how far they are shifted.
func (f *FS) class(h *fuse.InHeader) int {
	switch {
	case !f.foreign(h):
		return 6
	case f.inGroup(h):
		return 3
	}
	return 0
}

// foreign reports whether a request comes from neither the owner of the files nor root: only possible with AllowOther.
func (f *FS) foreign(h *fuse.InHeader) bool {
	return f.o.AllowOther && h.Uid != 0 && h.Uid != f.o.UID
}

// searchable reports whether everybody who can come in may search a directory. If not, the kernel must not keep its names:
// it would use them for everybody.
func (f *FS) searchable(dir uint64) bool {
	need := uint32(0o100)
	switch {
	case f.o.AllowOther:
		need = 0o111
	case f.rootOnly:
		return true
	}
	n := f.node(dir)
	return n == nil || f.shown(n)&need == need
}

// attr describes a node to the kernel. Nlink is never 0 here: the kernel would take the file for removed and end its
// watches. Directories have one link, as on btrfs, which says nothing of how many are in them.
func (f *FS) attr(n varsync.Node, out *fuse.Attr) {
	out.Ino = n.ID()
	out.Owner = fuse.Owner{Uid: f.o.UID, Gid: f.o.GID}
	out.Blksize = ioSize
	out.Mode = f.shown(n)
	out.Nlink = 1
	switch n := n.(type) {
	case root:
		setTimes(out, f.c.MTime())
	case *varsync.Variable:
		m := n.Current()
		setSize(out, m.Size)
		setTimes(out, m.MTime)
		out.Nlink = f.kernel.Links(out.Ino)
	case *unshared:
		size, mtime := n.stat()
		setSize(out, size)
		setTimes(out, mtime)
	case interface{ MTime() int64 }:
		setTimes(out, n.MTime())
	}
}

func setTimes(out *fuse.Attr, ns int64) {
	t := time.Unix(0, ns)
	out.SetTimes(&t, &t, &t)
}
