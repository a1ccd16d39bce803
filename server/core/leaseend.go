package core

import (
	"time"

	"github.com/commy-project/commyfs/engine"
	"github.com/commy-project/commyfs/model"
)

// end ends a lease and gives its locks to others: behind all that the session has sent, if there is one to be behind of. What is
// sent under the lease from now on, or then, is refused; what was carried out before is told to who gets a lock. done is called
// in the end, and can be nil.
func (k *locking) end(l *lease, why string, behind *Session, done ...func()) {
	over := func() bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		first := !l.over
		if l.over = true; first && k.table.LenOf(l.client) > 0 {
			k.core.log.Info("a client has lost its locks", "client", l.who.Writer, "pid", l.who.Info.Pid, "locks", k.table.LenOf(l.client), "reason", why)
		}
		return first
	}
	finish := func() {
		for _, fn := range done {
			go func() { <-l.ended; fn() }()
		}
	}
	if behind != nil {
		it := item{session: behind, do: func() {
			if over() {
				k.bury(l)
			}
			finish()
		}}
		if _, held := behind.hold(it, nil, nil); held {
			return
		}
		if k.core.queue.push(it) {
			k.core.queue.signal()
			return
		}
	}
	if over() {
		k.core.queue.call(func() { k.bury(l) })
	}
	finish()
}

// bury stores that leases have ended, and gives their locks to others. The committer calls it: there is no report that it has
// judged and not shown.
func (k *locking) bury(list ...*lease) {
	var ops []engine.Op
	for _, l := range list {
		ops = append(ops, engine.DeleteLease(l.client))
	}
	if _, err := k.core.engine.CommitFreeing(k.core.ctx, ops); err != nil {
		k.mu.Lock()
		defer k.mu.Unlock()
		if !k.closed {
			k.core.log.Warn("the end of a lease cannot be stored", "err", err)
			time.AfterFunc(leaseRetry, func() { k.core.queue.call(func() { k.bury(list...) }) })
		}
		return
	}
	var t touched
	k.mu.Lock()
	for _, l := range list {
		if k.leases[l.client] != l {
			continue
		}
		delete(k.leases, l.client)
		if !l.claimed {
			k.claimLocked(l)
		}
		ids := k.table.FilesOf(l.client)
		k.tellLocked(&t, k.table.ReleaseClient(l.client))
		for _, id := range ids {
			k.tidyLocked(id)
		}
		if l.session != nil {
			l.session.feed.lock(told{lock: &lockNews{ended: l.number}})
			t.add(l.session)
		}
		close(l.ended)
	}
	k.thawLocked(&t)
	k.mu.Unlock()
	t.wake()
}

// claimLocked notes that a lease of the server before has been claimed, or never will be.
func (k *locking) claimLocked(l *lease) {
	if !l.claimed {
		l.claimed = true
		k.unclaimed--
	}
}

// thawLocked grants locks again, if nobody can claim any.
func (k *locking) thawLocked(t *touched) {
	if k.grace == nil || k.unclaimed > 0 {
		return
	}
	k.grace.Stop()
	k.grace = nil
	granted, refused := k.table.Thaw()
	k.tellLocked(t, granted)
	for _, w := range refused {
		k.answerLocked(t, w.Owner.Client, &model.LockAnswer{Token: w.Token, State: model.LockRefused})
	}
}

// endGrace ends all leases that nobody has claimed.
func (k *locking) endGrace() {
	k.core.queue.call(func() {
		k.mu.Lock()
		var list []*lease
		for _, l := range k.leases {
			if !l.claimed && !l.over {
				l.over = true
				list = append(list, l)
			}
		}
		k.mu.Unlock()
		for len(list) > 0 {
			n := min(len(list), engine.MaxOps/4)
			k.bury(list[:n]...)
			list = list[n:]
		}
	})
}

// goodbye ends the lease of a client that has said that it will come no more. The committer calls it.
func (k *locking) goodbye(client string) {
	k.mu.Lock()
	l := k.leases[client]
	if l == nil || l.over {
		k.mu.Unlock()
		return
	}
	l.over = true
	k.mu.Unlock()
	k.bury(l)
}

// look ends the leases of clients that are not heard of, or may do nothing any more, and those that are of no use. It is called now
// and then.
func (k *locking) look() {
	type ending struct {
		l      *lease
		why    string
		unused bool
	}
	var list []ending
	k.mu.Lock()
	for _, l := range k.leases {
		if l.over || l.session == nil {
			continue
		}
		used := k.table.LenOf(l.client) > 0
		switch {
		case used:
			l.idle = time.Time{}
		case l.idle.IsZero():
			l.idle = time.Now()
		}
		switch {
		case time.Since(l.session.sub.Heard()) > k.away:
			list = append(list, ending{l, "the client is not heard of", false})
		case k.core.auth.Check(l.session.Principal) != nil:
			list = append(list, ending{l, "the client may do nothing any more", false})
		case !used && l.claimed && time.Since(l.idle) > k.idle:
			list = append(list, ending{l, "it is not used", true})
			l.over = true
		}
	}
	k.mu.Unlock()
	for _, e := range list {
		if e.unused {
			k.core.queue.call(func() { k.bury(e.l) })
		} else {
			k.end(e.l, e.why, nil)
		}
	}
}

// close keeps timers from doing anything more. The leases stay in the store: who had locks has them by the next server.
func (k *locking) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	if k.grace != nil {
		k.grace.Stop()
	}
	for _, l := range k.leases {
		if l.timer != nil {
			l.timer.Stop()
		}
	}
}
