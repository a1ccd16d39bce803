package bare

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// wakeCost is what it takes to come to a scan: a few microseconds of the processor, and on some virtual machines far more than
// the scan. It is measured once, when it is first asked for; until then it is taken to be much.
func wakeCost() time.Duration { return goroutines * nap() }

// threadCost is what it takes to wake a thread for that, with what the runtime does then.
func threadCost() time.Duration { return threads * nap() }

func nap() time.Duration {
	measure()
	return time.Duration(naps.Load())
}

const (
	napsMeasured = 20
	unknownNap   = 30 * time.Microsecond
	mostNap      = 300 * time.Microsecond
	// goroutines and threads is what to wake one takes, compared with what a thread's own time is for a nap: other threads of
	// the runtime are waked, too.
	goroutines = 4
	threads    = 3
)

var naps atomic.Int64

func init() { naps.Store(int64(unknownNap)) }

var measure = sync.OnceFunc(func() {
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		var before, after unix.Rusage
		if unix.Getrusage(unix.RUSAGE_THREAD, &before) != nil {
			return
		}
		nap := unix.NsecToTimespec(int64(time.Millisecond))
		for range napsMeasured {
			_ = unix.Nanosleep(&nap, nil) // a signal ends it: then it is a wake-up too
		}
		if unix.Getrusage(unix.RUSAGE_THREAD, &after) != nil {
			return
		}
		used := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
		naps.Store(min(used/napsMeasured, int64(mostNap)))
	}()
})
