package commyfs

import (
	"context"
	"iter"
	"time"

	"github.com/commy-project/commyfs/model"
)

// LockInfo describes a lock that somebody has or waits for, by a client or by flock(2) or fcntl(2) on a mount.
type LockInfo struct {
	Path      Path   // without a Name: the variable has been deleted
	ID        uint64 // of the variable
	Range     bool   // fcntl(2): of the bytes from Start to End only
	Exclusive bool
	// Start and End are the first and the last byte. A range without an end has the End [MaxLockOffset].
	Start, End uint64
	Waits      bool
	Since      time.Time // when it was granted, or asked for
	// Who has it or waits: a process on a host, and the mount that it uses, if it does.
	Host, Program, User, Mount string
	Pid                        int
	// Away is since when the server has not been connected with whoever has it; the zero time if it is. It soon loses the lock.
	Away time.Time
}

// MaxLockOffset is the last byte of a lock of all bytes to the end.
const MaxLockOffset = model.MaxLockOffset

// Locks lists the locks of what is at or below a path, in the order of the paths. Of each variable come those that somebody has,
// then those that are waited for, in order. It ends at the first error.
func (c *Client) Locks(ctx context.Context, at Path) iter.Seq2[LockInfo, error] {
	return func(yield func(LockInfo, error) bool) {
		var list []model.LockInfo
		err := c.sync.Locks(ctx, &model.ListLocks{Tenant: at.Tenant, Service: at.Service, Name: at.Name}, func(page []model.LockInfo) error {
			list = append(list, page...)
			return nil
		})
		for i := range list {
			m := &list[i]
			l := LockInfo{
				Path: Path{m.Tenant, m.Service, m.Name}, ID: m.ID, Range: m.Kind == model.LockRange, Exclusive: m.Exclusive, Start: m.Start,
				End: m.End, Waits: m.Waits, Since: timeOf(m.Since), Host: m.Host, Program: m.Program, User: m.User, Mount: m.Mount, Pid: m.Pid,
				Away: timeOf(m.Away),
			}
			if !yield(l, nil) {
				return
			}
		}
		if err != nil {
			yield(LockInfo{}, c.failed(err))
		}
	}
}
