// Package budget shares memory between the sessions of a server.
//
// What a session asks for is taken from a budget before it is allocated: messages that arrive, what they take when decoded,
// what waits to be sent. A session that has its share, or meets a budget that is used up, waits, and in the end its client
// does. A part is kept for those who use little, so that they need not wait for those who use much.
package budget

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/commy-project/commyfs/model"
)

const (
	reservePart = 4 // one part in so many is for the modest
	modest      = 128 << 10
	// patience is how long a session waits for memory that another one holds because its client is slow. Then that client
	// has to go.
	patience = 500 * time.Millisecond
)

var (
	errEnded = errors.New("the session has ended")
	errHog   = &model.Error{Code: model.CodeUnavailable, Message: "the server has run out of memory, and this client is slow and holds much of it"}
)

// Budget is an amount of memory that sessions share.
type Budget struct {
	limit, reserve, share int64

	// mu guards the following, and accounts. It is a leaf.
	mu         sync.Mutex
	used       int64
	principals map[model.Principal]int64
	accounts   map[*Account]struct{}
	waits      []*wait // in order
}

// Account is what one session has of a budget.
type Account struct {
	budget    *Budget
	principal model.Principal
	stalled   func() int64
	done      <-chan struct{}
	fail      func(error)

	used   int64
	closed bool
}

type wait struct {
	*Account
	n     int64
	ready chan struct{} // closed when it has them, or the account was closed
}

// New returns a budget of so many bytes.
func New(limit int64) *Budget {
	return &Budget{
		limit: limit, reserve: limit / reservePart, share: limit * 2 / 3, principals: map[model.Principal]int64{}, accounts: map[*Account]struct{}{},
	}
}

// Open opens the account of a session. stalled returns since when, in Unix nanoseconds, the session has waited for its client
// to send or to take something, 0 if it does not; done is closed when nobody waits for the account any more; fail ends the
// session, at once.
func (b *Budget) Open(p model.Principal, stalled func() int64, done <-chan struct{}, fail func(error)) *Account {
	a := &Account{budget: b, principal: p, stalled: stalled, done: done, fail: fail}
	b.mu.Lock()
	b.accounts[a] = struct{}{}
	b.mu.Unlock()
	return a
}

// Limit is the most that the account can have at once.
func (a *Account) Limit() int { return int(a.budget.share) }

// Take waits until the account can have n bytes more. Larger requests than the limit are cut to it.
func (a *Account) Take(n int) error {
	b := a.budget
	b.mu.Lock()
	if a.closed {
		b.mu.Unlock()
		return errEnded
	}
	if len(b.waits) == 0 && a.used+int64(n) <= b.share && b.hasRoomLocked(a, int64(n)) {
		b.chargeLocked(a, int64(n))
		b.mu.Unlock()
		return nil
	}
	w := &wait{Account: a, n: min(int64(n), b.share), ready: make(chan struct{})}
	b.waits = append(b.waits, w)
	b.grantLocked()
	granted := w.n == 0
	b.mu.Unlock()
	if granted {
		return nil
	}
	tick := time.NewTicker(patience)
	defer tick.Stop()
	for {
		select {
		case <-w.ready:
			b.mu.Lock()
			defer b.mu.Unlock()
			if a.closed {
				return errEnded
			}
			return nil
		case <-a.done:
			b.forget(w)
			return errEnded
		case <-tick.C:
			b.evict(w)
		}
	}
}

// Try is Take that does not wait: false, if it would have to.
func (a *Account) Try(n int) bool {
	b := a.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	if a.closed || !b.hasRoomLocked(a, int64(n)) || a.used+int64(n) > b.share {
		return false
	}
	b.chargeLocked(a, int64(n))
	return true
}

// Give returns what the account has no more use for.
func (a *Account) Give(n int) {
	if n == 0 {
		return
	}
	b := a.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	if a.closed {
		return
	}
	b.chargeLocked(a, -int64(min(int64(n), a.used)))
	b.grantLocked()
}

// Close returns all. Who waits for the account gets an error.
func (a *Account) Close() {
	b := a.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	if a.closed {
		return
	}
	b.chargeLocked(a, -a.used)
	a.closed = true
	delete(b.accounts, a)
	b.waits = slices.DeleteFunc(b.waits, func(w *wait) bool {
		if w.Account == a {
			close(w.ready)
		}
		return w.Account == a
	})
	b.grantLocked()
}

func (b *Budget) chargeLocked(a *Account, n int64) {
	a.used += n
	b.used += n
	if p := b.principals[a.principal] + n; p > 0 {
		b.principals[a.principal] = p
	} else {
		delete(b.principals, a.principal)
	}
}

// grantLocked lets those go on for whom there is room. Who finds none keeps those behind from overtaking, or a large
// request would wait for ever; but nobody waits for one who has used up its own share, and the modest wait for nobody.
func (b *Budget) grantLocked() {
	if len(b.waits) == 0 {
		return
	}
	full := false
	b.waits = slices.DeleteFunc(b.waits, func(w *wait) bool {
		switch {
		case w.used+w.n > b.share:
			return false
		case full && !b.modestLocked(w.Account, w.n), !b.hasRoomLocked(w.Account, w.n):
			full = true
			return false
		}
		b.chargeLocked(w.Account, w.n)
		w.n = 0
		close(w.ready)
		return true
	})
}

func (b *Budget) modestLocked(a *Account, n int64) bool {
	return a.used+n <= modest && b.principals[a.principal]+n <= b.limit/2
}

func (b *Budget) hasRoomLocked(a *Account, n int64) bool {
	free := b.limit - b.used
	return n <= free-b.reserve || n <= free && b.modestLocked(a, n)
}

// forget takes a wait out of the line.
func (b *Budget) forget(w *wait) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waits = slices.DeleteFunc(b.waits, func(o *wait) bool { return o == w })
	b.grantLocked()
}

// evict ends the sessions that hold the most because their clients are slow, as many as w needs.
func (b *Budget) evict(w *wait) {
	b.mu.Lock()
	var slow []*Account
	if w.n > 0 && !w.closed && w.used+w.n <= b.share {
		late := time.Now().Add(-patience).UnixNano()
		for a := range b.accounts {
			if since := a.stalled(); a != w.Account && a.used > 0 && since != 0 && since < late {
				slow = append(slow, a)
			}
		}
	}
	slices.SortFunc(slow, func(x, y *Account) int { return cmp.Compare(y.used, x.used) })
	need := w.n
	for i, a := range slow {
		if need <= 0 {
			slow = slow[:i]
			break
		}
		need -= a.used
	}
	b.mu.Unlock()
	for _, a := range slow {
		a.fail(errHog)
	}
}
