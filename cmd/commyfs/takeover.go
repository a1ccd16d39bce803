package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/commy-project/commyfs/internal/local"
	"github.com/commy-project/commyfs/server"
	"github.com/commy-project/commyfs/transport"
)

const (
	// takeOverBound is how long a server may take to leave in favour of another.
	takeOverBound = 15 * time.Second
	// A server that is meant to stay is quicker to take a lock that becomes free than those that clients start.
	servePoll = 2 * time.Millisecond
	autoPoll  = 50 * time.Millisecond
)

// takeOver starts a server, in the place of an automatic one if there is one.
func takeOver(ctx context.Context, o server.Options) (*server.Server, error) {
	bound, cancel := context.WithTimeout(ctx, takeOverBound)
	defer cancel()
	asked := 0 // pid of the server that was asked to leave
	for {
		s, err := server.Start(ctx, o)
		var locked *server.LockedError
		if !errors.As(err, &locked) || locked.Holder.Mode == server.ModeServe {
			return s, err
		}
		if pid := locked.Holder.PID; pid != 0 && pid != asked {
			asked = pid
			if err := handover(bound, locked.Holder.Socket, o.Transport); err != nil {
				return nil, fmt.Errorf("%w: it does not leave: %w", locked, err)
			}
		}
		if !sleep(bound, servePoll) {
			return nil, locked
		}
	}
}

// handover asks the server at a socket to leave. One that is not there has left.
func handover(ctx context.Context, socket string, o transport.Options) error {
	conn, err := transport.Dial(ctx, transport.DialOptions{URL: "unix://" + socket, Options: o})
	if err != nil {
		if local.IsAbsent(err) {
			return nil
		}
		return err
	}
	c := transport.NewClient(conn, transport.ClientOptions{})
	defer c.Close()
	if _, err := c.Call(ctx, greet("serve")); err != nil {
		return err
	}
	_, err = c.Call(ctx, &transport.Handover{})
	if errors.Is(err, transport.ErrDisconnected) {
		return nil // it left before it could say so
	}
	return err
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
			return nil, fmt.Errorf("%w: its socket is in another place: use --runtime-dir %s", locked, filepath.Dir(socket))
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
