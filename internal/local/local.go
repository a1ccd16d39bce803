// Package local finds the user's own server on this machine, and starts one where none runs.
//
// A local server is whoever holds the lock on the state directory and answers on the socket in the runtime directory.
// [Dial] connects to it. If nobody answers there it starts `commyfs serve --auto`, a process of its own that inherits
// nothing: no descriptor, no terminal, no working directory. Of many clients that find no server at the same time one
// starts it and the others wait; should two start one all the same, the lock on the state directory decides and the
// loser ends quietly. Dial is meant to be called again after every loss of the connection: whoever notices first that
// a server died starts the next.
package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"syscall"
	"time"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/transport"
)

// Options say which server is meant and how to start it. StateDir and RuntimeDir are required, and absolute.
type Options struct {
	StateDir   string // what the server keeps
	RuntimeDir string // where its socket is
	// Command is the program, and its arguments before those that Dial adds. Default: this very program.
	Command []string
	// Args are further arguments of a server that is started.
	Args []string
	// Env is the environment of a server that is started. It outlives us, so it must hold no secrets.
	Env []string
	// Reconnect says that there was a server before: a state directory that has vanished since is not made anew, or a
	// mount would bring back, empty, what somebody removed.
	Reconnect bool
	// Patience bounds how long a server may take until it answers. Default: 10 s.
	Patience time.Duration
	// Transport are the options of the connection.
	Transport transport.Options
	// Logger is told when a server is started. Default: nobody.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.Patience <= 0 {
		o.Patience = 10 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Socket is where the server of a runtime directory listens.
func Socket(runtimeDir string) string { return filepath.Join(runtimeDir, "server.sock") }

// Connect connects to the server that runs, and fails if there is none: [IsAbsent] tells.
func Connect(ctx context.Context, o Options) (*transport.Conn, error) {
	o = o.withDefaults()
	for _, dir := range []string{o.StateDir, o.RuntimeDir} {
		if err := CheckOwner(dir); err != nil {
			return nil, err
		}
	}
	conn, err := connect(ctx, o)
	if err == nil && isElsewhere(o) {
		_ = conn.Close()
		return nil, errElsewhere(o)
	}
	return conn, err
}

func connect(ctx context.Context, o Options) (*transport.Conn, error) {
	return transport.Dial(ctx, transport.DialOptions{URL: "unix://" + Socket(o.RuntimeDir), Options: o.Transport})
}

// IsAbsent reports whether a connection failed because nobody listens on the socket.
func IsAbsent(err error) bool {
	return errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED)
}

// isLeaving reports whether a connection failed as it does when a server is about to end, or has just begun.
func isLeaving(err error) bool {
	return errors.Is(err, model.ErrUnavailable) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

const (
	// loserPause is how long after a server that gave way to another one the next is started, if nobody answers.
	loserPause = 20 * time.Millisecond
	// starterGrace is how long a client may keep the others from starting a server.
	starterGrace = time.Second
	// elsewhereGrace is how long the locks of two directories may name different servers: one takes them from the other
	// one by one.
	elsewhereGrace = 500 * time.Millisecond
	firstPoll      = time.Millisecond
	longestPoll    = 20 * time.Millisecond
)

// Dial connects to the local server, starting one if there is none. Errors match model.ErrDisconnected when that
// does not work, and say what the server said.
func Dial(ctx context.Context, o Options) (*transport.Conn, error) {
	o = o.withDefaults()
	ctx, cancel := context.WithTimeout(ctx, o.Patience)
	defer cancel()
	s := starter{o: o, began: time.Now()}
	defer s.release()
	for poll := firstPoll; ; poll = min(2*poll, longestPoll) {
		if err := makeDirs(o); err != nil {
			return nil, err
		}
		conn, err := connect(ctx, o)
		switch {
		case err == nil && !isElsewhere(o):
			return conn, nil
		case err == nil:
			_ = conn.Close()
			if err = errElsewhere(o); time.Since(s.began) > elsewhereGrace {
				return nil, err
			}
		case IsAbsent(err):
			if err := s.step(); err != nil {
				return nil, err
			}
		case !isLeaving(err):
			return nil, err
		}
		if !s.wait(ctx, poll) {
			return nil, fmt.Errorf("%w: the local server does not respond: %w", model.ErrDisconnected, err)
		}
	}
}
