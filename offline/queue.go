package offline

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
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

func (q *Queue) path() string { return filepath.Join(q.dir, logName) }

func (q *Queue) open(h header) error {
	if err := os.Remove(q.path() + ".new"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	l, f, err := open(q.path())
	switch {
	case errors.Is(err, os.ErrNotExist):
		q.file, err = create(q.path(), h, nil)
	case errors.Is(err, errNoHeader):
		q.log.Error("the offline queue cannot be read; what was in it is kept", "dir", q.dir)
		f.damaged = []gap{{}}
		if err = q.keepDamaged(); err == nil {
			q.file, err = create(q.path(), h, nil)
		}
	default:
		q.file = l
	}
	if err != nil {
		return err
	}
	if f.torn > 0 {
		q.log.Warn("the end of the offline queue was not stored whole: nobody was told that it is", "dir", q.dir, "bytes", f.torn)
	}
	q.reset()
	if err := q.restore(f); err != nil {
		_ = q.file.f.Close()
		return err
	}
	if _, q.last, err = countAside(q.dir, q.last); err != nil {
		return err
	}
	q.damaged = countDamaged(q.dir)
	if len(f.damaged) > 0 && q.file == l {
		q.log.Error("the offline queue is damaged: what is missing is lost", "dir", q.dir, "places", len(f.damaged))
		if err := q.keepDamaged(); err != nil {
			return err
		}
		q.damaged++
		return q.rewrite()
	}
	return nil
}

func (q *Queue) reset() {
	q.entries, q.chains = map[uint64]*item{}, map[uint64]*chain{}
	q.order, q.over, q.sending, q.bytes = nil, 0, nil, 0
}

// restore takes the records of a log.
func (q *Queue) restore(f found) error {
	seen := map[uint64]bool{0: true} // numbers of entries that the log has, or had when they were over
	for i, r := range f.records {
		for len(f.damaged) > 0 && f.damaged[0].index == i {
			q.doubtAll()
			f.damaged = f.damaged[1:]
		}
		if err := q.restoreRecord(r, seen); err != nil {
			return fmt.Errorf("record %d: %w", r.number, err)
		}
	}
	return nil
}

func (q *Queue) restoreRecord(r record, seen map[uint64]bool) error {
	p := reader{b: r.payload}
	switch r.typ {
	case typeHeader:
	case typeEntry:
		it := &item{size: int64(r.size)}
		var err error
		if it.place, err = it.decode(r.payload, r.off); err != nil {
			return err
		}
		if !seen[it.Prev] {
			it.Doubt, it.Gap = &Doubt{Lost: true}, true
		}
		seen[it.N] = true
		q.put(it)
	case typeSending:
		q.sending = &Sending{}
		return q.sending.decode(r.payload)
	case typeDone:
		over := p.uints()
		q.progress(p.progress())
		q.remove(over)
		q.sending = nil
	case typeCertain:
		for _, n := range p.uints() {
			if it := q.entries[n]; it != nil {
				it.Doubt = nil
			}
		}
	case typeProgress:
		q.progress(p.progress())
	case typeNext:
		q.last = max(q.last, p.uint())
	case typeLost:
		q.lost(p.uints())
	default:
		return fmt.Errorf("unknown type %d: a newer commyfs has made the offline queue", r.typ)
	}
	return p.err
}

// put takes an entry in.
func (q *Queue) put(it *item) {
	q.entries[it.N] = it
	q.order = append(q.order, it)
	q.bytes += it.size
	q.last = max(q.last, it.N)
	c := q.chains[it.Key]
	if c == nil {
		c = &chain{}
		q.chains[it.Key] = c
	}
	c.items = append(c.items, it)
}

// remove takes entries out.
func (q *Queue) remove(list []uint64) {
	for _, n := range list {
		it := q.entries[n]
		if it == nil {
			continue
		}
		delete(q.entries, n)
		it.over = true
		q.over++
		q.bytes -= it.size
		c := q.chains[it.Key]
		if c.items[0] == it { // as it is when they are replayed
			c.items = c.items[1:]
		} else if i := slices.Index(c.items, it); i >= 0 {
			c.items = slices.Delete(c.items, i, i+1)
		}
		if len(c.items) == 0 {
			delete(q.chains, it.Key)
		}
	}
	if q.over > 64 && q.over > len(q.order)/2 {
		q.order = slices.DeleteFunc(q.order, func(x *item) bool { return x.over })
		q.over = 0
	}
}

func (q *Queue) progress(list []Progress) {
	for _, p := range list {
		if c := q.chains[p.Key]; c != nil {
			c.Progress, c.known = p, true
		}
	}
}

func (q *Queue) lost(list []uint64) {
	for _, n := range list {
		if it := q.entries[n]; it != nil && it.Doubt == nil {
			it.Doubt = &Doubt{Lost: true}
		} else if it != nil {
			it.Doubt.Lost = true
		}
	}
}

// doubtAll says that all entries may have been carried out, because the log may have had that they were sent, or are over.
func (q *Queue) doubtAll() {
	for n := range q.entries {
		q.lost([]uint64{n})
	}
	q.sending = nil
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
	return q.control(func() error {
		_, err := q.file.add(typeSending, s.encode())
		if err == nil {
			q.sending = &s
		}
		return err
	})
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
