package memfile

import (
	"runtime"
	"sync/atomic"
	"time"
)

// The sequence lock of an entry covers the entry, its name and its value. There is one writer.
//
//	writer: seq = odd; storeFence; store entry, name, value; seq = even (release)
//	reader: seq, must be even (acquire); load entry, then value; loadFence; seq again: the same? else repeat
//
// A block is free as soon as its value moves: a reader that is still reading it will find that the entry's sequence word has
// changed, because it changes before the block can be reused. The word never goes back, even if the slot gets another variable.

// beginWrite makes the entry odd. The old word is another process's to spoil, so it is taken as it comes.
func beginWrite(m *mapping, entry int64) (seq uint64) {
	seq = m.load64(entry+entSeq) | 1
	m.store64(entry+entSeq, seq)
	storeFence()
	return seq
}

func endWrite(m *mapping, entry int64, seq uint64) {
	m.store64(entry+entSeq, seq+1)
}

// entry is a copy of a directory entry, consistent only if its sequence word has not changed since.
type entry struct {
	seq, id, version uint64
	mtime            int64
	value            int64
	length, capacity uint32
	name             int64
	nameLen          uint32
}

func (e *entry) load(m *mapping, at int64) {
	w := m.words(at)
	e.seq = atomic.LoadUint64(&w[entSeq/8])
	e.id = atomic.LoadUint64(&w[entID/8])
	e.version = atomic.LoadUint64(&w[entVersion/8])
	e.mtime = int64(atomic.LoadUint64(&w[entMTime/8]))
	e.value = int64(atomic.LoadUint64(&w[entValue/8]))
	n := atomic.LoadUint64(&w[entLen/8])
	e.length, e.capacity = uint32(n), uint32(n>>32)
	e.name = int64(atomic.LoadUint64(&w[entName/8]))
	e.nameLen = uint32(atomic.LoadUint64(&w[entNameLen/8]))
}

// unchanged reports that everything loaded since e was is of one version.
func (e *entry) unchanged(m *mapping, at int64) bool {
	loadFence()
	return m.load64(at+entSeq) == e.seq
}

func (e *entry) meta() Meta { return Meta{Version: e.version, MTime: e.mtime, Size: int(e.length)} }

// tornAfter bounds the wait for an entry to hold still. A write takes microseconds, and milliseconds when its writer loses
// the processor in the middle; one that takes this long belongs to a writer that is dead or stopped.
const tornAfter = 100 * time.Millisecond

// patience is the wait between two tries: first the other processor is given a moment, then this one is given away.
type patience struct {
	tries int
	since time.Time
}

// again waits a little and reports whether to try once more.
func (p *patience) again() bool {
	p.tries++
	switch {
	case p.tries < 32:
		return true
	case p.tries == 32:
		p.since = time.Now()
	case time.Since(p.since) > tornAfter:
		return false
	case p.tries > 256:
		time.Sleep(50 * time.Microsecond)
		return true
	}
	runtime.Gosched()
	return true
}
