package fs

import (
	"syscall"

	"github.com/commy-project/commyfs/fs/estate"
	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// truncate implements truncate(2), which commits at once, also to what descriptors gather, and ftruncate.
func (f *FS) truncate(n varsync.Node, node uint64, h *handle, size int64, task *estate.Task) error {
	if size < 0 {
		return syscall.EINVAL
	}
	if err := f.checkSize(0, size); err != nil {
		return err
	}
	if h == nil {
		return f.truncatePath(n, node, size, journalOf(task))
	}
	h.mu.Lock()
	defer h.unlock()
	h.task = task
	return h.do(func(s state) error { return s.truncate(size) })
}

// truncatePath truncates a file by its name; node is the kernel's number for it. What its descriptors in this mount gather is
// truncated first: one that commits before the rest is done has it, and one that does so later does not undo it. A draft
// that is being gathered stays one: committed now, it would be a value that nobody has written.
func (f *FS) truncatePath(n varsync.Node, node uint64, size int64, j varsync.Journal) error {
	gathered := false
	f.eachGathering(node, func(r *replacer) {
		r.resize(size)
		gathered = true
	})
	if l, ok := n.(*unshared); ok && gathered && l.committed() == nil {
		return nil
	}
	version, err := f.truncateNode(n, varsync.Edit{Kind: varsync.EditTruncate, Size: size, Journal: j})
	if err == nil {
		f.follow(node, version-1, version)
	}
	return err
}

// eachGathering calls change for the descriptors of a file that are gathering a value.
func (f *FS) eachGathering(node uint64, change func(*replacer)) {
	for _, h := range f.handles.of(node) {
		if h.gathered.Load() == 0 {
			continue
		}
		h.mu.Lock()
		if r, ok := h.now().(*replacer); ok && r.stage != clean {
			change(r)
		}
		h.unlock()
	}
}

// truncateNode returns the version that the variable has then, 0 if the file is none or was not one before.
func (f *FS) truncateNode(n varsync.Node, e varsync.Edit) (version uint64, err error) {
	l, _ := n.(*unshared)
	if o := f.handles.orphan(n.ID()); o != nil {
		l = o
	}
	v, _ := n.(*varsync.Variable)
	switch {
	case l != nil && !l.is(draft) && !l.is(kept):
		if err := l.carryOut(e); err != errMoved {
			return 0, err
		}
		v = l.committed()
	case l != nil:
		err := f.commitDraft(l, &e, e.Journal)
		if err == nil && e.Seen != nil {
			version = e.Seen.Version()
		}
		return version, err
	case v == nil:
		return 0, syscall.EISDIR
	}
	if v.Service().Tenant().Rights()&model.RightWrite == 0 {
		return 0, syscall.EACCES
	}
	if err := f.fenced(v); err != nil {
		return 0, err
	}
	ctx, cancel := f.opContext()
	defer cancel()
	res, err := v.Commit(ctx, e)
	return res.Version, err
}
