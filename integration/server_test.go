package integration

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
)

// lingerBound is how long a server that a mount has started may stay after its last client.
const lingerBound = 20 * time.Second

// noProcess waits until the host has no process left.
func (h *Host) noProcess() {
	h.t.Helper()
	testenv.Eventually(h.t, slower(lingerBound), func() error {
		if left := processes(h.dir); len(left) > 0 {
			return fmt.Errorf("processes left: %v", left)
		}
		return nil
	})
}

// TestLastMountEndsServer: the first command starts a server, the last mount to go ends it, and everything is kept in between.
func TestLastMountEndsServer(t *testing.T) {
	t.Parallel()
	h := NewHost(t)
	a := h.Mount()
	s := h.Status()
	if !s.Connected || s.Server.Mode != "auto" || s.Server.Pid == a.Pid() {
		t.Errorf("status: %+v", s)
	}
	b := h.Mount()
	if got := h.Status(); got.Server.Pid != s.Server.Pid || len(got.Mounts) != 2 {
		t.Errorf("status with two mounts: %+v", got)
	}
	a.Mkdir("t/s")
	a.Write("t/s/v", "kept")
	a.Unmount()
	b.WaitValue("t/s/v", "kept")
	// Longer than a server stays without clients would be a sleep; that it is the same one later says it stayed.
	if got := h.Status(); got.Server.Pid != s.Server.Pid || len(got.Mounts) != 1 {
		t.Errorf("status with one mount: %+v", got)
	}
	b.Unmount()
	h.noProcess()
	if _, err := os.Stat(h.Runtime() + "/server.sock"); !errors.Is(err, iofs.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}

	if got := h.Must("get", "t/s/v"); got != "kept" {
		t.Errorf("a command that starts its server: %q", got)
	}
	h.noProcess()
	c := h.MountOn(b.Dir)
	if got := c.Read("t/s/v"); got != "kept" {
		t.Errorf("mounted again: %q", got)
	}
	c.Unmount()

	t.Run("daemon", func(t *testing.T) {
		h.Must("mount", b.Dir, "--daemon")
		if got := len(mountsBelow(b.Dir)); got != 1 {
			t.Errorf("%d mounts when mount --daemon has returned", got)
		}
		h.MustShell(`cat "$1"`, b.Path("t/s/v"))
		h.Must("umount", b.Dir)
		if got := len(mountsBelow(b.Dir)); got != 0 {
			t.Errorf("%d mounts when umount has returned", got)
		}
		h.noProcess()
	})
	t.Run("state directory removed", func(t *testing.T) {
		m := h.Mount("--timeout", "1s")
		pid := h.Status().Server.Pid
		if err := os.RemoveAll(h.State()); err != nil {
			t.Fatal(err)
		}
		h.gone(pid)
		m.Unmount()
	})
}

// TestServeTakesOver: a server that somebody starts replaces one that a mount started; two of them do not meet.
func TestServeTakesOver(t *testing.T) {
	t.Parallel()
	h, a, b := twoMounts(t)
	a.Write("t/s/v", "before")
	auto := h.Status().Server
	serve := h.Serve()
	testenv.Eventually(t, slower(10*time.Second), func() error {
		if s := h.Status().Server; s.Pid != serve.Pid() || s.Mode != "serve" {
			return fmt.Errorf("server %+v, want pid %d", s, serve.Pid())
		}
		return nil
	})
	h.gone(auto.Pid)
	if got := b.Read("t/s/v"); got != "before" {
		t.Errorf("value %q", got)
	}
	a.Write("t/s/v", "after")
	b.WaitValue("t/s/v", "after")
	a.Write("t/s/v", "again")
	if got := b.Read("t/s/v"); got != "again" {
		t.Errorf("value %q", got)
	}

	wantError(t, h.Run("serve"), 1, strconv.Itoa(serve.Pid()))
	if s := h.Status().Server; s.Pid != serve.Pid() {
		t.Errorf("server %+v, want pid %d", s, serve.Pid())
	}
	// One that was started by hand stays without clients.
	a.Unmount()
	b.Unmount()
	if got := h.Must("get", "t/s/v"); got != "again" {
		t.Errorf("value %q", got)
	}
	if s := h.Status().Server; s.Pid != serve.Pid() {
		t.Errorf("server %+v, want pid %d", s, serve.Pid())
	}
	serve.Stop()
}
