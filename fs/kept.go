package fs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/offline"
	varsync "github.com/commy-project/commyfs/sync"
)

// A new file that is written while the server cannot be reached is kept: this mount alone shows it, under its name, and its edits
// are in the offline queue. When they are replayed it is a variable like any other, with another inode number.

// mayMake checks what the server would, for a file that it cannot be asked about.
func (f *FS) mayMake(p place, name string) error {
	if want := model.RightCreate | model.RightWrite; f.rights(p)&want != want {
		return syscall.EACCES
	}
	if most := f.c.Welcome().Limits.Name; most > 0 && len(name) > int(most) {
		return syscall.ENAMETOOLONG
	}
	if !p.service.Watched() {
		return model.ErrDisconnected // it is not known what is there
	}
	return nil
}

// keep makes a draft a file that is kept, with its first value.
func (f *FS) keep(l *unshared, data []byte) {
	l.mu.Lock()
	l.changeLocked(varsync.Edit{Kind: varsync.EditReplace, Data: data})
	l.mu.Unlock()
	f.unshared.to(l, draft, kept)
}

// keepEdit changes a file that is kept. l.naming is held.
func (f *FS) keepEdit(ctx context.Context, l *unshared, e varsync.Edit) error {
	err := f.c.KeepNew(l.id, e)
	if err == nil {
		if e.Kind != varsync.EditMeta {
			l.mu.Lock()
			l.changeLocked(e)
			l.mu.Unlock()
		}
		return nil
	}
	if !errors.Is(err, varsync.ErrReplayed) {
		return err
	}
	select {
	case <-l.ended:
	case <-ctx.Done():
		return model.ErrDisconnected
	}
	if v := l.committed(); v != nil {
		_, err := v.Commit(ctx, e)
		return err
	}
	return model.ErrNotFound // it was set aside
}

// onReplayed takes what has become of a file that was kept: a variable, or, for id 0, nothing.
func (f *FS) onReplayed(key, id uint64) {
	l := f.unshared.byID(key)
	if l == nil {
		return // of an earlier mount
	}
	parent, name, _ := f.unshared.where(l)
	v, ok := f.c.Node(id).(*varsync.Variable)
	if ok {
		f.become(l, v)
	} else {
		f.unshared.end(l, removed)
	}
	if !ok || v.ID() != l.id {
		if p, err := f.place(parent); err == nil {
			f.kernel.Refresh(parent, fileName(name, p.level))
		}
	}
}

// replayed returns when the queued edits of a file are replayed. A removal or a renaming is the server's to decide, after them.
func (f *FS) replayed(n varsync.Node) error {
	if n == nil || f.c.Queued(n.ID()) == 0 {
		return nil
	}
	ctx, cancel := f.opContext()
	defer cancel()
	if !f.c.AwaitReplay(ctx, n.ID()) {
		return fmt.Errorf("%w: edits of the file are queued", model.ErrDisconnected)
	}
	if _, ok := n.(*unshared); ok {
		return syscall.ESTALE // it is a variable now: the kernel looks again
	}
	return nil
}

// replayedOver is replayed for what another file is moved over: a variable is given a value, which is queued behind the others.
func (f *FS) replayedOver(n varsync.Node) error {
	if _, ok := n.(*unshared); ok {
		return f.replayed(n)
	}
	return nil
}

// offlineXattr is the attribute of a mount's root that [OfflineOf] reads.
const offlineXattr = "user.commy.offline"

// offlineStats describes the offline queue; it is no attribute of a mount without.
func (f *FS) offlineStats() (string, bool) {
	s, ok := f.c.Offline()
	if !ok {
		return "", false
	}
	b, err := json.Marshal(s)
	return string(b), err == nil
}

// OfflineOf asks the mount on dir for its offline queue. ok is false if it has none.
func OfflineOf(dir string) (s offline.Stats, ok bool, err error) {
	value, err := rootXattr(dir, offlineXattr)
	if errors.Is(err, syscall.ENODATA) {
		return s, false, nil
	}
	if err == nil {
		err = json.NewDecoder(strings.NewReader(value)).Decode(&s)
	}
	return s, err == nil, err
}
