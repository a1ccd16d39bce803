package poke

import (
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The Go runtime uses its poller from every thread, the poker's too, and aborts if it is missing there.
func TestRuntimeOnThread(t *testing.T) {
	var st unix.Stat_t
	dir := t.TempDir()
	if err := unix.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	p, err := New(dir, st.Dev)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	err = p.call(func() error {
		for range 20 {
			runtime.GC() // polls when it starts the world again
			timer := time.AfterFunc(time.Hour, func() {})
			timer.Reset(0) // wakes the poller
			timer.Stop()
		}
		var keep [][]byte
		for range 1000 {
			keep = append(keep, make([]byte, 100<<10)) // collects by itself
			if len(keep) > 100 {
				keep = nil
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	var stats runtime.MemStats
	if runtime.ReadMemStats(&stats); stats.NumGC-stats.NumForcedGC == 0 {
		t.Error("no collection came from an allocation: this test shows less than it says")
	}
}

func TestRetry(t *testing.T) {
	for _, tt := range []struct {
		name   string
		errs   int // how often the call is interrupted
		then   error
		want   error
		called int
	}{
		{"at once", 0, nil, nil, 1},
		{"interrupted", 5, nil, nil, 6},
		{"interrupted, then fails", 5, syscall.ENOENT, syscall.ENOENT, 6},
		{"always interrupted", 1 << 30, nil, syscall.EINTR, maxInterrupts},
	} {
		t.Run(tt.name, func(t *testing.T) {
			called := 0
			err := retry(func() error {
				called++
				if called <= tt.errs {
					return syscall.EINTR
				}
				return tt.then
			})
			if err != tt.want || called != tt.called {
				t.Errorf("%v after %d calls, want %v after %d", err, called, tt.want, tt.called)
			}
		})
	}
}
