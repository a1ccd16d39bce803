package fs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/fs/pages"
	"github.com/commy-project/commyfs/internal/names"
	varsync "github.com/commy-project/commyfs/sync"
)

// What package pages needs to know, and what it is asked. Descriptors that write, and all of variables that are not cached,
// are DIRECT_IO beside those that are.

// source is where cached values come from.
type source struct{ f *FS }

// Value is what a descriptor of the node would read at offset 0.
func (s source) Value(id uint64) (pages.Value, bool) {
	v := s.f.variable(id)
	if v == nil {
		o := s.f.handles.orphan(id)
		if o == nil {
			return pages.Value{}, false
		}
		return pages.Value{Data: o.content()}, true
	}
	data, meta, err := v.Load(nil)
	return pages.Value{Data: data, Version: meta.Version}, err == nil
}

// variable is the one that a number of the kernel's stands for, nil if it was removed.
func (f *FS) variable(id uint64) *varsync.Variable {
	v, _ := f.node(id).(*varsync.Variable)
	if v == nil || v.Removed() {
		v = f.handles.node(id).now
	}
	if v == nil || v.Now().Removed() {
		return nil
	}
	return v.Now()
}

func (s source) Path(id uint64) (string, bool) {
	v, _ := s.f.node(id).(*varsync.Variable)
	if v == nil || v.Gone() {
		return "", false
	}
	return names.Path(pathOf(v)), true
}

func (s source) Cache(ctx context.Context, id uint64) error {
	v := s.f.variable(id)
	if v == nil {
		return unix.ENOENT
	}
	err := s.f.c.Cache(ctx, v)
	if err != nil {
		return err
	}
	was, moved := s.f.cachedIn.Swap(id, v.Service().ID())
	if moved && was != v.Service().ID() {
		s.f.c.Uncache(ctx, was.(uint64), id)
	}
	return nil
}

func (s source) Uncache(ctx context.Context, id uint64) {
	if in, ok := s.f.cachedIn.LoadAndDelete(id); ok {
		s.f.c.Uncache(ctx, in.(uint64), id)
	}
}

// setting are the system calls that set something of a file.
var setting = []int{sysUnknown, unix.SYS_TRUNCATE, unix.SYS_FTRUNCATE, unix.SYS_OPENAT, unix.SYS_OPENAT2, unix.SYS_UTIMENSAT, unix.SYS_FCHMOD,
	unix.SYS_FCHMODAT, unix.SYS_FCHOWN, unix.SYS_FCHOWNAT}

func (s source) Sets(thread uint32) bool {
	if thread == 0 {
		return true
	}
	if err := unix.Access(fmt.Sprintf("/proc/%d", thread), unix.F_OK); err == unix.ENOENT {
		return false
	}
	n := s.f.syscall(thread)
	return slices.Contains(setting, n) || slices.Contains(legacySetting, n)
}

func (s source) Blocked(thread uint32) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", thread))
	if err != nil {
		return false
	}
	_, state, ok := bytes.Cut(data[bytes.LastIndexByte(data, ')')+1:], []byte(" "))
	return ok && bytes.HasPrefix(state, []byte("D"))
}

func (s source) Bound() time.Duration { return s.f.opBound() }

// cachedElsewhere has cached variables that have moved to another service cached there from then on.
func (f *FS) cachedElsewhere(notices []varsync.Notice) {
	if f.pages == nil {
		return
	}
	for i := range notices {
		in := &notices[i]
		switch {
		case in.Kind == varsync.Created, in.Kind == varsync.Renamed && !in.Dir:
			if was, cached := f.cachedIn.Load(in.ID); cached && was != in.Service && in.Service != 0 {
				f.pages.Became(in.ID, in.ID)
			}
		case in.Kind == varsync.Renamed && in.Service != in.OldService:
			f.cachedBelow(in.OldService)
		}
	}
}

// cachedBelow is cachedElsewhere of what has left a service with a directory.
func (f *FS) cachedBelow(service uint64) {
	f.cachedIn.Range(func(id, was any) bool {
		if was != service {
			return true
		}
		if v, ok := f.c.Node(id.(uint64)).(*varsync.Variable); ok && v.Service().ID() != service {
			f.pages.Became(v.ID(), v.ID())
		}
		return true
	})
}

// caching takes everything for old that is cached.
func (f *FS) caching(ids []uint64) {
	f.pages.Old(ids, nil)
	f.pages.Await(ids...)
}

// cacheTime is how long an open waits for the server's word that it will ask. It can do without.
const cacheTime = 100 * time.Millisecond

// paged reports whether a descriptor that is being opened is to read by way of the page cache, and counts it.
func (f *FS) paged(h *handle, in *fuse.OpenIn) bool {
	v := h.v
	if f.pages == nil || v == nil || h.writes || !h.reads || in.NodeId != v.ID() || !f.o.Cache.Match(pathOf(v)) {
		return false
	}
	if connected, _, _ := f.c.Connection(); !connected && !f.pages.Has(in.NodeId) {
		return false
	}
	ctx, cancel := context.WithTimeout(f.ctx, cacheTime)
	defer cancel()
	return f.pages.Open(ctx, in.NodeId)
}

// readShown answers a read into the page cache with what is shown, false if the file is not cached.
func (f *FS) readShown(in *fuse.ReadIn, buf []byte) (res fuse.ReadResult, status fuse.Status, ok bool) {
	if f.pages == nil {
		return nil, fuse.OK, false
	}
	n, err, ok := f.pages.Read(in.NodeId, buf, in.Offset, func() pages.Why { return f.why(in.Pid) })
	if err != nil {
		return nil, f.errno("read", err), true
	}
	return fuse.ReadResultData(buf[:n]), fuse.OK, ok
}

var reading = []int{unix.SYS_READ, unix.SYS_PREAD64, unix.SYS_READV, unix.SYS_PREADV, unix.SYS_PREADV2}

// why tells what a thread that asks for a page is doing.
func (f *FS) why(thread uint32) pages.Why {
	if thread == 0 {
		return pages.Unknown
	}
	switch n := f.syscall(thread); {
	case slices.Contains(copying, n):
		return pages.Copies
	case slices.Contains(reading, n):
		return pages.Reads
	}
	return pages.Unknown
}

// setShown makes the size of a cached variable that of what is shown.
func (f *FS) setShown(id uint64, out *fuse.Attr) bool {
	size, ok := f.pages.Size(id)
	if ok {
		setSize(out, size)
	}
	return ok
}
