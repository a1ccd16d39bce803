package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// The client uses descriptors, not [os.File]: Go's poller is no part of what is measured.

// ignoringEINTR repeats a call as long as signals interrupt it: Go's scheduler sends them.
func ignoringEINTR(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func openFile(path string, flags int) (fd int, err error) {
	err = ignoringEINTR(func() (err error) {
		fd, err = unix.Open(path, flags|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return -1, fmt.Errorf("open: %w", err)
	}
	return fd, nil
}

func createFile(path string) error {
	return os.WriteFile(path, make([]byte, valueSize), 0o644)
}

func readFile(path string) ([]byte, error) { return os.ReadFile(path) }

// visibleBound is how long a new file may take to show elsewhere.
const visibleBound = 10 * time.Second

// awaitFile waits until a file made by [createFile] on one mount is there on another.
func awaitFile(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, visibleBound)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		data, err := os.ReadFile(path)
		if err == nil && bytes.Equal(data, make([]byte, valueSize)) {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("%s: %d bytes, want %d", path, len(data), valueSize)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("a new file does not show on the other mount: %w", err)
		}
	}
}
