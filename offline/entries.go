package offline

import (
	"encoding/binary"
	"errors"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// What the queue has, for who replays.

// Next returns entries behind the one numbered after, in order, most at most.
func (q *Queue) Next(after uint64, most int) (list []Entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	i, _ := slices.BinarySearchFunc(q.order, after+1, func(it *item, n uint64) int {
		switch {
		case it.N < n:
			return -1
		case it.N > n:
			return 1
		}
		return 0
	})
	for _, it := range q.order[i:] {
		if len(list) == most {
			break
		}
		if !it.over {
			list = append(list, it.Entry)
		}
	}
	return list
}

// Of returns the entries of a variable, in order.
func (q *Queue) Of(key uint64) (list []Entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if c := q.chains[key]; c != nil {
		for _, it := range c.items {
			list = append(list, it.Entry)
		}
	}
	return list
}

// Has returns how many entries of a variable there are.
func (q *Queue) Has(key uint64) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if c := q.chains[key]; c != nil {
		return len(c.items)
	}
	return 0
}

// Len is how many entries there are.
func (q *Queue) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.entries)
}

// Keys returns the variables that have entries.
func (q *Queue) Keys() (list []uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for key := range q.chains {
		list = append(list, key)
	}
	return list
}

// Load reads the bytes of an entry.
func (q *Queue) Load(e *Entry) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	it := q.entries[e.N]
	if it == nil {
		return errors.New("offline queue: the entry is over")
	}
	if q.isClosed {
		return errClosed
	}
	return it.load(q.file, e)
}

// Progress is how far the server has come with a variable: the version that the next entry is to be made over, and, of one
// that was new, its id. ok is false if nothing of it has been replayed.
func (q *Queue) Progress(key uint64) (p Progress, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if c := q.chains[key]; c != nil && c.known {
		return c.Progress, true
	}
	return Progress{}, false
}

// Underway is the report that may have been sent, nil if there is none.
func (q *Queue) Underway() *Sending {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.sending == nil {
		return nil
	}
	s := *q.sending
	return &s
}

// Store is the server's store that the entries are for, "": that is not known yet.
func (q *Queue) Store() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.file.store
}

// SetStore says which store entries are for from now on. Those that are there must be none.
func (q *Queue) SetStore(store string) error { return q.describe(func(h *header) { h.store = store }) }

// Principal is in whose name entries were sent, "": that is not known.
func (q *Queue) Principal() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.file.principal
}

// SetPrincipal says in whose name entries are sent from now on. Nobody may be about to ask what became of those that were sent.
func (q *Queue) SetPrincipal(who string) error {
	return q.describe(func(h *header) { h.principal = who })
}

// describe changes what the log is of.
func (q *Queue) describe(change func(h *header)) error {
	return q.locked(func(l *logFile) error {
		was := l.header
		change(&l.header)
		if l.header == was {
			return nil
		}
		err := q.rewriteLocked(l)
		if err != nil {
			l.header = was
		}
		return err
	})
}

// Limits are those of the queue.
func (q *Queue) Limits() Limits { return q.limits }

// spare is which part of the limits Room leaves for what was let in before and is stored later.
const spare = 16

// Room returns why an edit of n bytes is not to be begun, nil if it can be: [ErrFull] or [ErrNoSpace]. Several can be begun
// before the first of them is appended.
func (q *Queue) Room(n int64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.usable(); err != nil {
		return err
	}
	n += entryCost
	if len(q.entries)+1 > q.limits.Entries-q.limits.Entries/spare || q.bytes+n > q.limits.Bytes-q.limits.Bytes/spare {
		return ErrFull
	}
	var st unix.Statfs_t
	for {
		err := unix.Fstatfs(int(q.file.f.Fd()), &st)
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EINTR) {
			return noSpace(err)
		}
	}
	if have := max(q.file.room-q.file.end, 0) + int64(st.Bavail)*st.Bsize; have < n+2*reserve {
		return ErrNoSpace
	}
	return nil
}

// entryCost is about what an entry takes in the log beside its bytes and its name.
const entryCost = 128

func appendUint(n uint64) []byte { return binary.AppendUvarint(nil, n) }

// placeOf is where the bytes of an entry are whose payload is at off.
func placeOf(e *Entry, off int64, size int) place {
	p := place{dataLen: len(e.Data), beforeLen: len(e.Before)}
	p.before = off + int64(size-len(e.trailer())-p.beforeLen)
	p.data = p.before - int64(len(appendUint(uint64(p.beforeLen)))) - int64(p.dataLen)
	return p
}
