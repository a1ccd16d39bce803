package estate

import (
	"time"

	"golang.org/x/sys/unix"
)

// How often processes of the mount have died, and who starts the next.

// Restarts is how often a process was started for one that had died: the number of the one that has the mount now. A mount without
// an estate has none.
func (e *Estate) Restarts() uint32 {
	if e == nil {
		return 0
	}
	return e.header().restarts.Load()
}

// SetRestarted notes that an heir has the mount now.
func (e *Estate) SetRestarted() {
	if e != nil {
		e.header().restarted.Store(time.Now().UnixNano())
	}
}

// Restarted is when the last heir took over.
func (e *Estate) Restarted() time.Time {
	if e == nil {
		return time.Time{}
	}
	return time.Unix(0, e.header().restarted.Load())
}

// Claim reports whether the caller, and nobody else, is to start the process after number n.
func (e *Estate) Claim(n uint32) bool { return e.header().restarts.CompareAndSwap(n, n+1) }

// Continue notes what has become of the mount before, of which another estate is. nil continues nothing.
func (e *Estate) Continue(before *Estate) {
	if e == nil || before == nil {
		return
	}
	h, old := e.header(), before.header()
	h.restarts.Store(old.restarts.Load())
	for i := range h.died {
		h.died[i].Store(old.died[i].Load())
	}
}

const (
	keptDeaths = 65 // so many deaths are remembered
	// MaxRestarts is how many restarts in a while can be told from more.
	MaxRestarts = keptDeaths - 1
)

// Died notes that a process of the mount has died now, and returns how many have within d.
func (e *Estate) Died(d time.Duration) int {
	now := monotonic()
	died := &e.header().died
	oldest, n := 0, 1
	for i := range died {
		if died[i].Load() < died[oldest].Load() {
			oldest = i
		}
		if at := died[i].Load(); at != 0 && now-at < int64(d) {
			n++
		}
	}
	died[oldest].Store(now)
	return n
}

// monotonic is a time that all processes share, and that nobody sets.
func monotonic() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return time.Now().UnixNano()
	}
	return ts.Nano()
}
