package transport

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// eventually waits for a condition that has no channel to wait on.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !cond(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// noLeaks fails the test if a goroutine of this package outlives it. Call it first: cleanups run in reverse.
func noLeaks(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		var left []byte
		eventually(t, "the package's goroutines end", func() bool {
			buf := make([]byte, 1<<20)
			left = buf[:runtime.Stack(buf, true)]
			return !bytes.Contains(left, []byte("Loop(0x")) || !bytes.Contains(left, []byte("transport.(*Conn)"))
		})
		if t.Failed() {
			t.Logf("%s", left)
		}
	})
}

// testServer accepts connections and hands them to the test.
type testServer struct {
	url   string
	conns chan *Conn
	auth  func(r *http.Request) error
	opts  Options

	mu     sync.Mutex // guards closed, and sending to conns against its being closed
	closed bool
}

func (s *testServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.auth != nil {
		if err := s.auth(r); err != nil {
			Refuse(w, err)
			return
		}
	}
	c, err := Upgrade(w, r, AcceptOptions{Options: s.opts})
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = c.Close()
		return
	}
	s.conns <- c
}

func (s *testServer) start(t testing.TB, l net.Listener) {
	s.conns = make(chan *Conn, 16)
	hs := &http.Server{
		Handler: s, ConnContext: ConnContext, ReadHeaderTimeout: 10 * time.Second,
		ErrorLog: log.New(io.Discard, "", 0), // failed handshakes are part of the tests
	}
	done := make(chan error, 1)
	go func() { done <- hs.Serve(l) }()
	t.Cleanup(func() {
		if err := hs.Close(); err != nil {
			t.Errorf("close server: %v", err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
		s.mu.Lock()
		s.closed = true
		close(s.conns)
		s.mu.Unlock()
		for c := range s.conns {
			_ = c.Close()
		}
	})
}

func (s *testServer) onUnix(t testing.TB) *testServer {
	path := filepath.Join(t.TempDir(), "s")
	l, err := ListenUnix(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	s.url = "unix://" + path
	s.start(t, l)
	return s
}

// onTLS returns the CA file.
func (s *testServer) onTLS(t testing.TB) (caFile string) {
	cert, key, caFile, err := SelfSigned(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := ServerTLS(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	s.onTCP(t, cfg)
	return caFile
}

func (s *testServer) onTCP(t testing.TB, cfg *tls.Config) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.url = "ws://" + l.Addr().String()
	if cfg != nil {
		s.url = "wss" + strings.TrimPrefix(s.url, "ws")
		l = tls.NewListener(l, cfg)
	}
	s.start(t, l)
}

// connect returns both ends of a new connection.
func (s *testServer) connect(t *testing.T, o DialOptions) (client, server *Conn) {
	t.Helper()
	o.URL = s.url
	client, err := Dial(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	server = <-s.conns
	t.Cleanup(func() {
		_ = client.Close()
		_ = server.Close()
	})
	return client, server
}

// unixPair returns both ends of a connection over a Unix socket.
func unixPair(t *testing.T, client, server Options) (c, s *Conn) {
	t.Helper()
	return (&testServer{opts: server}).onUnix(t).connect(t, DialOptions{Options: client})
}

// serve answers requests on the accepting side with handle until the connection is over.
func serve(t *testing.T, c *Conn, handle func(Envelope)) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			envs, err := c.Receive()
			if err != nil {
				return
			}
			for _, e := range envs {
				handle(e)
			}
		}
	}()
	t.Cleanup(func() {
		_ = c.Close()
		<-done
	})
}
