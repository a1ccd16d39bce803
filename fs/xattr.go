package fs

import (
	"strconv"
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	varsync "github.com/commy-project/commyfs/sync"
)

// The attributes of a variable that can be read (S24).
var xattrNames = []string{"user.commy.version", "user.commy.size", "user.commy.mtime", "user.commy.writer", "user.commy.stale"}

func (f *FS) xattr(v *varsync.Variable, name string) (string, bool) {
	m := v.Current()
	switch name {
	case "user.commy.version":
		return strconv.FormatUint(m.Version, 10), true
	case "user.commy.size":
		return strconv.FormatInt(m.Size, 10), true
	case "user.commy.mtime":
		return strconv.FormatInt(m.MTime, 10), true
	case "user.commy.writer":
		return v.Writer(), true
	case "user.commy.stale":
		connected, down, _ := f.c.Connection()
		if connected {
			return "0", true
		}
		return strconv.FormatInt(down.UnixNano(), 10), true
	}
	return "", false
}

// GetXAttr reads one attribute.
func (f *FS) GetXAttr(_ <-chan struct{}, h *fuse.InHeader, name string, dest []byte) (n uint32, status fuse.Status) {
	defer f.end(f.begin("getxattr", h), &status)
	v, ok := f.node(h.NodeId).(*varsync.Variable)
	if !ok {
		return 0, fuse.ENODATA
	}
	value, ok := f.xattr(v, name)
	if !ok {
		return 0, fuse.ENODATA
	}
	return fill(dest, value)
}

// ListXAttr lists them.
func (f *FS) ListXAttr(_ <-chan struct{}, h *fuse.InHeader, dest []byte) (n uint32, status fuse.Status) {
	defer f.end(f.begin("listxattr", h), &status)
	if _, ok := f.node(h.NodeId).(*varsync.Variable); !ok {
		return 0, fuse.OK
	}
	return fill(dest, strings.Join(xattrNames, "\x00")+"\x00")
}

func fill(dest []byte, value string) (uint32, fuse.Status) {
	if len(dest) < len(value) {
		return uint32(len(value)), fuse.ERANGE
	}
	return uint32(copy(dest, value)), fuse.OK
}

func readOnlyXattr(name string) fuse.Status {
	if strings.HasPrefix(name, "user.commy.") {
		return fuse.EPERM
	}
	return fuse.Status(syscall.ENOTSUP)
}

// SetXAttr refuses: ours are read-only, others have no place.
func (f *FS) SetXAttr(_ <-chan struct{}, _ *fuse.SetXAttrIn, name string, _ []byte) fuse.Status {
	return readOnlyXattr(name)
}

// RemoveXAttr refuses likewise.
func (f *FS) RemoveXAttr(_ <-chan struct{}, _ *fuse.InHeader, name string) fuse.Status {
	return readOnlyXattr(name)
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
