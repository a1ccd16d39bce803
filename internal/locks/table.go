// Package locks is a table of advisory locks as Linux has them: flock(2), of a whole file by an open file description, and
// fcntl(2), of ranges of bytes by a process or by a description. The two do not see each other.
//
// The table decides and remembers, and does nothing else: it does no I/O, starts no goroutine, looks at no clock, and is for one
// goroutine at a time. A server has one of the locks of all its clients, a mount one of the files that only it has.
//
// # Order
//
// Who waits gets its turn in the order of asking. A request that conflicts with one that waits goes behind it, even if it could
// be granted at once, unless that one waits for the new request's own locks. Such a place in the line alone never keeps anybody
// waiting in a circle: where it would, who waits behind it is let pass.
package locks

import (
	"errors"
	"math"
	"slices"
)

// The errors of a request.
var (
	ErrHeld     = errors.New("somebody else has the lock")
	ErrDeadlock = errors.New("who has the lock waits for the caller")
	ErrTooMany  = errors.New("too many locks")
	ErrRange    = errors.New("no such range")
)

// Kind is one of the two kinds of locks.
type Kind uint8

// The kinds.
const (
	Flock Kind = iota
	Posix
	kinds
)

// MaxOffset is the last byte of a file of any size: a range that ends there has no end.
const MaxOffset = math.MaxInt64

// Owner is who has a lock. ID is the client's own: the kernel's number of a process or a description.
type Owner struct {
	Client string
	ID     uint64
}

// Lock is a lock that somebody has or wants. An [Owner] has at most one flock of a file, and at any byte at most one posix lock.
type Lock struct {
	Kind      Kind
	Owner     Owner
	Exclusive bool
	// Start and End are the first and the last byte; of a flock 0 and MaxOffset.
	Start, End uint64
	// Described: the owner is an open file description. Anybody who has that can unlock, so that waiting is no deadlock.
	Described bool
	Pid       int    // of the process that asked
	Program   string // that it runs
	Since     int64  // when it was granted, or asked for, as the caller says; also the order of who waits
}

// whole makes a flock one of all bytes.
func (l *Lock) whole() {
	if l.Kind == Flock {
		l.Start, l.End, l.Described = 0, MaxOffset, true
	}
}

func (l *Lock) check() error {
	if l.Kind >= kinds || l.Start > l.End || l.End > MaxOffset {
		return ErrRange
	}
	return nil
}

// conflicts reports whether two locks of one file, of the same kind, exclude each other.
func (l *Lock) conflicts(o *Lock) bool {
	return l.Owner != o.Owner && (l.Exclusive || o.Exclusive) && l.Start <= o.End && o.Start <= l.End
}

// actor is a process, as far as one can tell: what waits by one owner may hold others up by another.
func (l *Lock) actor() actor { return actor{l.Owner.Client, l.Pid} }

type actor struct {
	client string
	pid    int
}

// Waiter is a request that waits. It is the table's until it is granted or cancelled.
type Waiter struct {
	Lock
	File  uint64
	Token uint64 // the caller's
	Try   bool   // it waits only until the table is thawed
	pass  bool   // goes by those before it in the line
}

// Limits bound a table. The zero value of a field is no bound.
type Limits struct {
	Client int // locks that a client has or waits for
	Total  int
}

// Table has the locks of files, which it knows by numbers.
type Table struct {
	limits  Limits
	files   map[uint64]*file
	clients map[string]*client
	total   int
	waiting map[owning][]*Waiter
	acting  map[actor]*acting
	frozen  bool
}

// file is what there is of one: files nobody wants are not kept. There can be very many locks of one: what is done for each that
// comes or goes does not look at all others, where it can be helped.
type file struct {
	held    [kinds][]Lock
	line    [kinds][]*Waiter
	writers [kinds]int           // exclusive ones of held
	owns    [kinds]map[Owner]int // how many of held are an owner's
}

// client is what one has: on which files, and how many locks and waiters.
type client struct {
	files map[uint64]int
	total int
}

// owning is an owner of one kind of locks.
type owning struct {
	kind Kind
	Owner
}

// acting is what a process has, by files, and waits for.
type acting struct {
	held  []heldAt
	waits []*Waiter
}

// heldAt is how many locks of a kind of a file there are.
type heldAt struct {
	file uint64
	kind Kind
	n    int
}

// New returns an empty table.
func New(l Limits) *Table {
	return &Table{limits: l, files: map[uint64]*file{}, clients: map[string]*client{}, waiting: map[owning][]*Waiter{}, acting: map[actor]*acting{}}
}

// Len is how many locks there are, with those that are waited for.
func (t *Table) Len() int { return t.total }

// Waiting is how many of them are waited for.
func (t *Table) Waiting() (n int) {
	for _, list := range t.waiting {
		n += len(list)
	}
	return n
}

// LenOf is how many of them are a client's.
func (t *Table) LenOf(name string) int {
	if c := t.clients[name]; c != nil {
		return c.total
	}
	return 0
}

// Acquire gives the owner a lock in the place of what it has of the range, or reports ErrHeld, or, if wait is set, has it wait
// and returns the waiter. granted are others that got theirs because of it: an owner that wants its flock in another mode has
// lost it first, as on Linux, and one whose posix lock becomes a shared one lets others in.
func (t *Table) Acquire(id uint64, l Lock, wait bool, token uint64) (w *Waiter, granted []*Waiter, err error) {
	l.whole()
	if err := l.check(); err != nil {
		return nil, nil, err
	}
	f := t.files[id]
	if f == nil {
		f = &file{}
	}
	if l.Kind == Flock {
		if f.owns[Flock][l.Owner] > 0 {
			if i, _ := f.block(Flock, l.Owner); f.held[Flock][i].Exclusive == l.Exclusive {
				return nil, nil, nil
			}
			granted, _ = t.Release(id, Lock{Kind: Flock, Owner: l.Owner})
			if f = t.files[id]; f == nil {
				f = &file{}
			}
		}
	}
	if t.frozen && !t.Holds(id, l) {
		if t.full(l.Owner.Client, 1) {
			return nil, granted, ErrTooMany
		}
		w = &Waiter{Lock: l, File: id, Token: token, Try: !wait}
		t.files[id] = f
		t.enter(f, w)
		return w, granted, nil
	}
	if t.free(f, &l, len(f.line[l.Kind]), false) {
		more, err := t.set(id, f, l, true)
		return nil, append(granted, more...), err
	}
	switch {
	case !wait:
		return nil, granted, ErrHeld
	case t.deadlock(f, &l):
		return nil, granted, ErrDeadlock
	case t.full(l.Owner.Client, 1):
		return nil, granted, ErrTooMany
	}
	w = &Waiter{Lock: l, File: id, Token: token}
	t.files[id] = f
	t.enter(f, w)
	if more := t.untie(w); len(more) > 0 {
		granted = append(granted, more...)
		if i := slices.Index(granted, w); i >= 0 {
			return nil, slices.Delete(granted, i, i+1), nil
		}
	}
	return w, granted, nil
}

// Freeze has all requests wait until Thaw, also those that would not, but those for what their owners have.
func (t *Table) Freeze() { t.frozen = true }

// Thaw grants what can be granted, and refuses those that do not wait.
func (t *Table) Thaw() (granted, refused []*Waiter) {
	t.frozen = false
	for _, id := range t.Files() {
		f := t.files[id]
		for k := range kinds {
			granted = append(granted, t.serve(f, k)...)
			for _, w := range slices.Clone(f.line[k]) {
				if w.Try {
					t.leave(f, w)
					refused = append(refused, w)
				}
			}
			granted = append(granted, t.serve(f, k)...)
		}
		t.tidy(id, f)
	}
	return granted, refused
}

// Restore gives a lock to who had it before, without regard to the line. It reports whether nobody else has it.
func (t *Table) Restore(id uint64, l Lock) bool {
	l.whole()
	if l.check() != nil {
		return false
	}
	f := t.files[id]
	if f == nil {
		f = &file{}
	}
	if t.holder(f, &l) != nil {
		return false
	}
	_, err := t.set(id, f, l, true)
	return err == nil
}

// Release takes from an owner what it has of a range, and returns who got something because of it. Of l only the kind, the owner
// and the range matter; of a flock not even that.
func (t *Table) Release(id uint64, l Lock) (granted []*Waiter, err error) {
	l.whole()
	if err := l.check(); err != nil {
		return nil, err
	}
	if f := t.files[id]; f != nil {
		return t.set(id, f, l, false)
	}
	return nil, nil
}

// Cancel takes a waiter out of the line, and returns who got something because of it. ok is false if it waits no more.
func (t *Table) Cancel(w *Waiter) (granted []*Waiter, ok bool) {
	f := t.files[w.File]
	if f == nil || !slices.Contains(f.line[w.Kind], w) {
		return nil, false
	}
	t.leave(f, w)
	granted = t.serve(f, w.Kind)
	t.tidy(w.File, f)
	return granted, true
}

// ReleaseClient takes everything from a client, and returns who got something because of it.
func (t *Table) ReleaseClient(name string) (granted []*Waiter) {
	ids := t.FilesOf(name)
	for _, id := range ids {
		f := t.files[id]
		for k := range f.line {
			for _, w := range slices.Clone(f.line[k]) {
				if w.Owner.Client == name {
					t.leave(f, w)
				}
			}
			kept := f.held[k][:0:0]
			for i := range f.held[k] {
				if h := &f.held[k][i]; h.Owner.Client == name {
					t.count(id, f, h, -1)
				} else {
					kept = append(kept, *h)
				}
			}
			f.held[k] = kept
		}
	}
	for _, id := range ids {
		f := t.files[id]
		for k := range kinds {
			granted = append(granted, t.serve(f, k)...)
		}
		t.tidy(id, f)
	}
	return granted
}

// Conflict returns a lock that keeps l from being granted, the first one; ok is false if there is none. Who waits does not count.
func (t *Table) Conflict(id uint64, l Lock) (held Lock, ok bool) {
	l.whole()
	if f := t.files[id]; f != nil && l.check() == nil {
		if h := t.holder(f, &l); h != nil {
			return *h, true
		}
	}
	return Lock{}, false
}

// Holds reports whether the owner has all of a lock.
func (t *Table) Holds(id uint64, l Lock) bool {
	l.whole()
	f := t.files[id]
	if f == nil || l.check() != nil || f.owns[l.Kind][l.Owner] == 0 {
		return false
	}
	next := l.Start
	from, to := f.touching(&l)
	for i := from; i < to; i++ {
		h := &f.held[l.Kind][i]
		if h.Exclusive != l.Exclusive || h.End < next {
			continue
		}
		if h.Start > next {
			return false
		}
		if h.End >= l.End {
			return true
		}
		next = h.End + 1
	}
	return false
}

// Has reports whether an owner has anything of a kind of a file. Of a kind that does not exist nobody has anything.
func (t *Table) Has(id uint64, k Kind, o Owner) bool {
	f := t.files[id]
	return f != nil && k < kinds && f.owns[k][o] > 0
}

// Force makes a lock the owner's whatever others have, for a table that does not decide but repeats.
func (t *Table) Force(id uint64, l Lock) {
	l.whole()
	if l.check() != nil {
		return
	}
	f := t.files[id]
	if f == nil {
		f = &file{}
		t.files[id] = f
	}
	t.put(id, f, l, true)
}
