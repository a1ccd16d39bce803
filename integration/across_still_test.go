package integration

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// TestS13_AcrossStill: who is in a directory, or has it open, finds everything in it at every moment while another mount takes it from
// service to service.
func TestS13_AcrossStill(t *testing.T) {
	_, a, b := across(t)
	dir := b.open(t, "t/s/d/in", unix.O_RDONLY|unix.O_DIRECTORY)
	var wg sync.WaitGroup
	var stop atomic.Bool
	var looks, opened atomic.Int64
	failed := make(chan error, 100)
	fail := func(format string, args ...any) {
		select {
		case failed <- fmt.Errorf(format, args...):
		default:
		}
	}
	wg.Go(func() {
		for !stop.Load() {
			looks.Add(1)
			var st unix.Stat_t
			if err := unix.Fstatat(dir.fd, "deep/w", &st, 0); err != nil {
				fail("stat: %w", err)
			}
			if err := unix.Fstat(dir.fd, &st); err != nil {
				fail("stat of the directory: %w", err)
			}
		}
	})
	wg.Go(func() {
		for !stop.Load() {
			fd, err := unix.Openat(dir.fd, "deep", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			if err != nil {
				fail("open: %w", err)
				continue
			}
			list := os.NewFile(uintptr(fd), "deep")
			if names, err := list.Readdirnames(-1); err != nil || !slices.Contains(names, "w") {
				fail("%q, %w", names, err)
			}
			if err := list.Close(); err != nil {
				fail("close: %w", err)
			}
			opened.Add(1)
		}
	})
	at, to := "t/s/d", "other/r/d"
	enough := func() bool { return looks.Load() >= 100 && opened.Load() >= 100 }
	for n := 0; n < 40 || n < 4000 && !enough(); n++ {
		if err := unix.Rename(a.Path(at), a.Path(to)); err != nil {
			t.Error(err)
		}
		at, to = to, at
	}
	stop.Store(true)
	wg.Wait()
	close(failed)
	for err := range failed {
		t.Error(err)
	}
	t.Logf("%d looks, opened %d times", looks.Load(), opened.Load())
	if !enough() {
		t.Error("too little has happened")
	}
}
