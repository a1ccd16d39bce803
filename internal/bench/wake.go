package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// wakeBound is how long an event may take.
	wakeBound = 5 * time.Second
	// asleep is what the watcher is given to fall asleep: waking it up is part of what is measured.
	asleep = 100 * time.Microsecond
)

// wake measures from before a pwrite on one mount until a thread that slept for the inotify event on the other has read
// the new value there.
func wake(ctx context.Context, _ *runner, s *system, path string) (*work, error) {
	there := filepath.Join(s.far, filepath.Base(path))
	if err := awaitFile(ctx, there); err != nil {
		return nil, err
	}
	fd, err := openFile(path, unix.O_RDWR)
	if err != nil {
		return nil, err
	}
	w, err := newWatcher(there)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	var number uint64
	var buf [8]byte
	op := func() (time.Duration, error) {
		number++
		binary.LittleEndian.PutUint64(buf[:], number)
		w.arm <- number
		if err := <-w.armed; err != nil {
			return 0, err
		}
		time.Sleep(asleep)
		start := time.Now()
		n := 0
		err := ignoringEINTR(func() (err error) {
			n, err = unix.Pwrite(fd, buf[:], 0)
			return err
		})
		seen := <-w.seen // also after an error: the watcher must be done before it is armed again
		if err := checkWritten(n, err); err != nil {
			return 0, err
		}
		return seen.at.Sub(start), seen.err
	}
	return &work{op: op, close: func() error { return errors.Join(w.close(), unix.Close(fd)) }}, nil
}

// sighting is when a new value was read.
type sighting struct {
	at  time.Time
	err error
}

// watcher waits for events of one file on its own thread.
type watcher struct {
	inotify, file int
	arm           chan uint64   // the value to wait for
	armed         chan error    // older events are out of the way
	seen          chan sighting // the answer to each value
	done          chan struct{}
	buf           [4096]byte
}

func newWatcher(path string) (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w", err)
	}
	if _, err := unix.InotifyAddWatch(fd, path, unix.IN_MODIFY); err != nil {
		return nil, errors.Join(fmt.Errorf("inotify: watch %s: %w", path, err), unix.Close(fd))
	}
	file, err := openFile(path, unix.O_RDONLY)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	w := &watcher{inotify: fd, file: file, arm: make(chan uint64), armed: make(chan error), seen: make(chan sighting), done: make(chan struct{})}
	go w.watchLoop()
	return w, nil
}

func (w *watcher) close() error {
	close(w.arm)
	<-w.done
	return errors.Join(unix.Close(w.inotify), unix.Close(w.file))
}

func (w *watcher) watchLoop() {
	defer close(w.done)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for number := range w.arm {
		err := w.drain()
		w.armed <- err
		if err == nil {
			w.seen <- w.await(number)
		}
	}
}

// drain takes the events that are there.
func (w *watcher) drain() error {
	for {
		_, err := unix.Read(w.inotify, w.buf[:])
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("inotify: %w", err)
		}
	}
}

// await sleeps for events until the value is there. An event that an older write raised late finds an older value.
func (w *watcher) await(number uint64) sighting {
	deadline := time.Now().Add(wakeBound)
	var value [8]byte
	events := 0
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return sighting{err: fmt.Errorf("no inotify event with the new value within %v, %d without", wakeBound, events)}
		}
		fds := []unix.PollFd{{Fd: int32(w.inotify), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(left.Milliseconds())+1)
		if errors.Is(err, unix.EINTR) || err == nil && n == 0 {
			continue
		}
		if err != nil {
			return sighting{err: fmt.Errorf("poll: %w", err)}
		}
		if err := w.drain(); err != nil {
			return sighting{err: err}
		}
		events++
		if _, err := unix.Pread(w.file, value[:], 0); err != nil {
			return sighting{err: fmt.Errorf("read after the event: %w", err)}
		}
		at := time.Now()
		if binary.LittleEndian.Uint64(value[:]) == number {
			return sighting{at: at}
		}
	}
}
