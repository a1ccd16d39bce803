package fs

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/fs/mountpoint"
	varsync "github.com/commy-project/commyfs/sync"
)

// Attributes of a file: since when it can be old, and how many edits of it are in the offline queue.
const (
	staleXattr  = "user.commy.stale"
	queuedXattr = "user.commy.queued"
)

// xattr is an attribute of a variable that can be read (S24). They are not listed: what copies a file would take them for
// its own, and a copy with the version of the original tells something wrong.
func (f *FS) xattr(v *varsync.Variable, name string) (string, bool) {
	m := v.Current()
	switch name {
	case "user.commy.version":
		if f.c.Queued(v.ID()) > 0 {
			m = v.Meta() // what is queued has none yet
		}
		return strconv.FormatUint(m.Version, 10), true
	case "user.commy.size":
		return strconv.FormatInt(m.Size, 10), true
	case "user.commy.mtime":
		return strconv.FormatInt(m.MTime, 10), true
	case "user.commy.writer":
		return v.Writer(), true
	case queuedXattr:
		return strconv.Itoa(f.c.Queued(v.ID())), true
	case staleXattr:
		return f.staleSince()
	}
	return "", false
}

// staleSince is the time since when there is no connection, 0 if there is one.
func (f *FS) staleSince() (string, bool) {
	connected, down, _ := f.c.Connection()
	if connected {
		return "0", true
	}
	return strconv.FormatInt(down.UnixNano(), 10), true
}

// GetXAttr reads one attribute.
func (f *FS) GetXAttr(_ <-chan struct{}, h *fuse.InHeader, name string, dest []byte) (n uint32, status fuse.Status) {
	defer f.end(f.begin("getxattr", h), &status)
	var value string
	ok := false
	switch n := f.node(h.NodeId).(type) {
	case *varsync.Variable:
		if value, ok = f.xattr(n, name); name == ifVersion {
			value, ok = f.givenVersion(h)
		}
	case *unshared:
		switch {
		case name == ifVersion:
			value, ok = f.givenVersion(h)
		case name == queuedXattr && n.is(kept):
			value, ok = strconv.Itoa(f.c.Queued(n.ID())), true
		case name == staleXattr && n.is(kept):
			value, ok = f.staleSince()
		}
	case root:
		if err := f.may(h, f.node(h.NodeId), mayRead); err != nil {
			return 0, f.errno("getxattr", err)
		}
		value, ok = f.rootXattr(name)
	}
	if !ok {
		return 0, fuse.ENODATA
	}
	return fill(dest, value)
}

// rootXattr is what status and doctor ask a mount.
func (f *FS) rootXattr(name string) (string, bool) {
	switch name {
	case privateXattr:
		return formatPrivate(f.privateFiles()), true
	case temporariesXattr:
		return f.o.Temporary.String(), true
	case mountpoint.BlockedXattr:
		return strconv.Itoa(f.requests.blocked()), true
	case offlineXattr:
		return f.offlineStats()
	case restartsXattr:
		return fmt.Sprint(f.estate.Restarts(), f.estate.Restarted().UnixNano()), true
	}
	return "", false
}

// ListXAttr lists none: see xattr.
func (f *FS) ListXAttr(<-chan struct{}, *fuse.InHeader, []byte) (uint32, fuse.Status) {
	return 0, fuse.OK
}

func fill(dest []byte, value string) (uint32, fuse.Status) {
	if len(dest) < len(value) {
		return uint32(len(value)), fuse.ERANGE
	}
	return uint32(copy(dest, value)), fuse.OK
}

// SetXAttr takes the version that a descriptor's next change depends on. It refuses all else: ours are read-only, others have
// no place. Programs that copy attributes are quiet about this errno.
func (f *FS) SetXAttr(_ <-chan struct{}, in *fuse.SetXAttrIn, name string, value []byte) (status fuse.Status) {
	if name != ifVersion {
		return fuse.Status(syscall.ENOTSUP)
	}
	defer f.end(f.begin("setxattr", &in.InHeader), &status)
	return f.errno("setxattr", f.setIfVersion(&in.InHeader, string(value)))
}

// RemoveXAttr takes that version back, and refuses to remove others of ours; there are no more.
func (f *FS) RemoveXAttr(_ <-chan struct{}, in *fuse.InHeader, name string) (status fuse.Status) {
	if name == ifVersion {
		defer f.end(f.begin("removexattr", in), &status)
		return f.errno("removexattr", f.clearIfVersion(in))
	}
	if strings.HasPrefix(name, "user.commy.") {
		return fuse.Status(syscall.ENOTSUP)
	}
	return fuse.ENODATA
}

// Link, Symlink and Fallocate: there are no links here, and nothing to allocate ahead.
func (f *FS) Link(<-chan struct{}, *fuse.LinkIn, string, *fuse.EntryOut) fuse.Status {
	return fuse.EPERM
}

// Symlink is refused like Link.
func (f *FS) Symlink(<-chan struct{}, *fuse.InHeader, string, string, *fuse.EntryOut) fuse.Status {
	return fuse.EPERM
}

// Fallocate is refused so that programs fall back to writing.
func (f *FS) Fallocate(<-chan struct{}, *fuse.FallocateIn) fuse.Status {
	return fuse.Status(syscall.EOPNOTSUPP)
}
