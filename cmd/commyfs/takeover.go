package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/commy-project/commyfs/internal/local"
	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/server"
	"github.com/commy-project/commyfs/transport"
)

const (
	// takeOverBound is how long a server may take to leave in favour of another.
	takeOverBound = 15 * time.Second
	// askBound is how long one that is asked to leave may take to answer, before it is asked again.
	askBound = 2 * time.Second
	// leaveGrace is how long a server's locks may go one after the other.
	leaveGrace = time.Second
	// stayGrace is how long a lock may name a server that stays although it is dead: until the next one has its name there.
	stayGrace = 200 * time.Millisecond
	// A server that is meant to stay is quicker to take a lock that becomes free than those that clients start.
	servePoll = 2 * time.Millisecond
	autoPoll  = 50 * time.Millisecond
)

// takeOver starts a server, in the place of an automatic one if there is one. Automatic ones may be killed and started
// meanwhile: each is asked to leave.
func takeOver(ctx context.Context, o server.Options) (*server.Server, error) {
	bound, cancel := context.WithTimeout(ctx, takeOverBound)
	defer cancel()
	var (
		holder server.LockedError // that was found last
		since  time.Time          // when it was found first
		asked  bool               // it has said that it leaves
		why    error              // it did not say so
	)
	for {
		s, err := server.Start(ctx, o)
		var locked *server.LockedError
		if !errors.As(err, &locked) {
			return s, err
		}
		if *locked != holder {
			holder, since, asked, why = *locked, time.Now(), false, nil
		}
		found := time.Since(since)
		switch {
		case locked.Holder.Mode == server.ModeServe:
			if found > stayGrace {
				return nil, locked
			}
		case locked.Dir == o.RuntimeDir: // the server of another state directory, or one that has all but left
			if found > leaveGrace {
				return nil, locked
			}
		case locked.Holder.PID != 0 && !asked:
			err := handover(bound, locked.Holder.Socket, o.Transport)
			if isFinal(err) {
				return nil, fmt.Errorf("%w: it does not exit: %w", locked, err)
			}
			asked, why = err == nil, err
		}
		if !sleep(bound, servePoll) {
			if why != nil {
				return nil, fmt.Errorf("%w: it does not exit: %w", locked, why)
			}
			return nil, locked
		}
	}
}

// isFinal tells an answer that stays the same from those of a server that has just begun, leaves, or was killed.
func isFinal(err error) bool {
	switch model.CodeOf(err) {
	case model.CodeDenied, model.CodeUnauthorized, model.CodeUnsupported, model.CodeInvalid, model.CodeConflict:
		return true
	}
	return false
}

// handover asks the server at a socket to leave.
func handover(ctx context.Context, socket string, o transport.Options) error {
	ctx, cancel := context.WithTimeout(ctx, askBound)
	defer cancel()
	conn, err := transport.Dial(ctx, transport.DialOptions{URL: "unix://" + socket, Options: o})
	if err != nil {
		return err
	}
	c := transport.NewClient(conn, transport.ClientOptions{})
	defer c.Close()
	if _, err := c.Hello(ctx, greet("serve"), nil); err != nil {
		return err
	}
	return c.Handover(ctx)
}

// startOrYield starts a server unless there is one: then it returns none, and no error. A holder of the lock that does
// not answer has just begun or is about to leave; either will show.
func startOrYield(ctx context.Context, o server.Options) (*server.Server, error) {
	bound, cancel := context.WithTimeout(ctx, takeOverBound)
	defer cancel()
	for {
		s, err := server.Start(ctx, o)
		var locked *server.LockedError
		if !errors.As(err, &locked) {
			return s, err
		}
		socket := locked.Holder.Socket
		if socket != "" && socket != local.Socket(o.RuntimeDir) {
			return nil, fmt.Errorf("%w: its socket is elsewhere: use --runtime-dir %s", locked, filepath.Dir(socket))
		}
		conn, err := transport.Dial(bound, transport.DialOptions{URL: "unix://" + local.Socket(o.RuntimeDir)})
		if err == nil {
			return nil, conn.Close()
		}
		if !sleep(bound, autoPoll) {
			return nil, locked
		}
	}
}

// sleep returns false when ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
