package fs

import (
	"errors"
	"hash/crc32"
	"slices"
	"syscall"

	"github.com/commy-project/commyfs/fs/estate"
)

// What an heir must know of an open descriptor is noted at the end of each request, before it is answered (see package estate):
// what it is on, what it has read last, and what it has to commit, with the bytes. An heir goes on with that: see inherit.go.

// bequeathTo has the mount leave an estate, if there are to be heirs.
func (f *FS) bequeathTo(heirs bool) error {
	if !heirs {
		return nil
	}
	e, err := estate.New()
	if err != nil {
		return err
	}
	f.has(e)
	e.SetClient(randomID())
	return nil
}

// leave notes what the kernel can do, once that is known. An older one does not go on with a mount whose process has died.
func (m *Mounted) leave() {
	e := m.fs.estate
	if e == nil {
		return
	}
	e.SetStore(m.client.Welcome().Store)
	e.SetPrincipal(m.client.Welcome().Principal)
	var err error
	if m.fs.o.Anew {
		err = errors.New("it has an offline queue")
	} else if !outlives(m.server) {
		err = errors.New("the kernel is older than Linux 6.16")
	} else {
		err = e.SetInit(m.server.Init())
	}
	if err != nil {
		m.fs.log.Info("if this process dies, the mount is made anew", "err", err)
	}
}

// Estate is what the mount leaves to an heir; nil: nothing.
func (m *Mounted) Estate() *estate.Estate { return m.fs.estate }

// has has everything noted in an estate.
func (f *FS) has(e *estate.Estate) {
	f.estate, f.handles.estate, f.unshared.estate = e, e, e
	f.kernel.Note(e)
}

// bequeath notes what has become of a descriptor; h.mu is held, or nobody else has it yet.
func (h *handle) bequeath() {
	rec := h.record
	kind := estate.File
	if _, ok := h.state.(*private); ok || h.variable() == nil && (h.l == nil || !h.l.is(draft)) {
		kind = estate.Private
	}
	rec.SetKind(kind)
	switch seen := h.cond.seen.Load(); {
	case seen == nil:
		rec.SetCondition(estate.NoCondition, 0)
	case h.cond.given:
		rec.SetCondition(estate.Given, seen.Version())
	default:
		rec.SetCondition(estate.Seen, seen.Version())
	}
	switch s := h.state.(type) {
	case *reader:
		s.bequeath(rec)
	case *editor:
		s.bequeath(rec)
		w := estate.Settled
		if len(s.late) > 0 || s.err != nil && !s.told || slices.ContainsFunc(s.pending, func(p pendingEdit) bool { return p.record == nil }) {
			w = estate.Unsettled
		}
		rec.SetWriting(w, 0)
		h.fs.estate.Drop(rec)
	case *replacer:
		s.reader.bequeath(rec)
		s.bequeath(rec)
	}
}

// bequeath notes where a descriptor may go on reading.
func (r *reader) bequeath(rec *estate.Handle) {
	switch {
	case r.left != nil:
	case !r.reads || !r.taken || len(r.snap.edits) > 0:
		rec.SetUnread() // the next read takes a fresh snapshot, whatever the offset
	default:
		crc, ok := r.sum.of(r.snap.data)
		rec.SetRead(estate.Read{Version: r.snap.version, Size: int64(len(r.snap.data)), Ended: !r.ended.at.IsZero(), Summed: ok, Sum: crc})
	}
}

// bequeath notes what is to be committed, and keeps what has been gathered.
func (r *replacer) bequeath(rec *estate.Handle) {
	e := r.fs.estate
	switch {
	case r.failed != nil || r.killed || r.refused:
		rec.SetWriting(estate.Gathered, 0)
	case r.stage == clean:
		rec.SetWriting(estate.Clean, r.base)
	case r.stage == emptied:
		rec.SetWriting(estate.Emptied, r.base)
	default:
		r.keep(e, rec)
		return
	}
	e.Drop(rec)
}

func (r *replacer) keep(e *estate.Estate, rec *estate.Handle) {
	stamp := int64(0)
	if !r.stamp.IsZero() {
		stamp = r.stamp.UnixNano()
	}
	rec.SetStamp(stamp)
	w := estate.Kept
	if r.rest != nil {
		w = estate.Resting
	}
	if r.from >= r.to && rec.IsKept(w, r.base, len(r.buf)) {
		return
	}
	var unique uint64
	if r.task != nil {
		unique = r.task.Unique()
	}
	if !e.Keep(rec, w, r.base, r.buf, min(r.from, len(r.buf)), min(r.to, len(r.buf)), unique) {
		r.fs.log.Debug("no room to keep what is being written", "bytes", len(r.buf))
	}
	r.from, r.to = 0, 0
}

// resume is a read at off > 0 by a descriptor that has read something when another process had the mount. It goes on in the
// same value or one that begins with it, or, as [reader.follow] does, in one that came after its end. In the middle of another value
// it must not.
func (r *reader) resume(buf []byte, off uint64) (int, error) {
	s, err := r.load()
	if err != nil {
		return 0, err
	}
	left := *r.left
	whole := off >= uint64(left.Size)
	grown := left.Summed && int64(len(s.data)) >= left.Size && crc32.Checksum(s.data[:left.Size], castagnoli) == left.Sum
	if s.version != left.Version && !whole && !grown {
		return 0, syscall.EIO
	}
	r.take(s)
	r.left, r.taken = nil, true
	switch {
	case s.version == left.Version, left.Ended, grown:
	default:
		return 0, nil // the end of what it was reading
	}
	if off >= uint64(len(r.snap.data)) {
		return 0, nil
	}
	return copy(buf, r.snap.data[off:]), nil
}

// lapsed is the state of a descriptor on what only the process that died had: a private file, a draft, a file that was removed.
type lapsed struct{ *handle }

func (l *lapsed) view() *reader                    { return nil }
func (l *lapsed) read([]byte, uint64) (int, error) { return 0, syscall.EIO }
func (l *lapsed) write(int64, []byte) error        { return syscall.EIO }
func (l *lapsed) truncate(int64) error             { return syscall.EIO }
func (l *lapsed) flush(uint32) error {
	if l.writes {
		return syscall.EIO
	}
	return nil
}
func (l *lapsed) fsync() error   { return syscall.EIO }
func (l *lapsed) release() error { return nil }
