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
	// takeOverBound is how long a server may take to make way for another.
	takeOverBound = 15 * time.Second
	// askBound is how long a server may take to answer a handover before it is asked again.
	askBound = 2 * time.Second
	// leaveGrace is how long a server may take to release its second lock after the first.
	leaveGrace = time.Second
	// stayGrace is how long a lock may name a foreground server that is dead, until the next server has written its name.
	stayGrace = 200 * time.Millisecond
	// A foreground server polls faster, so that it gets a free lock before automatic servers.
	servePoll = 2 * time.Millisecond
	autoPoll  = 50 * time.Millisecond
)

// takeOver starts a server in place of an automatic one. Automatic servers may be killed and started in the meantime: each is
// asked to exit.
func takeOver(ctx context.Context, o server.Options) (*server.Server, error) {
	bound, cancel := context.WithTimeout(ctx, takeOverBound)
	defer cancel()
	var (
		holder server.LockedError // the last one found
		since  time.Time          // when it was first found
		asked  bool               // it has agreed to exit
		why    error              // why it has not
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
		case locked.Dir == o.RuntimeDir: // the server of another state directory, or one that is about to exit
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

// isFinal reports whether asking again is useless, unlike with a server that is starting, exiting or killed.
func isFinal(err error) bool {
	switch model.CodeOf(err) {
	case model.CodeDenied, model.CodeUnauthorized, model.CodeUnsupported, model.CodeInvalid, model.CodeConflict:
		return true
	}
	return false
}

// handover asks the server at a socket to exit.
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

// startOrYield starts a server, or returns nil if there is one. A holder of the lock that does not answer is starting or
// exiting: this becomes clear soon.
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
