package fs

import (
	"cmp"
	"errors"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/fs/mountpoint"
)

// The watchdog's bounds, in its ticks. A tick is half of what a handler waits for the server at most, and no handler does
// so more than twice: none of them is reached unless something is wrong.
const (
	lateTicks  = 4 // the log tells of it, with the stacks of all goroutines
	freeTicks  = 8 // whoever waits gets EIO
	goneTicks  = 4 // after the end of the connection, handlers that have not ended are not waited for
	closeTicks = 6 // nor is what Close ends
)

const (
	// dumpEvery is how often stacks are logged at most.
	dumpEvery = 10 * time.Minute
	// maxDump bounds the stacks, maxLines the requests that are named at a time.
	maxDump  = 256 << 10
	maxLines = 10
	// endTick is how often requests are answered that nobody is to wait for.
	endTick = 10 * time.Millisecond
)

// watchdog answers the requests of handlers that do not come back (S19). A caller inside the kernel cannot be killed while
// it waits, and may hold a directory's lock that others wait for.
type watchdog struct {
	f       *FS
	tick    time.Duration
	abort   func() error  // ends the connection
	hurry   chan struct{} // closed: every request is answered at once
	quit    chan struct{}
	stopped chan struct{}
	gone    chan struct{} // closed when the connection has ended and handlers stay all the same
	logging atomic.Bool   // the log may be what hangs

	incident bool
	dumped   time.Time
	untold   report // what the log has yet to be told, as it is busy
	without  int    // ticks without a connection
}

// report is what the watchdog has to tell.
type report struct {
	warned, freed []request
	failed        error
	dump          bool
}

func (w *watchdog) init(f *FS) {
	w.f = f
	w.hurry, w.quit, w.stopped, w.gone = make(chan struct{}), make(chan struct{}), make(chan struct{}), make(chan struct{})
}

func (w *watchdog) run() {
	defer close(w.stopped)
	t := time.NewTicker(w.tick)
	defer t.Stop()
	hurry, free := w.hurry, uint32(freeTicks)
	for {
		select {
		case <-hurry:
			hurry, free = nil, 0
			t.Reset(endTick)
		case <-t.C:
		case <-w.quit:
			return
		}
		w.f.requests.ticks.Add(1)
		w.look(free)
	}
}

func (w *watchdog) stop() {
	close(w.quit)
	<-w.stopped
}

// look answers first and logs then, and does not wait for the log.
func (w *watchdog) look(free uint32) {
	warned, freed, late := w.f.requests.overdue(lateTicks, free)
	status := fuse.EIO
	if free == 0 {
		status = fuse.Status(unix.ENOTCONN)
	}
	var failed error
	for _, r := range freed {
		if err := w.f.kernel.Answer(r.unique, status); err != nil {
			failed = err
		}
	}
	switch {
	case !w.connected():
		failed = nil
		if w.without++; w.without == goneTicks {
			close(w.gone)
		}
	case failed != nil:
		failed = errors.Join(failed, w.abort())
	}
	u := &w.untold
	u.dump = u.dump || late && !w.incident && (w.dumped.IsZero() || time.Since(w.dumped) > dumpEvery)
	u.warned, u.freed = append(u.warned, warned...), append(u.freed, freed...)
	u.failed = cmp.Or(u.failed, failed)
	w.incident = late
	if free == 0 || len(u.warned)+len(u.freed) == 0 || !w.logging.CompareAndSwap(false, true) {
		return
	}
	if u.dump {
		w.dumped = time.Now()
	}
	told := *u
	*u = report{}
	go func() {
		defer w.logging.Store(false)
		w.tell(told)
	}()
}

func (w *watchdog) tell(u report) {
	for i, r := range u.warned {
		if i == maxLines {
			w.f.log.Warn("more requests are not answered", "number", len(u.warned)-i)
			break
		}
		w.f.log.Warn("a request is not answered", "op", r.op, "node", r.node, "thread", r.thread, "program", w.f.callers.program(r.thread),
			"for", (lateTicks * w.tick).String())
	}
	if u.dump {
		w.dump()
	}
	if len(u.freed) > 0 {
		w.f.log.Error("requests were answered with EIO because their handlers hang", "number", len(u.freed), "first", u.freed[0].op, "node", u.freed[0].node)
	}
	if u.failed != nil {
		w.f.log.Error("the mount was aborted: a request that hangs could not be answered", "err", u.failed)
	}
}

// dump logs the stacks of all goroutines.
func (w *watchdog) dump() {
	buf := make([]byte, maxDump)
	w.f.log.Warn("all stacks", "stacks", string(buf[:runtime.Stack(buf, true)]))
}

// connected reports whether the kernel still has the connection.
func (w *watchdog) connected() bool { return mountpoint.Connected(w.f.kernel.FD()) }
