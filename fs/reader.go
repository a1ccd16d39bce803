package fs

import (
	"bytes"
	"errors"
	"hash/crc32"
	"slices"
	"syscall"
	"time"

	"github.com/commy-project/commyfs/fs/estate"
	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// reader is the state of a descriptor that does not write (S4, S5): a read at offset 0 takes a fresh snapshot, reads behind
// it continue that.
type reader struct {
	*handle
	snap  snapshot
	spare []byte // memory of ours that is free
	taken bool   // a read took a snapshot
	ended ended
	left  *estate.Read // what was read when another process had the mount; nil: nothing, or the value was read anew
	sum   sum
}

// sum is the checksum of a snapshot, by which an heir knows a value that has grown out of it.
type sum struct {
	crc     uint32
	n       int  // so many bytes of the snapshot are in it
	known   bool // else nothing is
	follows bool // the descriptor follows a value that grows
}

// summedAtMost is the size of the largest snapshot that is summed for a descriptor which does not follow it: more takes longer than to
// read it.
const summedAtMost = 32 << 10

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// of returns the checksum of a snapshot; false: it would take too long.
func (s *sum) of(data []byte) (uint32, bool) {
	if !s.known {
		if len(data) > summedAtMost && !s.follows {
			return 0, false
		}
		s.crc, s.n, s.known = 0, 0, true
	}
	s.crc, s.n = crc32.Update(s.crc, castagnoli, data[s.n:]), len(data)
	return s.crc, true
}

// snapshot is a value that was committed.
type snapshot struct {
	data    []byte
	own     bool           // data is in memory of ours
	version uint64         // or that of a later change of the descriptor's own
	edits   []varsync.Edit // what the descriptor has changed since; see editor.remember
	edited  int            // their bytes
}

// content is what the descriptor knows of its file: what it has read last, and what it has written since.
func (s *snapshot) content() []byte {
	data := slices.Clone(s.data)
	for _, e := range s.edits {
		data = edited(data, e)
	}
	return data
}

func (r *reader) view() *reader { return r }

func (r *reader) write(int64, []byte) error { return syscall.EBADF }
func (r *reader) truncate(int64) error      { return syscall.EINVAL }
func (r *reader) flush(uint32) error        { return nil }
func (r *reader) fsync() error              { return nil }
func (r *reader) release() error            { return nil }

func (r *reader) read(buf []byte, off uint64) (int, error) {
	switch {
	case r.variable() == nil && !r.l.is(kept):
		return 0, nil // a draft that nobody has written yet
	case off > 0 && r.left != nil:
		return r.resume(buf, off)
	case off == 0 || !r.taken || len(r.snap.edits) > 0 || r.relocked.Swap(false):
		err := r.orMoved(r.refresh())
		if errors.Is(err, model.ErrNotFound) {
			break // removed elsewhere: the last value stays readable, as in any file system
		}
		if err != nil {
			return 0, err
		}
		r.taken = true
		r.sees(r.snap.version)
	case off >= uint64(len(r.snap.data)):
		r.follow(off)
	}
	if off >= uint64(len(r.snap.data)) {
		return 0, nil
	}
	return copy(buf, r.snap.data[off:]), nil
}

// refresh takes a new snapshot. If that fails the old one is what it was: the two never share memory.
func (r *reader) refresh() error {
	v := r.variable()
	s, err := r.load()
	for errors.Is(err, model.ErrNotFound) && r.hasMoved(v) {
		v = r.variable()
		s, err = r.load()
	}
	if err == nil {
		r.take(s)
	}
	return err
}

// load returns the value, in memory of ours if it can: polling one descriptor makes no garbage.
func (r *reader) load() (snapshot, error) {
	v, dst := r.variable(), r.spare[:0]
	if v == nil {
		data, version := r.l.value()
		return snapshot{data: data, version: version}, nil
	}
	if !v.Gone() {
		if shown, ok := r.fs.pages.Value(r.node); ok {
			return snapshot{data: shown.Data, version: shown.Version}, nil
		}
	}
	if v.Service().Mapped() {
		if size := v.Current().Size; int64(cap(dst)) < size {
			dst = make([]byte, 0, size)
		}
	}
	data, meta, err := v.Load(dst)
	own := cap(dst) > 0 && cap(data) > 0 && &data[:1][0] == &dst[:1][0]
	return snapshot{data: data, own: own, version: meta.Version}, err
}

func (r *reader) take(s snapshot) {
	r.spare = nil
	if r.snap.own {
		r.spare = r.snap.data
	}
	r.snap, r.ended, r.left, r.sum.known = s, ended{}, nil, false
}

// grow is take for a snapshot that begins with the one before.
func (r *reader) grow(s snapshot) {
	known := r.sum.known
	r.take(s)
	r.sum.known, r.sum.follows = known, true
}

// ended is what a descriptor knows that has read to the end of its snapshot.
type ended struct {
	at      time.Time // when it was told of the end
	version uint64    // that was looked at since, and does not go on where the snapshot ends
}

// comesBack is how much later a descriptor that was at the end reads there again if it follows the file. One that reads a
// value in parts, and asks more than once whether it has it all, is faster.
const comesBack = 100 * time.Millisecond

// follow is a read at off, at the end of the snapshot or behind it. A value that has grown by appending goes on there. Any
// other is as a file that was truncated: this is the end, and who comes back later reads what is there now.
func (r *reader) follow(off uint64) {
	now := time.Now()
	back := !r.ended.at.IsZero() && now.Sub(r.ended.at) >= comesBack
	if r.v == nil {
		if version := r.l.version(); version == r.snap.version {
			return
		}
		if s, err := r.load(); err == nil && bytes.HasPrefix(s.data, r.snap.data) {
			r.grow(s)
		} else if err == nil && back {
			r.take(s)
		}
	} else if m := r.v.Current(); m.Version != r.snap.version && (back || m.Version != r.ended.version) {
		switch s, err := r.load(); {
		case err != nil:
		case bytes.HasPrefix(s.data, r.snap.data):
			r.grow(s)
			r.sees(s.version)
		case back:
			r.take(s)
			r.sees(s.version)
		default:
			r.ended.version = s.version
			if s.own {
				r.spare = s.data
			}
		}
	}
	if off >= uint64(len(r.snap.data)) && r.ended.at.IsZero() {
		r.ended.at = now
	}
}
