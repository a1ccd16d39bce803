package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

func flock(fd, how int) error {
	if err := ignoringEINTR(func() error { return unix.Flock(fd, how) }); err != nil {
		return fmt.Errorf("flock: %w", err)
	}
	return nil
}

// lockFree locks and unlocks what nobody else wants. On commyfs these are two round trips.
func lockFree(_ context.Context, _ *runner, _ *system, path string) (*work, error) {
	fd, err := openFile(path, unix.O_RDWR)
	if err != nil {
		return nil, err
	}
	op := func() (time.Duration, error) {
		start := time.Now()
		err := flock(fd, unix.LOCK_EX)
		if err == nil {
			err = flock(fd, unix.LOCK_UN)
		}
		return time.Since(start), err
	}
	return &work{op: op, close: func() error { return unix.Close(fd) }}, nil
}

// handover measures from before an unlock on one mount until a thread that waits for the lock on the other has it.
func handover(ctx context.Context, _ *runner, s *system, path string) (*work, error) {
	there := filepath.Join(s.far, filepath.Base(path))
	if err := awaitFile(ctx, there); err != nil {
		return nil, err
	}
	fd, err := openFile(path, unix.O_RDWR)
	if err != nil {
		return nil, err
	}
	far, err := openFile(there, unix.O_RDWR)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	// Who waits is to be in the line: what is measured is the end of the waiting, and not a request on its way.
	start := time.Now()
	if err := errors.Join(flock(far, unix.LOCK_EX), flock(far, unix.LOCK_UN)); err != nil {
		return nil, errors.Join(err, unix.Close(fd), unix.Close(far))
	}
	inLine := max(queued, 4*time.Since(start))
	begin, asks, got, let, done := make(chan struct{}), make(chan struct{}), make(chan sighting), make(chan struct{}), make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(done)
		for range begin {
			asks <- struct{}{}
			err := flock(far, unix.LOCK_EX)
			got <- sighting{time.Now(), err}
			<-let
			done <- flock(far, unix.LOCK_UN)
		}
	}()
	op := func() (time.Duration, error) {
		if err := flock(fd, unix.LOCK_EX); err != nil {
			return 0, err
		}
		begin <- struct{}{}
		<-asks
		time.Sleep(inLine)
		start := time.Now()
		err := flock(fd, unix.LOCK_UN)
		at := <-got
		let <- struct{}{}
		return at.at.Sub(start), errors.Join(err, at.err, <-done)
	}
	return &work{op: op, close: func() error {
		close(begin)
		err := <-done
		return errors.Join(err, unix.Close(fd), unix.Close(far))
	}}, nil
}

// queued is what a request for a lock is given to get into the line at least.
const queued = 2 * time.Millisecond
