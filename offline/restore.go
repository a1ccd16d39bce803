package offline

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// How the log is read when a queue is opened, and what its records do.

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
