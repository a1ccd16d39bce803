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
func wakeCost() time.Duration {
	measure()
	return time.Duration(wakes.Load())
}

const (
	wakesMeasured = 20
	unknownWake   = 100 * time.Microsecond
	mostWake      = time.Millisecond
	// goroutines is what to wake one takes, compared with a thread: another thread has to wake it.
	goroutines = 3
)

var wakes atomic.Int64

func init() { wakes.Store(int64(unknownWake)) }

var measure = sync.OnceFunc(func() {
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		var before, after unix.Rusage
		if unix.Getrusage(unix.RUSAGE_THREAD, &before) != nil {
			return
		}
		nap := unix.NsecToTimespec(int64(time.Millisecond))
		for range wakesMeasured {
			_ = unix.Nanosleep(&nap, nil) // a signal ends it: then it is a wake-up too
		}
		if unix.Getrusage(unix.RUSAGE_THREAD, &after) != nil {
			return
		}
		used := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
		wakes.Store(min(goroutines*used/wakesMeasured, int64(mostWake)))
	}()
})
