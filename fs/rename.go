package fs

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/fs/estate"
	varsync "github.com/commy-project/commyfs/sync"
)

// Rename moves what a name stands for. Over a variable it is one update of that variable's value (S13): the variable
// keeps its number, so the kernel, which now has the source's node under the target's name, is told to look again.
func (f *FS) Rename(_ <-chan struct{}, in *fuse.RenameIn, oldName, newName string) (status fuse.Status) {
	t := f.begin("rename", &in.InHeader)
	defer f.end(t, &status)
	if f.kernel.IsPoke(&in.InHeader) {
		return f.kernel.PokeMoved(in.NodeId, oldName, in.Newdir, newName)
	}
	if again, done := t.again.answer(); done {
		if again.Ok() {
			f.renamedBefore(in, oldName, newName)
		}
		return again
	}
	return f.errno("rename", f.rename(in, oldName, newName, t.task))
}

func (f *FS) rename(in *fuse.RenameIn, oldName, newName string, task *estate.Task) error {
	if err := errors.Join(checkName(newName), f.mayChangeIn(&in.InHeader, in.NodeId), f.mayChangeIn(&in.InHeader, in.Newdir)); err != nil {
		return err
	}
	exchange := in.Flags&unix.RENAME_EXCHANGE != 0
	if in.Flags&^(unix.RENAME_NOREPLACE|unix.RENAME_EXCHANGE) != 0 || exchange && in.Flags&unix.RENAME_NOREPLACE != 0 {
		return syscall.EINVAL
	}
	from, err := f.place(in.NodeId)
	if err != nil {
		return err
	}
	to, err := f.place(in.Newdir)
	if err != nil {
		return err
	}
	src, err := f.find(in.NodeId, oldName)
	if err != nil {
		return err
	}
	dst, err := f.find(in.Newdir, newName)
	if err != nil {
		return err
	}
	if src == nil {
		return f.nothing(from, oldName)
	}
	if f.stale(in.NodeId, oldName, src) || dst != nil && f.stale(in.Newdir, newName, dst) {
		return syscall.ESTALE
	}
	if exchange {
		return f.exchange(in, from, to, src, dst, oldName, newName)
	}
	if err := f.checkNew(to, newName); err != nil {
		return err
	}
	if _, ok := src.(*unshared); ok && to.dir == nil {
		return syscall.EPERM
	}
	if dst != nil && in.Flags&unix.RENAME_NOREPLACE != 0 {
		return syscall.EEXIST
	}
	if err := errors.Join(f.replayed(src), f.replayedOver(dst)); err != nil {
		return err
	}
	m := move{oldDir: in.NodeId, newDir: in.Newdir, from: from, to: to, src: src, dst: dst, oldName: from.decode(oldName),
		newName: to.decode(newName), noReplace: in.Flags&unix.RENAME_NOREPLACE != 0, thread: in.Pid, task: task}
	if v, ok := dst.(*varsync.Variable); ok && v.ID() != src.ID() {
		if err := f.fenced(v); err != nil {
			return err
		}
		before := v.Current().Version
		answered := f.kernel.KeepWatches(in.Pid, v.ID(), pathOf(v), in.Newdir, newName)
		defer func() { answered(v.Current().Version != before) }()
	}
	if err := f.move(m); err != nil {
		f.kernel.Refresh(in.NodeId, oldName) // part of it can have been done
		f.kernel.Refresh(in.Newdir, newName)
		return err
	}
	f.kernel.Renamed(src.ID(), in.NodeId, oldName, in.Newdir, newName)
	if dst != nil {
		f.pages.Wrote(dst.ID())
	}
	return nil
}

// move is a rename under way.
type move struct {
	task             *estate.Task
	oldDir, newDir   uint64
	from, to         place
	src, dst         varsync.Node
	oldName, newName string // components
	noReplace        bool
	thread           uint32
}

// What is renamed.
const (
	ofDraft = iota
	ofTemporary
	ofParked
	ofVariable
	ofDirectory
)

// What has the new name.
const (
	overNothing  = iota
	overUnshared // a file of this mount
	overVariable
	overDirectory
)

// renames says what carries out which rename.
var renames = [...][4]func(*FS, move) error{
	//            nothing              a file of the mount  a variable           a directory
	ofDraft:     {(*FS).renameDraft, (*FS).renameDraft, (*FS).draftOver, fails(syscall.EISDIR)},
	ofTemporary: {(*FS).renameTemporary, (*FS).renameTemporary, (*FS).publishTemporary, fails(syscall.EISDIR)},
	ofParked:    {(*FS).renameBackup, (*FS).renameBackup, (*FS).renameBackup, fails(syscall.EISDIR)},
	ofVariable:  {(*FS).renameVariable, (*FS).renameVariable, (*FS).renameShared, fails(syscall.EISDIR)},
	ofDirectory: {(*FS).renameShared, fails(syscall.ENOTDIR), fails(syscall.ENOTDIR), (*FS).renameShared},
}

func fails(errno syscall.Errno) func(*FS, move) error {
	return func(*FS, move) error { return errno }
}

func (m move) source() int {
	l, ok := m.src.(*unshared)
	switch {
	case ok && l.is(draft):
		return ofDraft
	case ok && (l.is(parked) || l.is(moving)):
		return ofParked
	case ok:
		return ofTemporary
	case isDir(m.src):
		return ofDirectory
	}
	return ofVariable
}

func (m move) destination() int {
	switch m.dst.(type) {
	case nil:
		return overNothing
	case *unshared:
		return overUnshared
	case *varsync.Variable:
		return overVariable
	}
	return overDirectory
}

// move carries out a rename. The name of a parked variable is free for this mount. For the server it is the variable's, which
// gets a new value, or, if the name is to be something else, makes way first.
func (f *FS) move(m move) error {
	switch m.source() {
	case ofParked:
	case ofDirectory:
		if err := f.unparkName(m.newDir, m.newName); err != nil {
			return err
		}
	default:
		if v, _ := f.reclaim(m.newDir, m.newName); v != nil && !v.Gone() {
			m.dst, m.noReplace = v, false
		}
	}
	return renames[m.source()][m.destination()](f, m)
}
