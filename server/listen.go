package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/transport"
)

// listeners are where the server can be connected to.
type listeners struct {
	http *http.Server
	door *door
	wg   sync.WaitGroup
	tcp  net.Listener

	// The socket may have to be made again: these belong to the housekeeping while it runs.
	unix   net.Listener
	socket os.FileInfo
}

// socket is the path of the Unix socket.
func (s *Server) socket() string { return filepath.Join(s.opts.RuntimeDir, "server.sock") }

// runlockPath is the path of the lock that makes the runtime directory this server's.
func (s *Server) runlockPath() string { return filepath.Join(s.opts.RuntimeDir, "server.lock") }

// listen opens the listeners.
func (s *Server) listen() error {
	n := &s.net
	n.door = newDoor(s.log, s.opts.handshake)
	n.http = &http.Server{
		Handler:        http.HandlerFunc(s.accept),
		ConnContext:    connContext,
		MaxHeaderBytes: maxHeaderBytes,
		ErrorLog:       slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	n.http.SetKeepAlivesEnabled(false)
	if s.opts.Listen != "" {
		l, err := net.Listen("tcp", s.opts.Listen)
		if err != nil {
			return err
		}
		n.tcp = tls.NewListener(&guarded{l, n.door}, s.opts.TLS)
	}
	return s.listenUnix()
}

func (s *Server) listenUnix() error {
	l, err := transport.ListenUnix(s.socket(), 0o600)
	if err != nil {
		return err
	}
	st, err := os.Lstat(s.socket())
	if err != nil {
		_ = l.Close()
		return err
	}
	s.net.unix, s.net.socket = l, st
	return nil
}

// serveListeners starts to accept.
func (s *Server) serveListeners() {
	if s.net.tcp != nil {
		s.net.serve(s.net.tcp)
	}
	s.net.serve(s.net.unix)
}

func (n *listeners) serve(l net.Listener) {
	if l == n.unix {
		l = &guarded{l, n.door}
	}
	n.wg.Go(func() { _ = n.http.Serve(l) }) // ends when l is closed
}

// checkRuntime makes the lock and the socket again if somebody removed them or put others in their place. It returns a
// [LockedError] if the runtime directory has become another server's.
func (s *Server) checkRuntime() error {
	n := &s.net
	st, err := os.Lstat(s.socket())
	haveSocket := err == nil && os.SameFile(st, n.socket)
	haveLock := s.runlock.at(s.runlockPath())
	if haveSocket && haveLock {
		return nil
	}
	if err := ownDir("runtime", s.opts.RuntimeDir); err != nil {
		return err
	}
	if !haveLock {
		lock, err := lockFile(s.runlockPath(), s.opts.RuntimeDir, s.lockInfo)
		if err != nil {
			return err
		}
		_ = s.runlock.Unlock()
		s.runlock = lock
	}
	if haveSocket {
		return nil
	}
	old := n.unix
	if err := s.listenUnix(); err != nil {
		return err
	}
	_ = old.Close()
	n.serve(n.unix)
	s.log.Info("made the socket again", "path", s.socket())
	return nil
}

// close stops accepting. Connections that were upgraded live on.
func (n *listeners) close() {
	if n.http != nil {
		_ = n.http.Close()
	}
	for _, l := range []net.Listener{n.tcp, n.unix} {
		if l != nil {
			_ = l.Close()
		}
	}
	n.wg.Wait()
}

// Addr is the TCP address that the server listens on, nil if it does not.
func (s *Server) Addr() net.Addr {
	if s.net.tcp == nil {
		return nil
	}
	return s.net.tcp.Addr()
}

// URL is what a client can dial: wss:// if the server listens on TCP, else unix://.
func (s *Server) URL() string {
	a, ok := s.Addr().(*net.TCPAddr)
	if !ok {
		return "unix://" + s.socket()
	}
	host := a.IP.String()
	if a.IP.IsUnspecified() {
		host = s.info.Host
	}
	return fmt.Sprintf("wss://%s", net.JoinHostPort(host, fmt.Sprint(a.Port)))
}

// accept turns an HTTP request into a session and serves it.
func (s *Server) accept(w http.ResponseWriter, r *http.Request) {
	who, name, err := s.authenticate(r)
	if err == nil {
		if v, ok := r.Context().Value(visitorKey{}).(*visitor); ok {
			err = s.net.door.admit(v, who)
		}
	}
	if err != nil {
		transport.Refuse(w, err)
		return
	}
	s.mu.Lock()
	closing := s.closing
	if !closing {
		s.wg.Add(1)
	}
	s.mu.Unlock()
	if closing {
		transport.Refuse(w, model.ErrUnavailable)
		return
	}
	defer s.wg.Done()
	if _, local := transport.PeerFrom(r.Context()); local && r.URL.Path == transport.HandOutPath {
		s.handOut(w, r, who)
		return
	}
	conn, err := transport.Upgrade(w, r, transport.AcceptOptions{Options: s.opts.Transport})
	if err != nil {
		s.log.Debug("refused a connection", "remote", r.RemoteAddr, "err", err)
		return
	}
	s.serve(conn, who, name)
}

// handOut hands the files of a bare service to who may have them.
func (s *Server) handOut(w http.ResponseWriter, r *http.Request, who model.Principal) {
	service, write, err := transport.ParseHandOut(r)
	var files []*os.File
	if err == nil {
		files, err = s.core.OpenBare(who, service, write)
	}
	transport.HandOut(w, files, err)
	for _, f := range files {
		_ = f.Close()
	}
}

// authenticate finds out who makes a request, and what people call it: over the Unix socket the kernel knows, over the
// network it takes an API key.
func (s *Server) authenticate(r *http.Request) (who model.Principal, name string, err error) {
	if p, ok := transport.PeerFrom(r.Context()); ok {
		who = model.User(p.UID)
		if s.auth.Check(who) != nil {
			return "", "", &model.Error{Code: model.CodeDenied, Message: fmt.Sprintf("the server belongs to uid %d", os.Geteuid())}
		}
		return who, userName(p.UID), nil
	}
	if r.TLS != nil {
		if who, name, ok := s.auth.KeyHolder(transport.BearerToken(r)); ok {
			return who, name, nil
		}
	}
	return "", "", model.ErrUnauthorized
}

// housekeeping looks after what others may take away, and leaves when there is nothing to stay for.
func (s *Server) housekeeping() {
	tick := time.NewTicker(s.opts.interval)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-s.core.Done():
			s.leave(errors.New("the store has ended"))
			return
		case <-tick.C:
		}
		if st, err := os.Stat(s.opts.StateDir); err != nil || !os.SameFile(st, s.state) {
			s.leave(ErrVanished)
		}
		if s.idle() {
			s.leave(ErrIdle)
		}
		if err := s.checkRuntime(); errors.Is(err, ErrLocked) {
			s.leave(err) // memory files of two stores must not mix
			return
		} else if err != nil {
			s.log.Warn("make the runtime directory again", "err", err)
		}
		s.core.Tidy()
	}
}

func (s *Server) idle() bool {
	return s.opts.Mode == ModeAuto && s.opts.Linger > 0 && s.core.Alone() > s.opts.Linger
}
