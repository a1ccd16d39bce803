package memfile

import (
	"context"
	"math"
	"runtime/debug"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Who waits for changes sleeps in the kernel until the word of changes is another one (futex(2)). That works through a mapping
// that cannot be written to, so readers cost the writer nothing but the call that wakes them, and it does not see who waits.

// The operations of futex(2), between processes.
const (
	futexWait = 0
	futexWake = 1
)

// waitStep is how long a wait sleeps at most before it looks around: for the end of its context, Close and a file that was cut
// short, of which nobody wakes it.
const waitStep = 100 * time.Millisecond

// changed counts a change and wakes all who wait for it. It must be able to fault, see [caught].
func (m *mapping) changed() {
	atomic.AddUint32(m.word32(offChanges), 1)
	// It does not block, so the scheduler need not know. An error means that the file was cut short in this moment.
	_, _, _ = unix.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(m.word32(offChanges))), futexWake, math.MaxInt32, 0, 0, 0)
}

// Changed tells readers who wait that the file has changed. It is for the end of a batch of changes: it costs a system call.
func (w *Writer) Changed() (err error) {
	defer caught(debug.SetPanicOnFault(true), &err)
	w.cur.m.changed()
	return nil
}

// Changes is how often the file has changed. To see every last value: load it, read the values, then [Reader.Wait] for another
// number.
func (r *Reader) Changes() (n uint32, err error) {
	n, _, err = r.changes()
	return n, err
}

// changes also returns the mapping, at whose address one may sleep even when it is gone in the next moment: only the kernel looks
// there, and finds another number, nothing, or the time is over.
func (r *Reader) changes() (n uint32, m *mapping, err error) {
	s := r.shard()
	s.mu.RLock()
	defer s.readDone(debug.SetPanicOnFault(true), &err)
	if s.m == nil {
		return 0, nil, ErrClosed
	}
	return s.m.load32(offChanges), s.m, nil
}

// Wait waits until [Reader.Changes] is not since, and returns what it is then. If nothing more comes in this file, it returns
// [ErrSuperseded], also when the writer has left in good order. The end of ctx, and Close, end it within a tenth of a second. Each
// call holds a thread while it waits.
func (r *Reader) Wait(ctx context.Context, since uint32) (now uint32, err error) {
	for {
		now, m, err := r.changes()
		if err != nil {
			return 0, err
		}
		switch state, err := r.State(); {
		case err != nil:
			return 0, err
		case state == Superseded, state == Closed && now == since:
			return now, ErrSuperseded
		case now != since:
			return now, nil
		}
		if err := ctx.Err(); err != nil {
			return now, err
		}
		step := waitStep
		if end, ok := ctx.Deadline(); ok {
			step = min(step, max(time.Until(end), 0))
		}
		ts := unix.NsecToTimespec(int64(step))
		// Woken, another number already, a signal, the time: the word tells.
		_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(m.word32(offChanges))), futexWait, uintptr(since), uintptr(unsafe.Pointer(&ts)), 0, 0)
	}
}
