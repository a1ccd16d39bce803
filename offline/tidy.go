package offline

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A log that has mostly records of entries that are over is written anew, or emptied.

const (
	// emptyFrom and rewriteFrom are from how many bytes of them on.
	emptyFrom   = 64 << 10
	rewriteFrom = 1 << 20
	// mendEvery is how often it is tried to write a log anew that could not be stored.
	mendEvery = time.Second
)

// tidy is called when entries are over.
func (q *Queue) tidy() {
	q.mu.Lock()
	dead := q.file.end - q.file.begin - q.bytes
	idle := len(q.entries) == 0 && dead > emptyFrom
	rewrite := dead > q.bytes+rewriteFrom
	q.mu.Unlock()
	var err error
	switch {
	case idle:
		err = q.empty()
	case rewrite:
		err = q.rewrite()
	}
	if err != nil {
		q.log.Warn("the log of the offline queue could not be made smaller", "dir", q.dir, "err", err)
	}
}

// locked calls fn while nobody else uses the log.
func (q *Queue) locked(fn func(l *logFile) error) error {
	for {
		q.mu.Lock()
		l := q.file
		q.mu.Unlock()
		l.syncing.Lock()
		q.mu.Lock()
		same := q.file == l
		var err error
		if q.isClosed {
			err = errClosed
		} else if same {
			err = fn(l)
		}
		q.mu.Unlock()
		l.syncing.Unlock()
		if same || err != nil {
			return err
		}
	}
}

// empty takes everything out of a log that has no entries. This needs no space on the disk.
func (q *Queue) empty() error {
	return q.locked(func(l *logFile) error {
		if len(q.entries) > 0 || q.sending != nil {
			return nil
		}
		err := l.empty()
		if err == nil {
			_, err = l.add(typeNext, appendUint(q.last))
		}
		if err != nil {
			q.failed = err
		}
		return err
	})
}

// rewrite writes the log anew, with what it has of entries that are not over.
func (q *Queue) rewrite() error { return q.locked(q.rewriteLocked) }

func (q *Queue) rewriteLocked(old *logFile) error {
	places := map[*item]place{}
	l, err := create(q.path(), header{server: old.server, mount: old.mount, store: old.store, principal: old.principal}, func(l *logFile) error {
		if _, err := l.add(typeNext, appendUint(q.last)); err != nil {
			return err
		}
		prev := map[uint64]uint64{}
		for _, it := range q.order {
			if it.over {
				continue
			}
			e := it.Entry
			e.Prev = prev[e.Key]
			prev[e.Key] = e.N
			if err := it.load(old, &e); err != nil {
				return err
			}
			payload := e.encode()
			off, err := l.add(typeEntry, payload)
			if err != nil {
				return err
			}
			places[it] = placeOf(&e, off, len(payload))
		}
		var all []Progress
		for _, c := range q.chains {
			if c.known {
				all = append(all, c.Progress)
			}
		}
		if _, err := l.add(typeProgress, encodeProgress(all)); err != nil {
			return err
		}
		if q.sending != nil {
			_, err := l.add(typeSending, q.sending.encode())
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	for it, p := range places {
		it.place = p
	}
	old.replaced = true
	_ = old.f.Close()
	q.file, q.failed = l, nil
	return nil
}

// mend writes a log anew that could not be stored.
func (q *Queue) mend() {
	q.mu.Lock()
	try := q.failed != nil && !q.isClosed && time.Since(q.mended) > mendEvery
	if try {
		q.mended = time.Now()
	}
	q.mu.Unlock()
	if !try {
		return
	}
	if err := q.rewrite(); err != nil {
		q.log.Error("the offline queue can still not be stored", "dir", q.dir, "err", err)
	} else {
		q.log.Info("the offline queue can be stored again", "dir", q.dir)
	}
}

const damagedName = "damaged-"

// keepDamaged keeps a copy of a log that is damaged, under a name of its own.
func (q *Queue) keepDamaged() error {
	for i := 1; ; i++ {
		name := filepath.Join(q.dir, fmt.Sprintf("%s%d.log", damagedName, i))
		err := os.Link(q.path(), name)
		if os.IsExist(err) {
			continue
		}
		if err != nil {
			return err
		}
		return syncDir(q.dir)
	}
}

func countDamaged(dir string) (n int) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), damagedName) {
			n++
		}
	}
	return n
}

func (it *item) load(l *logFile, e *Entry) error {
	b := make([]byte, it.dataLen+it.beforeLen)
	for _, part := range []struct {
		b   []byte
		off int64
	}{{b[:it.dataLen], it.data}, {b[it.dataLen:], it.before}} {
		if len(part.b) > 0 {
			if _, err := l.f.ReadAt(part.b, part.off); err != nil {
				return fmt.Errorf("offline queue: entry %d: %w", it.N, err)
			}
		}
	}
	e.Data, e.Before = b[:it.dataLen:it.dataLen], b[it.dataLen:]
	return nil
}
