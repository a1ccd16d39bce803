package server

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/server/access"
)

// TestStrangers: hundreds of connections that never show credentials, in whatever way they dawdle, are gone within the
// bound, and keep nobody out meanwhile.
func TestStrangers(t *testing.T) {
	const request = "GET / HTTP/1.1\r\nHost: x\r\n"
	drip := func(c net.Conn) {
		for range 1000 {
			if _, err := io.WriteString(c, "x"); err != nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	ways := []struct {
		name string
		tls  bool
		send string
		then func(net.Conn)
	}{
		{name: "nothing sent"},
		{name: "half a handshake", send: "\x16\x03\x01\x02\x00\x01"},
		{name: "TLS only", tls: true},
		{name: "headers dripping", tls: true, send: request + "X-Drip: ", then: drip},
		{name: "refused for want of a key", tls: true, send: request + "\r\n"},
		{name: "in a body", tls: true, send: "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n", then: drip},
		{name: "in a chunked body", tls: true, send: "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n"},
		{name: "asked to go on", tls: true, send: "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n"},
	}
	listen, dial := listening(t)
	s := startServer(t, listen, func(o *Options) { o.handshake = 2 * time.Second })
	key := connect(t, s).createKey("k", access.AllRights)
	port := s.Addr().(*net.TCPAddr).Port
	for i, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			const many = 200
			var gone, knocking sync.WaitGroup
			room := make(chan struct{}, 16)
			for range many {
				room <- struct{}{}
				knocking.Go(func() {
					defer func() { <-room }()
					// Each way comes from an address of its own.
					d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(i+1))}, Timeout: bound}
					c, err := d.DialContext(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
					if err != nil {
						t.Error(err)
						return
					}
					_ = c.SetDeadline(time.Now().Add(bound))
					if w.tls {
						c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
					}
					// One of too many may be shown out at any point.
					_, _ = io.WriteString(c, w.send)
					if w.tls && w.send == "" {
						_ = c.(*tls.Conn).HandshakeContext(t.Context())
					}
					if w.then != nil {
						gone.Go(func() { w.then(c) })
					}
					gone.Go(func() {
						defer c.Close()
						if _, err := io.Copy(io.Discard, c); errors.Is(err, syscall.ETIMEDOUT) || err != nil && strings.Contains(err.Error(), "timeout") {
							t.Errorf("still there after %v", bound)
						}
					})
				})
			}
			knocking.Wait()
			p := &peer{t: t, news: make(chan struct{}, 1)}
			if err := p.dial(dial(s, key)); err != nil {
				t.Errorf("whoever has a key: %v", err)
			}
			gone.Wait()
		})
	}
	t.Cleanup(func() {
		testenv.Eventually(t, bound, func() error {
			d := s.net.door
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.waiting != 0 || len(d.strangers) != 0 {
				return fmt.Errorf("%d strangers are still counted", d.waiting)
			}
			return nil
		})
	})
}

// fakeConn is a connection from an address.
type fakeConn struct {
	net.Conn
	from   string
	mu     sync.Mutex
	closed bool
}

func (c *fakeConn) RemoteAddr() net.Addr {
	a, err := net.ResolveTCPAddr("tcp", c.from)
	if err != nil {
		panic(err)
	}
	return a
}

func (c *fakeConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return nil
}

func (c *fakeConn) gone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

func TestDoor(t *testing.T) {
	var log bytes.Buffer
	d := newDoor(slog.New(slog.NewTextHandler(&log, nil)), time.Hour)
	var all []*visitor
	t.Cleanup(func() {
		for _, v := range all {
			_ = v.Close()
			_ = v.Close()
		}
		if d.waiting != 0 || d.inside != 0 || len(d.strangers) != 0 || len(d.guests) != 0 {
			t.Errorf("when all are gone there are %d strangers and %d guests", d.waiting, d.inside)
		}
	})
	arrive := func(format string, args ...any) *fakeConn {
		c := &fakeConn{from: fmt.Sprintf(format, args...)}
		all = append(all, d.arrived(c))
		return c
	}
	good := arrive("192.0.2.1:1")
	if err := d.admit(all[0], "k1"); err != nil {
		t.Fatal(err)
	}
	first := arrive("192.0.2.1:2")
	for i := range maxStrangersEach - 1 {
		arrive("192.0.2.1:%d", 1000+i)
	}
	if first.gone() {
		t.Error("one was shown out before there were too many")
	}
	arrive("192.0.2.1:9")
	if !first.gone() || good.gone() {
		t.Errorf("the oldest is gone: %v, who has credentials: %v", first.gone(), good.gone())
	}
	// A network is one address in IPv6. An address that has many loses them before one that has few.
	six := arrive("[2001:db8::1]:1")
	for i := range maxStrangersEach {
		arrive("[2001:db8::%x]:1", i+2)
	}
	few := arrive("198.51.100.1:1")
	for i := range maxStrangers {
		arrive("203.0.113.%d:%d", i%250, i)
	}
	if !six.gone() || few.gone() || d.waiting != maxStrangers {
		t.Errorf("gone: the oldest of a network %v, of an address with one %v; %d are counted, want %d", six.gone(), few.gone(), d.waiting, maxStrangers)
	}
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("%d lines in the log, want 1", n)
	}

	for i := range maxGuestsEach - 1 {
		arrive("192.0.2.7:%d", i)
		if err := d.admit(all[len(all)-1], "k1"); err != nil {
			t.Fatal(err)
		}
	}
	arrive("192.0.2.7:1")
	if err := d.admit(all[len(all)-1], "k1"); model.CodeOf(err) != model.CodeUnavailable {
		t.Errorf("one too many of a key: %v", err)
	}
	arrive("192.0.2.8:1")
	if err := d.admit(all[len(all)-1], "k2"); err != nil {
		t.Errorf("another key: %v", err)
	}
}

// fullListener has no descriptors for a while.
type fullListener struct {
	net.Listener
	errors []error
}

func (l *fullListener) Accept() (net.Conn, error) {
	if len(l.errors) == 0 {
		return &fakeConn{from: "192.0.2.1:1"}, nil
	}
	err := l.errors[0]
	l.errors = l.errors[1:]
	return nil, err
}

// TestNoDescriptors: a server that has no descriptor for the next connection shows strangers out and goes on.
func TestNoDescriptors(t *testing.T) {
	var log bytes.Buffer
	d := newDoor(slog.New(slog.NewTextHandler(&log, nil)), time.Hour)
	stranger := &fakeConn{from: "192.0.2.2:1"}
	v := d.arrived(stranger)
	t.Cleanup(func() { _ = v.Close() })
	full := func(e error) error { return &net.OpError{Op: "accept", Err: e} }
	g := &guarded{&fullListener{errors: []error{full(syscall.EMFILE), full(syscall.ENFILE), full(syscall.ENOBUFS), full(syscall.ENOMEM)}}, d}
	c, err := g.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	if !stranger.gone() || strings.Count(log.String(), "\n") != 1 {
		t.Errorf("shown out: %v; log:\n%s", stranger.gone(), log.String())
	}
	g.Listener = &fullListener{errors: []error{full(net.ErrClosed)}}
	if _, err := g.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}
