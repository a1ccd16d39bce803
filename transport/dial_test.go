package transport

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/commy-project/commyfs/model"
)

func TestNobodyThere(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	stale := filepath.Join(dir, "stale")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = tcp.Close()
	for _, tt := range []struct {
		name string
		url  string
		want error
	}{
		{"no socket", "unix://" + dir + "/none", syscall.ENOENT},
		{"no directory, long path", "unix://" + dir + strings.Repeat("/none", 30), syscall.ENOENT},
		{"socket of a dead server", "unix://" + stale, syscall.ECONNREFUSED},
		{"no socket but a file", "unix://" + file, syscall.ECONNREFUSED},
		{"closed port", "ws://" + tcp.Addr().String(), syscall.ECONNREFUSED},
		{"closed port with TLS", "wss://" + tcp.Addr().String(), syscall.ECONNREFUSED},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Dial(t.Context(), DialOptions{URL: tt.url})
			if !errors.Is(err, model.ErrDisconnected) || !errors.Is(err, tt.want) || !strings.HasPrefix(err.Error(), tt.url+": server unreachable: ") {
				t.Errorf("got %v, want model.ErrDisconnected and %v", err, tt.want)
			}
		})
	}
}

func TestDialRefusesURLs(t *testing.T) {
	for _, url := range []string{
		"", "server:7", "http://localhost:7", "unix://relative/path", "wss://", "wss://:7", "wss://u:secret@h:7", "wss://h:7/?key=1",
		"ws://192.0.2.1:7", "ws://example.com:7", "ws://[2001:db8::1]:7", "ws://localhost.example.com:7", "wss://h:port",
	} {
		_, err := Dial(t.Context(), DialOptions{URL: url, NetDial: func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("dialled")
		}})
		if !errors.Is(err, model.ErrInvalid) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: got %v, want model.ErrInvalid", url, err)
		}
	}
	_, err := Dial(t.Context(), DialOptions{URL: "wss://h:7", CAFile: "/nonexistent"})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no CA file: got %v", err)
	}
}

func TestAnswersThatAreNotOurs(t *testing.T) {
	noLeaks(t)
	for _, tt := range []struct {
		name   string
		answer string
		want   error
		text   string
	}{
		{"web server", "HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nnot here\n", model.ErrUnsupported, "not a commyfs server: it answers 404 Not Found: not here"},
		{"mail server", "220 mail.example ESMTP\r\n", model.ErrDisconnected, "malformed HTTP"},
		{"closes", "", model.ErrDisconnected, "unexpected EOF"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			near, far := net.Pipe()
			done := make(chan struct{})
			go func() {
				defer close(done)
				if _, err := http.ReadRequest(bufio.NewReader(far)); err != nil {
					t.Error(err)
				}
				_, _ = io.WriteString(far, tt.answer)
				_ = far.Close()
			}()
			_, err := Dial(t.Context(), DialOptions{URL: "ws://localhost:7", NetDial: func(context.Context, string, string) (net.Conn, error) { return near, nil }})
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v, want %v and %q", err, tt.want, tt.text)
			}
			<-done
		})
	}
	t.Run("no TLS", func(t *testing.T) {
		s := &testServer{}
		s.onTCP(t, nil)
		_, err := Dial(t.Context(), DialOptions{URL: "wss" + strings.TrimPrefix(s.url, "ws")})
		if !errors.Is(err, model.ErrUnsupported) || !strings.Contains(err.Error(), "does not speak TLS") {
			t.Errorf("got %v, want model.ErrUnsupported", err)
		}
	})
	t.Run("upgrade without subprotocol", func(t *testing.T) {
		s := &testServer{}
		s.onTCP(t, nil)
		c, err := Dial(t.Context(), DialOptions{URL: s.url, NetDial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			var d net.Dialer
			c, err := d.DialContext(ctx, network, addr)
			return &replacer{Conn: c}, err
		}})
		if !errors.Is(err, model.ErrUnsupported) {
			t.Errorf("got %v, %v, want model.ErrUnsupported", c, err)
		}
	})
}

// replacer hides the subprotocol in the server's answer.
type replacer struct{ net.Conn }

func (r *replacer) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	copy(p, strings.Replace(string(p[:n]), "Sec-WebSocket-Protocol", "Sec-WebSocket-Protocon", 1))
	return n, err
}

// A server that accepts and says nothing holds Dial no longer than the caller wants.
func TestDialIsBounded(t *testing.T) {
	noLeaks(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	for _, scheme := range []string{"ws", "wss"} {
		url := scheme + "://" + l.Addr().String()
		_, err := Dial(t.Context(), DialOptions{URL: url, Timeout: 50 * time.Millisecond})
		if !errors.Is(err, model.ErrDisconnected) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s timeout: got %v, want model.ErrDisconnected and DeadlineExceeded", scheme, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan error, 1)
		go func() {
			_, err := Dial(ctx, DialOptions{URL: url, Timeout: time.Hour})
			got <- err
		}()
		c, err := l.Accept() // the one of the timeout
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		if c, err = l.Accept(); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := <-got; !errors.Is(err, model.ErrDisconnected) || !errors.Is(err, context.Canceled) {
			t.Errorf("%s cancel: got %v, want model.ErrDisconnected and Canceled", scheme, err)
		}
		_ = c.Close()
	}
}
