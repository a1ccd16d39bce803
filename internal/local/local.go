// Package local connects to the user's own server on this machine, and starts it if needed.
//
// The local server is the process that holds the lock on the state directory and answers on the socket in the runtime directory.
// [Dial] connects to it. If there is none, Dial starts `commyfs serve --auto`, a separate process that inherits no descriptors, no
// terminal and no working directory. If many clients find no server at the same time, one of them starts it and the others wait;
// if two start one anyway, the lock on the state directory decides and the loser exits quietly. Call Dial again whenever a
// connection is lost: the first client that notices that the server died starts the next.
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

// Options identify a server and say how to start it. StateDir and RuntimeDir are required and must be absolute.
type Options struct {
	StateDir   string // the server's data
	RuntimeDir string // the server's socket
	// Command is the program, with arguments that precede those that Dial adds. Default: the running program.
	Command []string
	// Args are additional arguments for a server that Dial starts.
	Args []string
	// Env is the environment of a server that Dial starts. It must contain no secrets, because the server keeps running.
	Env []string
	// Reconnect means that there was a connection before: if the state directory has been removed since then, it is not
	// created again, or a mount would bring it back empty.
	Reconnect bool
	// Patience limits how long a server may take to answer. Default: 10 s.
	Patience time.Duration
	// Transport are the options of the connection.
	Transport transport.Options
	// Logger logs the start of a server. Default: no log.
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

// Socket is the path of the socket in a runtime directory.
func Socket(runtimeDir string) string { return filepath.Join(runtimeDir, "server.sock") }

// Connect connects to the running server. If there is none, [IsAbsent] reports true for the error.
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

// IsAbsent reports whether a connection failed because no server listens on the socket.
func IsAbsent(err error) bool {
	return errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED)
}

// isLeaving reports whether a connection failed as it does while a server is starting or exiting.
func isLeaving(err error) bool {
	return errors.Is(err, model.ErrUnavailable) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

const (
	// loserPause is the delay before the next server is started after one has yielded to another that does not answer.
	loserPause = 20 * time.Millisecond
	// starterGrace is how long a client may prevent the others from starting a server.
	starterGrace = time.Second
	// elsewhereGrace is how long the two lock files may name different servers, while one takes over from the other.
	elsewhereGrace = 500 * time.Millisecond
	firstPoll      = time.Millisecond
	longestPoll    = 20 * time.Millisecond
)

// Dial connects to the local server and starts one if there is none. If that fails, the error matches model.ErrDisconnected
// and includes the server's message.
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
