package integration

import (
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestNotify: a service manager hears when the server and a mount are ready, and when they end; an automatic server is nobody's
// service.
func TestNotify(t *testing.T) {
	t.Parallel()
	h := NewHost(t)
	socket := h.path("notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	buf := make([]byte, 4096)
	want := func(want string) {
		t.Helper()
		if err := l.SetReadDeadline(time.Now().Add(slower(10 * time.Second))); err != nil {
			t.Fatal(err)
		}
		if n, err := l.Read(buf); err != nil || !strings.HasPrefix(string(buf[:n]), want) {
			t.Errorf("told %q, %v; want %q", buf[:n], err, want)
		}
	}
	h.env = append(h.env, "NOTIFY_SOCKET="+socket)
	m := h.Mount()
	want("READY=1\nSTATUS=mounted " + m.Dir)
	m.Signal(syscall.SIGTERM)
	want("STOPPING=1")
	m.Wait(slower(10 * time.Second))
	s := h.Start("serve")
	want("READY=1\nSTATUS=listening ")
	s.Signal(syscall.SIGTERM)
	want("STOPPING=1")
	s.Wait(slower(10 * time.Second))
}
