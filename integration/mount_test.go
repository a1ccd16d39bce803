package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
	"golang.org/x/sys/unix"
)

// readyBound is how long a mount or a server may take until it says that it is ready, with a server to be started.
const readyBound = 30 * time.Second

// Mount is a running `commyfs mount`.
type Mount struct {
	*Proc
	h   *Host
	Dir string
}

// Mount mounts on a new directory and waits until that is ready.
func (h *Host) Mount(args ...string) *Mount {
	h.t.Helper()
	return h.MountOn(h.NewDir(), args...)
}

// NewDir makes a directory to mount on.
func (h *Host) NewDir() string {
	h.t.Helper()
	return h.NewDirOf(h.uid)
}

// NewDirOf is [Host.NewDir] for another user.
func (h *Host) NewDirOf(uid int) string {
	h.t.Helper()
	h.mounts++
	dir := h.path("m" + strconv.Itoa(h.mounts))
	if err := os.Mkdir(dir, 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.Chown(dir, uid, uid); err != nil {
		h.t.Fatal(err)
	}
	return dir
}

// MountOn mounts on a directory that is there.
func (h *Host) MountOn(dir string, args ...string) *Mount {
	h.t.Helper()
	m := &Mount{h.Start(append([]string{"mount", dir}, args...)...), h, dir}
	if got := m.WaitLine(readyBound, "mounted "); got != dir {
		h.t.Fatalf("printed %q, want %q", "mounted "+got, "mounted "+dir)
	}
	return m
}

// Path is the path of a variable or directory in the mount.
func (m *Mount) Path(name string) string { return m.Dir + "/" + name }

// Write replaces a value as os.WriteFile does: open with O_TRUNC, write, close.
func (m *Mount) Write(name, value string) {
	m.t.Helper()
	if err := os.WriteFile(m.Path(name), []byte(value), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

// Read reads a value through a fresh open.
func (m *Mount) Read(name string) string {
	m.t.Helper()
	b, err := os.ReadFile(m.Path(name))
	if err != nil {
		m.t.Fatal(err)
	}
	return string(b)
}

// Mkdir makes a directory and those above it.
func (m *Mount) Mkdir(name string) {
	m.t.Helper()
	if err := os.MkdirAll(m.Path(name), 0o755); err != nil {
		m.t.Fatal(err)
	}
}

// WaitValue waits until a variable has a value.
func (m *Mount) WaitValue(name, want string) {
	m.t.Helper()
	testenv.Eventually(m.t, slower(10*time.Second), func() error {
		b, err := os.ReadFile(m.Path(name))
		if err == nil && string(b) != want {
			err = fmt.Errorf("%s is %s, want %s", name, quote(string(b)), quote(want))
		}
		return err
	})
}

// Version is the variable's version.
func (m *Mount) Version(name string) uint64 {
	m.t.Helper()
	s := m.Xattr(name, "user.commy.version")
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		m.t.Fatalf("user.commy.version of %s is %q", name, s)
	}
	return v
}

// Xattr reads an extended attribute.
func (m *Mount) Xattr(name, attr string) string {
	m.t.Helper()
	buf := make([]byte, 4096)
	n, err := unix.Getxattr(m.Path(name), attr, buf)
	if err != nil {
		m.t.Fatalf("%s of %s: %v", attr, name, err)
	}
	return strings.TrimSpace(string(buf[:n]))
}

// Inode is the inode number of a variable or directory.
func (m *Mount) Inode(name string) uint64 {
	m.t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(m.Path(name), &st); err != nil {
		m.t.Fatalf("%s: %v", name, err)
	}
	return st.Ino
}

// List returns the names in a directory, sorted.
func (m *Mount) List(name string) []string {
	m.t.Helper()
	entries, err := os.ReadDir(m.Path(name))
	if err != nil {
		m.t.Fatal(err)
	}
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// Unmount ends the mount as a service manager does, and it has to end well.
func (m *Mount) Unmount() {
	m.t.Helper()
	m.Signal(syscall.SIGTERM)
	if code := m.Wait(slower(10 * time.Second)); code != 0 {
		m.t.Errorf("exit code %d after SIGTERM\n%s", code, m.logs())
	}
	if left := mountsBelow(m.Dir); len(left) > 0 {
		m.t.Errorf("still mounted: %v", left)
	}
}

// mortal is for a mount that is to be dead when its process is.
const mortal = "--restarts=0"

// KillHard ends a mortal mount with SIGKILL and takes the dead mount away.
func (m *Mount) KillHard() {
	m.t.Helper()
	m.h.crashed = true
	m.Kill()
	if _, err := os.ReadDir(m.Dir); err == nil { // the kernel may still answer stat
		m.t.Errorf("%s can still be used after kill -9 of its mount", m.Dir)
	}
	if r := m.h.Run("umount", m.Dir); r.Code != 0 {
		m.t.Errorf("umount of a dead mount: %v", r)
	}
}

// quote shows a value in a message, shortened.
func quote(s string) string {
	if len(s) > 100 {
		return fmt.Sprintf("%q... (%d bytes)", s[:100], len(s))
	}
	return strconv.Quote(s)
}

// Server is a running `commyfs serve`.
type Server struct {
	*Proc
	URL string // what it listens on, beside the socket
	CA  string // file of the certificate authority, with --tls-self-signed
}

// Serve starts a server in the foreground and waits until it is ready.
func (h *Host) Serve(args ...string) *Server {
	h.t.Helper()
	s := &Server{Proc: h.Start(append([]string{"serve"}, args...)...)}
	s.URL = s.WaitLine(readyBound, "listening ")
	for _, a := range args {
		if a == "--tls-self-signed" {
			s.CA = s.WaitLine(readyBound, "ca ")
			if !filepath.IsAbs(s.CA) {
				h.t.Errorf("ca file %q is not an absolute path", s.CA)
			}
		}
	}
	return s
}

// Stop ends the server as a service manager does, and it has to end well.
func (s *Server) Stop() {
	s.t.Helper()
	s.Signal(syscall.SIGTERM)
	if code := s.Wait(slower(10 * time.Second)); code != 0 {
		s.t.Errorf("exit code %d after SIGTERM\n%s", code, s.logs())
	}
}
