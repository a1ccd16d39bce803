package fs

import (
	"context"
	"crypto/rand"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/fs/estate"
	varsync "github.com/commy-project/commyfs/sync"
)

// Requests that the process before has read and not answered are made again. What it has done of them is in the estate.

// legacy is what a mount that was taken over knows of the process before. The zero value knows of none.
type legacy struct {
	tasks    map[uint64]again // by the kernel's number of the request
	overflow bool             // there may be others
}

// again is what the process before has done of a request that is made again.
type again struct {
	how    how
	status fuse.Status // done
	value  uint64      // done: the handle
}

type how uint8

const (
	fresh      how = iota // nothing: it is carried out now
	carriedOut            // the change, but there was no answer yet
	done
)

// before returns what was done of a request.
func (l *legacy) before(unique uint64) again {
	a, ok := l.tasks[unique]
	if !ok && l.overflow {
		return again{how: done, status: fuse.EIO}
	}
	return a
}

// answer is the answer to a request that was carried out before; false: it was not.
func (a again) answer() (fuse.Status, bool) { return a.status, a.how != fresh }

// journalOf is the journal of a request, nil if nobody is told.
func journalOf(t *estate.Task) varsync.Journal {
	if t == nil {
		return nil
	}
	return &t.Report
}

func journaled(ctx context.Context, t *estate.Task) context.Context {
	if t == nil {
		return ctx
	}
	return varsync.Journaled(ctx, &t.Report)
}

// changes reports whether a request changes something that the next one like it would change again, or that nobody would undo.
// FLUSH, FSYNC and RELEASE do not: what is left to commit is noted with the descriptor.
func changes(op string) bool {
	switch op {
	case "write", "copy_file_range", "setattr", "create", "mknod", "mkdir", "rmdir", "unlink", "rename", "open":
		return true
	}
	return false
}

func randomID() (id [16]byte) {
	_, _ = rand.Read(id[:]) // does not fail
	return id
}

// openedBefore answers an OPEN that the process before has answered; false: it has not.
func (f *FS) openedBefore(a again, in *fuse.OpenIn, out *fuse.OpenOut) bool {
	if a.how != done || !a.status.Ok() {
		return false
	}
	h := f.handles.get(a.value)
	if h == nil || h.node != in.NodeId {
		return false
	}
	out.Fh = a.value
	if h.paged {
		out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	} else if !h.writes {
		out.OpenFlags |= fuse.FOPEN_NOFLUSH
	}
	return true
}

// createdBefore answers a CREATE whose file the process before has made. Without a handle it is opened.
func (f *FS) createdBefore(fh uint64, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	h := f.handles.get(fh)
	if h == nil {
		n, err := f.find(in.NodeId, name)
		v, ok := n.(*varsync.Variable)
		if err != nil || !ok {
			return fuse.EIO
		}
		h = f.newHandle(v.ID(), in.Pid, in.Flags)
		h.v = v
		if h.state = h.fresh(); h.writes && !h.appends {
			h.state = &replacer{reader: reader{handle: h}}
		}
		h.writer.Store(in.Pid)
		fh = f.handles.add(h)
	}
	n := f.node(h.node)
	if n == nil {
		return fuse.EIO
	}
	out.Fh = fh
	f.entry(&in.InHeader, name, n, &out.EntryOut)
	return fuse.OK
}

// madeBefore is what the process before has made under a name.
func (f *FS) madeBefore(status fuse.Status, dir uint64, name string) (varsync.Node, error) {
	if !status.Ok() {
		return nil, syscall.Errno(status)
	}
	n, err := f.find(dir, name)
	if err == nil && n == nil {
		err = syscall.ESTALE // removed by somebody else since
	}
	return n, err
}

// renamedBefore has the kernel carry out a rename that the process before has made, as [FS.rename] does.
func (f *FS) renamedBefore(in *fuse.RenameIn, oldName, newName string) {
	if n, err := f.find(in.Newdir, newName); err == nil {
		if v, ok := n.(*varsync.Variable); ok {
			defer f.kernel.KeepWatches(in.Pid, v.ID(), pathOf(v), in.Newdir, newName)(true)
		}
	}
	f.kernel.Refresh(in.NodeId, oldName)
	f.kernel.Refresh(in.Newdir, newName)
}
