package server

import (
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/server/core"
	"github.com/commy-project/commyfs/transport"
)

// maxLockProgram bounds what is kept of the name of a program that has a lock.
const maxLockProgram = 64

// lock asks for a lock. The first of a client, and one of a variable that is not in memory, waits for the store.
func (r request) lock(m *model.LockRequest) {
	m.Program = clip(m.Program, maxLockProgram)
	services := r.LockWaits(&m.Lock)
	if len(services) == 0 && r.HasLease() {
		r.refuse(r.Session.Lock(r.Ticket, m))
		return
	}
	r.aside(func() {
		r.keepProcess()
		r.telling(func() {
			err := r.BeginLease()
			if err == nil {
				err = r.Session.Lock(r.Ticket, m)
			}
			if err != nil {
				r.refuse(err)
				return
			}
			r.Ready()
		}, services...)
	})
}

func (r request) unlock(m *model.Lock) {
	r.refuse(r.Session.Unlock(m, func(err error) { r.result(&transport.Done{}, err) }))
}

func (r request) testLock(m *model.Lock) {
	test := func() {
		t, err := r.Session.TestLock(m)
		r.result((*transport.LockTested)(t), err)
	}
	if services := r.LockWaits(m); len(services) > 0 {
		r.aside(func() { r.telling(test, services...) })
		return
	}
	test()
}

func (r request) reclaimLocks(m *model.Reclaim) {
	for i := range m.Held {
		m.Held[i].Program = clip(m.Held[i].Program, maxLockProgram)
	}
	for i := range m.Waits {
		m.Waits[i].Program = clip(m.Waits[i].Program, maxLockProgram)
	}
	r.keepProcess()
	r.aside(func() {
		r.refuse(r.Reclaim(m, func(a *model.Reclaimed) { r.answer((*transport.LocksReclaimed)(a)) }))
	})
}

// listLocks answers a page at a time: the next one is made when the one before was sent.
func (r request) listLocks(m *model.ListLocks) {
	for l, more := r.ListLocks(m), true; more; {
		if r.Memory.Take(core.PageBytes) != nil {
			return // the session ends
		}
		page := l.Page()
		sent, cost := make(chan struct{}), core.PageBytes
		if more = page.More; !more {
			cost += r.Cost
		}
		r.out.reply(reply{id: r.ID, message: (*transport.Locks)(page), part: more, cost: cost, after: func() { close(sent) }})
		select {
		case <-sent:
		case <-r.conn.Done():
			return
		}
	}
}

// Locked answers a request about a lock, or is a push.
func (p *parcel) Locked(request uint64, a *model.LockAnswer) {
	p.answer(request, (*transport.Locked)(a), false)
}

// LeaseEnded is a push.
func (p *parcel) LeaseEnded(lease uint64) { p.add(0, &transport.LeaseEnded{Lease: lease}) }

// Heard is when the client was last heard of.
func (c *session) Heard() time.Time { return c.conn.LastReceived() }

// Left reports whether the client, or its host, has closed the connection.
func (c *session) Left() bool { return c.conn.PeerClosed() }

// keepProcess has Gone find out about the client's process. The collector closes the descriptor.
func (c *session) keepProcess() {
	peer, ok := c.conn.Peer()
	if !ok || peer.PID <= 0 || c.process.Load() != nil {
		return
	}
	if fd, err := unix.PidfdOpen(int(peer.PID), 0); err == nil {
		c.process.Store(os.NewFile(uintptr(fd), "pidfd"))
	}
}

// Gone waits for a while at most until the client's process has ended, and reports whether it has.
func (c *session) Gone(wait time.Duration) bool {
	process := c.process.Load()
	if process == nil {
		return false
	}
	defer runtime.KeepAlive(process)
	end := time.Now().Add(wait)
	for {
		p := []unix.PollFd{{Fd: int32(process.Fd()), Events: unix.POLLIN}}
		n, err := unix.Poll(p, int(max(0, time.Until(end).Milliseconds())))
		if err != unix.EINTR {
			return err == nil && n > 0
		}
	}
}
