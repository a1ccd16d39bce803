package integration

import (
	"os"
	"strings"
	"testing"
)

// What the other tests rely on to see a failure has to see one.

func TestHarness_Sealed(t *testing.T) {
	for _, n := range []int{32, 100, 5000} {
		a, b := sealed(n, 1), sealed(n, 2)
		if len(a) != n || a == b {
			t.Errorf("%d bytes, want %d; equal: %v", len(a), n, a == b)
		}
		if err := checkSealed([]byte(a)); err != nil {
			t.Error(err)
		}
		for _, bad := range []string{"", a[:n/2], a[n/2:], a[:n/2] + b[n/2:], a + b, a[:n-1]} {
			if checkSealed([]byte(bad)) == nil {
				t.Errorf("not seen as torn: %s", quote(bad))
			}
		}
	}
}

func TestHarness_Inotify(t *testing.T) {
	h := NewHost(t)
	dir := h.NewDir()
	in := h.Inotify(dir)
	h.MustShell(`cd "$1"; echo x > v; mkdir d; mv v w; rm w; rmdir d`, dir)
	in.Expect(0, "CREATE v", "MODIFY v", "CLOSE_WRITE v", "CREATE,ISDIR d", "MOVED_FROM v", "MOVED_TO w", "DELETE w", "DELETE,ISDIR d")
	if got := in.Events()[0]; got.Path != "v" || got.has("ISDIR") {
		t.Errorf("first event %v", got)
	}
}

func TestHarness_Hosts(t *testing.T) {
	na, nb := Link(t)
	a, b := NewHost(t), NewHost(t)
	a.netns, b.netns = na.Name, nb.Name
	const listen = `
import socket, sys
s = socket.create_server((sys.argv[1], 7443))
print("ready", flush=True)
s.accept()[0].sendall(b"hello")`
	const connect = `
import socket, sys
s = socket.create_connection((sys.argv[1], 7443), 1)
print(s.recv(5).decode(), end="")`
	server := a.StartCommand("python3", "-uc", listen, na.Addr)
	server.WaitLine(runBound, "rea")
	na.Unplug()
	if r := runCmd(t, b.command("python3", "-c", connect, na.Addr)); r.Code == 0 {
		t.Errorf("connected without a cable: %v", r)
	}
	na.Plug()
	if r := runCmd(t, b.command("python3", "-c", connect, na.Addr)); r.Stdout != "hello" {
		t.Errorf("by the cable: %v", r)
	}
	if code := server.Wait(runBound); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestHarness_User(t *testing.T) {
	h := NewHost(t)
	h.BelongsTo(nobody)
	if got := strings.TrimSpace(h.MustShell(`id -u; id -g; touch "$1/file"`, h.NewDir())); got != "65534\n65534" {
		t.Errorf("runs as %q", got)
	}
	if _, err := os.Stat(h.path("m1/file")); err != nil {
		t.Error(err)
	}
}
