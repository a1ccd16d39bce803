// Package server is a server process: it listens, lets in who has credentials, and carries messages between connections
// and the [core.Core], which has all tenants, services and variables. It looks after its socket and its directories, and
// leaves when there is nothing to stay for.
//
// No input of a client ends the server. Server.mu, outbox.mu and door.mu are leaves.
package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/server/access"
	"github.com/commy-project/commyfs/server/budget"
	"github.com/commy-project/commyfs/server/core"
	"github.com/commy-project/commyfs/transport"
)

// The modes of a server.
const (
	ModeServe = "serve" // runs until it is told to end
	ModeAuto  = "auto"  // was started by a client, leaves when it is no longer needed or somebody wants its place
)

// Options configure a [Server]. StateDir and RuntimeDir are required.
type Options struct {
	// StateDir holds the engine's store and the lock. It must belong to the effective user; it is made if missing. A
	// server whose state directory vanishes leaves.
	StateDir string
	// RuntimeDir holds the socket and the memory files, under the same rules.
	RuntimeDir string
	// Mode is ModeServe or ModeAuto. Default: ModeServe.
	Mode string
	// Version is shown to clients.
	Version string
	// Listen is a TCP address to listen on with TLS as well. Default: only the Unix socket.
	Listen string
	// TLS is required with Listen.
	TLS *tls.Config
	// URL is what clients are shown as the server's. Default: that of the listener.
	URL string
	// Linger is how long a ModeAuto server stays without a session. Default: for ever.
	Linger time.Duration
	// Limits are the bounds Value (at most 16 MiB), Name and Component. Default: 1 MiB, 1024 and 255.
	Limits model.Limits
	// Memory is about how many bytes may be taken at once by what clients ask for: messages that arrive, are carried out or
	// wait to be sent. What the server holds for all of them, the values above all, comes on top. Default: 128 MiB.
	Memory int64
	// Timeout bounds how long Close waits for what is under way. Default: 5 s.
	Timeout time.Duration
	// Idle is how long a service that nobody uses is kept in memory. Default: 1 min.
	Idle time.Duration
	// Lease is how long a client keeps its locks that is not heard of. Default: 10 s.
	Lease time.Duration
	// Transport are options for connections.
	Transport transport.Options
	// Logger gets what happens. Default: discard.
	Logger *slog.Logger

	// tune, interval and handshake are for tests.
	tune      func(*core.Options)
	interval  time.Duration
	handshake time.Duration
}

func (o *Options) setDefaults() error {
	if o.StateDir == "" || o.RuntimeDir == "" {
		return errors.New("server: state and runtime directory are required")
	}
	o.Mode = cmp.Or(o.Mode, ModeServe)
	if o.Mode != ModeServe && o.Mode != ModeAuto {
		return fmt.Errorf("server: mode %q is neither %q nor %q", o.Mode, ModeServe, ModeAuto)
	}
	if o.Listen != "" && o.TLS == nil {
		return errors.New("server: listening on an address needs a TLS certificate")
	}
	o.Memory = cmp.Or(o.Memory, defaultMemory)
	o.Timeout = cmp.Or(o.Timeout, 5*time.Second)
	o.interval = cmp.Or(o.interval, time.Second)
	o.handshake = cmp.Or(o.handshake, handshakeTime)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Transport.Logger = cmp.Or(o.Transport.Logger, o.Logger)
	return nil
}

// Server is a running server.
type Server struct {
	opts Options
	log  *slog.Logger
	info model.ServerInfo

	lock     *StateLock
	runlock  *StateLock // the housekeeping's while it runs
	lockInfo LockInfo
	state    os.FileInfo // of StateDir, as it was
	auth     *access.Authorizer
	core     *core.Core
	net      listeners
	sending  *budget.Budget // for what is encoded to be sent
	relief   relief

	// ctx ends when Close gives up waiting.
	ctx    context.Context
	cancel context.CancelFunc

	// mu guards the following.
	mu      sync.Mutex
	opening map[*transport.Conn]struct{} // have not said hello
	closing bool
	reason  error

	done      chan struct{}
	leaving   sync.Once
	stop      chan struct{} // ends housekeeping
	keeper    sync.WaitGroup
	wg        sync.WaitGroup
	closeOnce sync.Once
	closeErr  error
}

const (
	defaultMemory = 128 << 20 // Options.Memory
	// One part in so many is for what is encoded to be sent. It is a budget of its own: what waits for it waits for clients
	// alone, and never for a request that itself waits to be answered.
	sendingPart = 4
)

// MinFree is how many bytes stay free under the state directory: no write is accepted that there is less room for.
const MinFree = 256 << 20

// Start starts a server and returns when it can be connected to. ctx bounds the start only. If another server has the
// state directory, the error is a [LockedError].
func Start(ctx context.Context, o Options) (*Server, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	s := &Server{
		opts: o, log: o.Logger, auth: access.New(model.User(0), model.User(uint32(os.Geteuid()))), sending: budget.New(o.Memory / sendingPart),
		opening: map[*transport.Conn]struct{}{}, done: make(chan struct{}), stop: make(chan struct{}),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) start(ctx context.Context) error {
	o := &s.opts
	if err := ownDir("runtime", o.RuntimeDir); err != nil {
		return err
	}
	host, _ := os.Hostname()
	info := LockInfo{Socket: s.socket(), PID: os.Getpid(), Host: host, Mode: o.Mode}
	var err error
	if s.lock, err = LockState(o.StateDir, info); err != nil {
		return err
	}
	s.lockInfo = info
	if s.runlock, err = lockFile(s.runlockPath(), o.RuntimeDir, info); err != nil {
		return err
	}
	if s.state, err = os.Stat(o.StateDir); err != nil {
		return err
	}
	co := core.Options{
		Dir: o.RuntimeDir, Auth: s.auth, Limits: o.Limits, Memory: o.Memory - o.Memory/sendingPart, Idle: o.Idle, Logger: o.Logger, Lease: o.Lease,
		Broken: s.leave,
	}
	co.Store.Dir, co.Store.MinFree, co.Store.Logger = filepath.Join(o.StateDir, "store"), MinFree, o.Logger
	if o.tune != nil {
		o.tune(&co)
	}
	if s.core, err = core.Open(ctx, co); err != nil {
		return err
	}
	s.info = model.ServerInfo{Pid: os.Getpid(), Version: o.Version, Mode: o.Mode, Host: host, Started: time.Now().UnixNano()}
	if err := s.listen(); err != nil {
		return err
	}
	s.info.URL = cmp.Or(o.URL, s.URL())
	s.serveListeners()
	s.keeper.Go(s.housekeeping)
	s.log.Info("server is up", "url", s.info.URL, "mode", o.Mode, "store", s.core.StoreID())
	return nil
}

// Info describes the server.
func (s *Server) Info() model.ServerInfo { return s.info }

// Done is closed when the server has been closed or has reason to leave, which [Server.Err] tells. Close has still to be
// called.
func (s *Server) Done() <-chan struct{} { return s.done }

// The reasons to leave of a server in order.
var (
	ErrIdle     = errors.New("no client for a while")
	ErrHandover = errors.New("another server takes over")
	ErrVanished = errors.New("the state directory is gone")
)

// Err returns why the server leaves: one of the errors above, a [LockedError], or what broke it; nil if it does not or was closed.
func (s *Server) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reason
}

// leave makes Done known.
func (s *Server) leave(reason error) {
	s.leaving.Do(func() {
		if reason != nil {
			s.log.Info("server leaves", "reason", reason)
		}
		s.mu.Lock()
		s.reason = reason
		s.mu.Unlock()
		close(s.done)
	})
}

// Close ends the server: no new connections, what the committer has is carried out and answered, the clients are told,
// memory files and socket are removed, the engine is closed and the state directory is free for the next server. It is
// idempotent.
func (s *Server) Close() error {
	s.closeOnce.Do(func() { s.closeErr = s.close() })
	return s.closeErr
}

func (s *Server) close() error {
	s.leave(nil)
	giveUp := time.AfterFunc(s.opts.Timeout, s.cancel)
	defer giveUp.Stop()
	defer s.cancel()

	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	close(s.stop)
	s.keeper.Wait()
	s.net.close()
	var err error
	if s.core != nil {
		err = s.core.Close(s.ctx)
	}
	s.mu.Lock()
	for conn := range s.opening {
		conn.Fail(model.ErrUnavailable)
	}
	s.mu.Unlock()
	s.wg.Wait()
	for _, l := range []*StateLock{s.runlock, s.lock} {
		if l != nil {
			err = errors.Join(err, l.Unlock())
		}
	}
	return err
}
