package transport

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestUnixPeers(t *testing.T) {
	noLeaks(t)
	client, server := unixPair(t, Options{}, Options{})
	for name, c := range map[string]*Conn{"client": client, "server": server} {
		p, ok := c.Peer()
		if want := (Peer{UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), PID: int32(os.Getpid())}); !ok || p != want {
			t.Errorf("%s: got %+v, %t, want %+v", name, p, ok, want)
		}
		if !c.Local() {
			t.Errorf("%s is not local", name)
		}
	}
	if client.Header() != nil || server.Header().Get("Sec-Websocket-Protocol") != Subprotocol {
		t.Errorf("headers: %v, %v", client.Header(), server.Header())
	}
}

func TestListenUnix(t *testing.T) {
	noLeaks(t)
	deep := filepath.Join(t.TempDir(), strings.Repeat("d", 100), strings.Repeat("e", 100))
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		path string
		mode os.FileMode
	}{
		{"short", filepath.Join(t.TempDir(), "s"), 0o600},
		{"long", filepath.Join(deep, "server.sock"), 0o600},
		{"for all", filepath.Join(deep, "s"), 0o666},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for range 2 { // the second time over a socket that was left behind
				l, err := ListenUnix(tt.path, tt.mode)
				if err != nil {
					t.Fatal(err)
				}
				st, err := os.Lstat(tt.path)
				if err != nil || st.Mode() != os.ModeSocket|tt.mode {
					t.Errorf("got %v, %v, want a socket of mode %o", st.Mode(), err, tt.mode)
				}
				if got := l.Addr().String(); got != tt.path {
					t.Errorf("address: got %s, want %s", got, tt.path)
				}
				_ = l.(*unixListener).UnixListener.Close() // as if killed
			}
			l, err := ListenUnix(tt.path, tt.mode)
			if err != nil {
				t.Fatal(err)
			}
			s := &testServer{url: "unix://" + tt.path}
			t.Run("serves", func(t *testing.T) {
				s.start(t, l)
				client, server := s.connect(t, DialOptions{})
				if err := client.Send(Envelope{ID: 3, Message: &Ping{}}); err != nil {
					t.Fatal(err)
				}
				if envs, err := server.Receive(); err != nil || envs[0].ID != 3 {
					t.Errorf("got %v, %v", envs, err)
				}
			})
			if _, err := os.Lstat(tt.path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("after close: %v", err)
			}
		})
	}
}

func TestListenUnixRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{
		file:                                 "exists and is not a socket",
		dir + "/none/s":                      "no such file",
		dir + "/" + strings.Repeat("n", 120): "file name too long",
	} {
		if _, err := ListenUnix(path, 0o600); err == nil || !strings.Contains(err.Error(), text) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v, want %q", path, err, text)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("the file now has %q, %v", b, err)
	}
}

// The listener must not remove the socket of a server that has taken over.
func TestListenUnixLeavesOthersSockets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first, err := ListenUnix(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	second, err := ListenUnix(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the second server's socket: %v", err)
	}
	_ = second.Close()
	_ = second.Close()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after close: %v", err)
	}
}
