package fs

import (
	"errors"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/internal/names"
	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// exchange gives two names each other's node, as the server decides (RENAME_EXCHANGE). The nodes keep their numbers, so
// descriptors and watches go with them. A rename over a variable is an update of its value; this is none.
func (f *FS) exchange(in *fuse.RenameIn, from, to place, src, dst varsync.Node, oldName, newName string) error {
	if dst == nil {
		return f.nothing(to, newName)
	}
	for _, n := range []varsync.Node{src, dst} {
		if err := f.replayed(n); err != nil {
			return err
		}
		if err := f.mayExchange(n); err != nil {
			return err
		}
	}
	if from.level != to.level && (from.dir == nil || to.dir == nil) {
		return syscall.EXDEV // a directory cannot become a service, nor a service a tenant
	}
	if from.level == names.Tenant && !(f.c.Shows(from.decode(oldName)) && f.c.Shows(to.decode(newName))) {
		return syscall.EACCES
	}
	ch := model.Change{Op: model.OpExchange, Expect: src.ID(), ToExpect: dst.ID()}
	ctx, cancel := f.opContext()
	defer cancel()
	err := f.atPlaces(ctx, func() error {
		from.aim(&ch, from.decode(oldName))
		to.aimTo(&ch, to.decode(newName))
		_, err := f.c.Report(ctx, ch)
		return err
	}, &from, &to)
	if errors.Is(err, model.ErrUnsupported) {
		err = syscall.EINVAL // a server that does not know it
	}
	if err != nil {
		f.kernel.Refresh(in.NodeId, oldName)
		f.kernel.Refresh(in.Newdir, newName)
		return err
	}
	f.kernel.Exchanged(src.ID(), dst.ID(), in.NodeId, oldName, in.Newdir, newName)
	return nil
}

// mayExchange says whether a node can be exchanged with another: what only this mount has the server cannot give a name. What
// is on its way to a variable belongs to it before.
func (f *FS) mayExchange(n varsync.Node) error {
	switch n := n.(type) {
	case *unshared:
		if n.is(draft) {
			return syscall.EBUSY // it will be a variable in a moment
		}
		return syscall.EINVAL
	case *varsync.Variable:
		ctx, cancel := f.opContext()
		defer cancel()
		if err := n.Flush(ctx); err != nil {
			f.log.Debug("writes before an exchange", "err", err)
		}
	}
	return nil
}
