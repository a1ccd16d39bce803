package local

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/model"
)

// starter starts servers until one answers.
type starter struct {
	o     Options
	began time.Time
	turn  *os.File // locked: this process may start a server
	child *child
	next  time.Time // earliest time to start another child
}

// step checks the child, or starts one if it is our turn. It returns an error if the server cannot start.
func (s *starter) step() error {
	if s.child != nil {
		if !s.child.ended() {
			return nil
		}
		if err := s.child.failure(); err != nil {
			return fmt.Errorf("%w: start the local server: %w", model.ErrDisconnected, err)
		}
		// It yielded to another server, which will soon answer or, if it was exiting, must be replaced.
		s.child, s.next = nil, time.Now().Add(loserPause)
	}
	if time.Now().Before(s.next) || !s.myTurn() {
		return nil
	}
	s.o.Logger.Info("starting a server", "state", s.o.StateDir)
	c, err := startServer(s.o)
	if err != nil {
		return fmt.Errorf("%w: start the local server: %w", model.ErrDisconnected, err)
	}
	s.child = c
	return nil
}

// myTurn prevents many clients that lost their server at the same time from each starting one. It is only an optimization: the
// lock on the state directory decides who serves.
func (s *starter) myTurn() bool {
	if s.turn != nil {
		return true
	}
	f, err := os.OpenFile(filepath.Join(s.o.RuntimeDir, "start.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return true
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return time.Since(s.began) > starterGrace // the holder may be stopped
	}
	s.turn = f
	return true
}

func (s *starter) release() {
	if s.turn != nil {
		_ = s.turn.Close()
	}
}

// wait waits for d or until the child exits. It returns false when ctx has ended.
func (s *starter) wait(ctx context.Context, d time.Duration) bool {
	var ended <-chan struct{}
	if s.child != nil {
		ended = s.child.done
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ended:
	case <-ctx.Done():
		return false
	}
	return true
}
