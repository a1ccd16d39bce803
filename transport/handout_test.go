package transport

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/model"
)

// handingOut answers connections to a Unix socket, one after the other.
func handingOut(t *testing.T, answer func(*net.UnixConn)) *Client {
	t.Helper()
	dir, err := os.MkdirTemp("", "commyfs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.AcceptUnix()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 1024))
			answer(c)
			_ = c.Close()
		}
	}()
	return &Client{conn: &Conn{socket: l.Addr().String()}}
}

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// What a server hands out is taken if it is two files; whatever else it answers is an error, and leaves no descriptor.
func TestOpenBare(t *testing.T) {
	file, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	fd := int(file.Fd())
	const ok = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
	send := func(text string, fds ...int) func(*net.UnixConn) {
		return func(c *net.UnixConn) {
			var oob []byte
			if len(fds) > 0 {
				oob = unix.UnixRights(fds...)
			}
			_, _, _ = c.WriteMsgUnix([]byte(text), oob, nil)
		}
	}
	for _, c := range []struct {
		name   string
		answer func(*net.UnixConn)
		want   error
	}{
		{"two", send(ok, fd, fd), nil},
		{"in pieces", func(c *net.UnixConn) { send(ok[:3], fd, fd)(c); send(ok[3:])(c) }, nil},
		{"each by itself", func(c *net.UnixConn) { send(ok[:3], fd)(c); time.Sleep(time.Millisecond); send(ok[3:], fd)(c) }, nil},
		{"none", send(ok), model.ErrInternal},
		{"one", send(ok, fd), model.ErrInternal},
		{"three", send(ok, fd, fd, fd), model.ErrInternal},
		{"many", func(c *net.UnixConn) {
			for range 100 {
				send("x", fd, fd)(c)
			}
		}, model.ErrInternal},
		{"refused", send("HTTP/1.1 400 Bad Request\r\nCommyfs-Code: 7\r\nContent-Length: 3\r\n\r\nno\n"), model.ErrDenied},
		{"refused, with files", send("HTTP/1.1 400 Bad Request\r\nCommyfs-Code: 7\r\nContent-Length: 3\r\n\r\nno\n", fd, fd), model.ErrDenied},
		{"an older server", send("HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\nno\n"), model.ErrUnsupported},
		{"a large answer", send(strings.Repeat("x", 1<<16)), model.ErrInternal},
		{"no HTTP", send("hello", fd, fd), model.ErrDisconnected},
		{"nothing", send(""), model.ErrDisconnected},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := handingOut(t, c.answer)
			before := descriptors(t)
			memory, bell, err := client.OpenBare(t.Context(), 1, true)
			if err == nil {
				_, _ = memory.Close(), bell.Close()
			}
			if !errors.Is(err, c.want) {
				t.Errorf("got error %v, want %v", err, c.want)
			}
			if n := descriptors(t); n > before+1 { // the other end may not be closed yet
				t.Errorf("%d descriptors, %d before", n, before)
			}
		})
	}
	silent := handingOut(t, func(*net.UnixConn) { <-t.Context().Done() })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, _, err := silent.OpenBare(ctx, 1, false); !errors.Is(err, model.ErrDisconnected) {
		t.Errorf("a silent server: %v", err)
	}
	if _, _, err := (&Client{conn: &Conn{}}).OpenBare(t.Context(), 1, false); !errors.Is(err, model.ErrUnsupported) {
		t.Errorf("over a network: %v", err)
	}
}

func TestParseHandOut(t *testing.T) {
	for target, want := range map[string]uint64{
		"/memory?service=7": 7, "/memory?service=7&write=1": 7, "/memory": 0, "/memory?service=-1": 0, "/memory?service=x": 0,
		"/memory?service=99999999999999999999": 0, "/memory?service=7;write=1": 0,
	} {
		service, write, err := ParseHandOut(httptest.NewRequest(http.MethodGet, target, nil))
		if service != want || (err == nil) != (want != 0) || write && !strings.HasSuffix(target, "&write=1") {
			t.Errorf("%s: %d, %v, %v", target, service, write, err)
		}
	}
	if _, _, err := ParseHandOut(httptest.NewRequest(http.MethodPost, "/memory?service=7", nil)); err == nil {
		t.Error("a POST is taken")
	}
}
