package offline

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Queue is the queue of one mount. Its methods are safe for concurrent use.
type Queue struct {
	dir    string
	limits Limits
	log    *slog.Logger
	lock   *os.File

	mu       sync.Mutex // guards the following; after logFile.syncing
	file     *logFile
	entries  map[uint64]*item
	order    []*item // by number; some are over
	over     int     // in order
	chains   map[uint64]*chain
	sending  *Sending
	bytes    int64
	last     uint64 // number given
	damaged  int
	failed   error     // the log cannot be appended to
	mended   time.Time // when it was last tried to write it anew
	isClosed bool
}

// item is an entry in memory, without its bytes.
type item struct {
	Entry
	place
	size int64 // in the log
	over bool
}

// chain is what the queue has of one variable.
type chain struct {
	Progress
	known bool // there is progress
	items []*item
}

// Options configure [Open].
type Options struct {
	Limits        // zero: the defaults
	Server, Mount string
	Logger        *slog.Logger
}

// Files in the directory of a queue.
const (
	logName  = "log"
	lockName = "lock"
	asideDir = "aside"
)

// Open opens the queue in a directory, which it makes. The error is [ErrLocked] if another process has it.
func Open(dir string, o Options) (*Queue, error) {
	q := &Queue{dir: dir, limits: o.Limits, log: o.Logger}
	q.limits.Entries, q.limits.Bytes = cmp.Or(q.limits.Entries, DefaultEntries), cmp.Or(q.limits.Bytes, DefaultBytes)
	if q.log == nil {
		q.log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(filepath.Join(dir, asideDir), 0o700); err != nil {
		return nil, noSpace(err)
	}
	var err error
	if q.lock, err = os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, noSpace(err)
	}
	if err = unix.Flock(int(q.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrLocked
	}
	if err == nil {
		err = q.open(header{server: o.Server, mount: o.Mount})
	}
	if err != nil {
		_ = q.lock.Close()
		return nil, fmt.Errorf("offline queue %s: %w", dir, err)
	}
	return q, nil
}

// Append has entries stored, in order, all or none. It gives them their numbers. When it returns they are on the disk.
func (q *Queue) Append(list ...*Entry) error {
	q.mend()
	q.mu.Lock()
	items, need, err := q.append(list)
	q.mu.Unlock()
	if err != nil {
		return err
	}
	if err := q.sync(need); err != nil {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.takeBack(items)
		return err
	}
	return nil
}

func (q *Queue) append(list []*Entry) (items []*item, need int64, err error) {
	if err := q.usable(); err != nil {
		return nil, 0, err
	}
	var size int64
	payloads := make([][]byte, len(list))
	prev := map[uint64]uint64{}
	for i, e := range list {
		e.N = q.last + uint64(i) + 1
		e.Prev = prev[e.Key]
		if c := q.chains[e.Key]; c != nil && e.Prev == 0 {
			e.Prev = c.items[len(c.items)-1].N
		}
		prev[e.Key] = e.N
		payloads[i] = e.encode()
		size += int64(len(payloads[i]) + recordHead + 10)
	}
	if len(q.entries)+len(list) > q.limits.Entries || q.bytes+size > q.limits.Bytes {
		return nil, 0, ErrFull
	}
	if err := q.file.allocate(size); err != nil {
		return nil, 0, err
	}
	begin, next := q.file.end, q.file.next
	for i, e := range list {
		before := q.file.end
		off, err := q.file.add(typeEntry, payloads[i])
		if err != nil {
			_ = q.file.f.Truncate(begin)
			q.file.end, q.file.next = begin, next
			return nil, 0, err
		}
		it := &item{Entry: *e, size: q.file.end - before}
		it.place = placeOf(e, off, len(payloads[i]))
		it.Data, it.Before = nil, nil
		items = append(items, it)
	}
	for _, it := range items {
		q.put(it)
	}
	return items, q.file.end, nil
}

// usable returns why nothing can be appended. A log that could not be synced has to be written anew.
func (q *Queue) usable() error {
	if q.isClosed {
		return errClosed
	}
	return q.failed
}

// sync waits until the log is on the disk up to need. After an error nothing is known of what was written: the log is not
// appended to any more, until it was written anew.
func (q *Queue) sync(need int64) error {
	q.mu.Lock()
	l := q.file
	q.mu.Unlock()
	err := l.sync(func() int64 {
		q.mu.Lock()
		defer q.mu.Unlock()
		return l.end
	}, need)
	if err != nil {
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.failed == nil {
			q.log.Error("the offline queue cannot be stored", "dir", q.dir, "err", err)
		}
		q.failed = err
	}
	return err
}

// takeBack takes out entries that nobody was told are stored.
func (q *Queue) takeBack(items []*item) {
	var list []uint64
	for _, it := range items {
		list = append(list, it.N)
	}
	q.remove(list)
}

// control appends records about entries that are there, and has them on the disk.
func (q *Queue) control(change func() error) error {
	q.mend()
	q.mu.Lock()
	err := q.usable()
	if err == nil {
		err = change()
	}
	need := q.file.end
	q.mu.Unlock()
	if err != nil {
		return err
	}
	return q.sync(need)
}

// Sending says that a report with entries is about to be sent. It is on the disk when this returns. There is one at a time.
func (q *Queue) Sending(s Sending) error {
	err := q.control(func() error {
		_, err := q.file.add(typeSending, s.encode())
		if err == nil {
			q.sending = &s
		}
		return err
	})
	if err != nil { // it is not sent
		q.mu.Lock()
		defer q.mu.Unlock()
		q.sending = nil
	}
	return err
}

// Done says that entries are over, and how far the variables are whose later entries are not. What was being sent is answered.
func (q *Queue) Done(over []uint64, progress []Progress) error {
	err := q.control(func() error {
		_, err := q.file.add(typeDone, encodeDone(over, progress))
		if err == nil {
			q.progress(progress)
			q.remove(over)
			q.sending = nil
		}
		return err
	})
	if err == nil {
		q.tidy()
	}
	return err
}

// Certain says that entries which were in doubt have not been carried out.
func (q *Queue) Certain(list []uint64) error {
	return q.control(func() error {
		_, err := q.file.add(typeCertain, appendNumbers(nil, list))
		if err == nil {
			for _, n := range list {
				if it := q.entries[n]; it != nil {
					it.Doubt = nil
				}
			}
		}
		return err
	})
}

// Lost says that nobody knows any more whether entries were carried out.
func (q *Queue) Lost(list []uint64) error {
	return q.control(func() error {
		_, err := q.file.add(typeLost, appendNumbers(nil, list))
		if err == nil {
			q.lost(list)
		}
		return err
	})
}

// Close gives the queue free for another process.
func (q *Queue) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.isClosed {
		return nil
	}
	q.isClosed = true
	return errors.Join(q.file.f.Close(), q.lock.Close())
}

// Stats describes the queue.
func (q *Queue) Stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := Stats{Entries: len(q.entries), Bytes: q.bytes, Variables: len(q.chains), Damaged: q.damaged, Limits: q.limits}
	if it := q.firstLocked(); it != nil {
		s.Oldest = time.Unix(0, it.Time)
	}
	s.Aside, _, _ = countAside(q.dir, 0) // as the user has left it
	return s
}

func (q *Queue) firstLocked() *item {
	for _, it := range q.order {
		if !it.over {
			return it
		}
	}
	return nil
}
