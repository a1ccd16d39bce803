package sync

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/offline"
)

// What a client with a queue offers beyond [Variable.Commit] and [Variable.Enqueue].

// Keeps reports whether an edit of a variable in the service would be queued now, because the server cannot be reached, and if so
// why one of n bytes would not.
func (s *Service) Keeps(n int64) (ok bool, err error) {
	k := s.c.keeper
	if k == nil || !s.c.cut() || s.Bare() != 0 || s.c.locks.under.Load() != 0 {
		return false, nil
	}
	return true, k.q.Room(n)
}

// OrKeep is cause, why the server has not said that it would take an edit of n bytes; or, if that is because it cannot be reached,
// why it cannot be queued, nil if it can.
func (s *Service) OrKeep(cause error, n int64) error {
	k := s.c.keeper
	if k == nil || !k.keeps(cause) && !errors.Is(cause, context.DeadlineExceeded) || s.Bare() != 0 || s.c.locks.under.Load() != 0 {
		return cause
	}
	return k.q.Room(n)
}

// Queued is how many edits of a variable are queued, by its id or key.
func (c *Client) Queued(key uint64) int {
	if c.keeper == nil {
		return 0
	}
	return c.keeper.q.Has(key)
}

// Offline describes the queue; ok is false if there is none.
func (c *Client) Offline() (s offline.Stats, ok bool) {
	if c.keeper == nil {
		return offline.Stats{}, false
	}
	s = c.keeper.q.Stats()
	c.keeper.refusing(&s)
	return s, true
}

// AwaitReplay returns when no edits of a variable are queued, of any for key 0. It does not wait for a server that cannot be
// reached, nor longer than [Options.Timeout], and reports whether they are replayed.
func (c *Client) AwaitReplay(ctx context.Context, key uint64) bool {
	k := c.keeper
	if k == nil {
		return true
	}
	return k.await(ctx, func() bool {
		if key == 0 {
			return k.q.Len() == 0
		}
		return k.q.Has(key) == 0
	})
}

// ErrReplayed says that a new variable has no entries in the queue any more: [Options.OnReplayed] says what it is.
var ErrReplayed = errors.New("the new variable was replayed")

// CreateOrKeep makes a variable by a change that creates it, or keeps that under a key if the server cannot be reached: kept is
// true then. The bytes in change must not be modified afterwards. tenure is as in [Edit].
func (c *Client) CreateOrKeep(ctx context.Context, key uint64, change model.Change, tenure uint64) (res model.Result, kept bool, err error) {
	k := c.keeper
	if change.Lease, err = c.locks.leaseOf(tenure); err != nil {
		return model.Result{}, false, err
	} else if change.Lease != 0 {
		k = nil // see leased
	}
	var p *pursuit
	if k == nil || !c.cut() {
		r := &report{lasting: k != nil}
		r.one[0] = change
		r.changes = r.one[:]
		results, err := c.carryOut(ctx, 0, r)
		var doubt *doubtError
		switch {
		case err == nil:
			return results[0], false, nil
		case k == nil || !k.keeps(err):
			return model.Result{}, false, err
		case errors.As(err, &doubt):
			p = doubt.pursuit
		}
	}
	e := &offline.Entry{Edit: offline.Edit{Kind: offline.Replace, Mode: change.NewMode, HasMTime: change.HasMTime, MTime: change.MTime,
		Data: change.Data}}
	if change.Op == model.OpAppend {
		e.Kind = offline.Append
	}
	e.Target = offline.Target{Key: key, New: true, Tenant: change.Tenant, Service: change.Service, Name: change.Name,
		Within: change.Within}
	return model.Result{}, true, k.keepNew(e, true, p)
}

// KeepNew keeps an edit of a variable that [Client.CreateOrKeep] has kept. The error is [ErrReplayed] if that is over.
func (c *Client) KeepNew(key uint64, edit Edit) error {
	if c.locks.under.Load() != 0 {
		return model.ErrDisconnected // see leased
	}
	list := c.keeper.q.Of(key)
	if len(list) == 0 {
		return ErrReplayed
	}
	return c.keeper.keepNew(&offline.Entry{Target: list[0].Target, Edit: asQueued(&edit)}, false, nil)
}

func (k *keeper) keepNew(e *offline.Entry, first bool, p *pursuit) error {
	e.Time = time.Now().UnixNano()
	if t := k.c.Tenant(e.Tenant); t != nil {
		if s := t.Service(e.Service); s != nil {
			e.In = s.id
		}
	}
	k.finishing.RLock()
	defer k.finishing.RUnlock()
	k.mu.Lock()
	there := k.news[e.Key]
	k.mu.Unlock()
	if !there && !first {
		return ErrReplayed
	}
	o := k.overlay(e.Key)
	if o == nil {
		o = &overlay{}
	}
	if (e.Kind == offline.Write || e.Kind == offline.Truncate) && !o.based {
		e.HasBefore, e.Before = true, o.tail // nothing was before it
	}
	if p != nil {
		e.Doubt = &offline.Doubt{Client: k.c.id, Seq: p.seq, First: p.first.UnixNano(), Sum: sha256.Sum256(e.Data)}
	}
	shown := o.with(e, nil)
	if size := shown.meta(Meta{}).Size; size > k.c.MaxValue() {
		return model.ErrTooLarge
	}
	if err := k.roomy(e.Key, shown); err != nil {
		return err
	}
	if err := k.q.Append(e); err != nil {
		return err
	}
	k.mu.Lock()
	k.news[e.Key] = true
	k.mu.Unlock()
	k.show(e.Key, shown)
	if p != nil {
		k.doubt(p, e.Key, []*offline.Entry{e})
	}
	k.wakeUp()
	return nil
}
