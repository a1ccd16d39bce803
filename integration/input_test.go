package integration

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/commy-project/commyfs/internal/testenv"
	"golang.org/x/sys/unix"
)

// wantError checks that a command failed as it should: with the code, with nothing on standard output, and with one
// line that has all the words.
func wantError(t *testing.T, r Result, code int, says ...string) {
	t.Helper()
	line := strings.TrimSuffix(r.Stderr, "\n")
	bad := r.Code != code || strings.Contains(line, "\n") || !strings.HasPrefix(line, "commyfs: ") || r.Stdout != ""
	for _, s := range says {
		if !strings.Contains(strings.ToLower(line), strings.ToLower(s)) {
			bad = true
		}
	}
	if bad {
		t.Errorf("want exit code %d and one line that has %q: %v", code, says, r)
	}
}

// wantFailure turns success into an error and back.
func wantFailure(err error) error {
	if err == nil {
		return errors.New("succeeds")
	}
	return nil
}

// TestBadInput_TooLarge: what a variable cannot hold is refused when it is written, and the value stays.
func TestBadInput_TooLarge(t *testing.T) {
	h := NewHost(t)
	m := h.Mount()
	m.Mkdir("t/s")
	m.Write("t/s/v", "value")
	big := make([]byte, 1<<20+1)
	if err := os.WriteFile(h.path("big"), big, 0o644); err != nil {
		t.Fatal(err)
	}
	r := h.Shell(`cat "$1" > "$2"`, h.path("big"), m.Path("t/s/v"))
	if r.Code == 0 || !strings.Contains(r.Stderr, "File too large") {
		t.Errorf("want EFBIG: %v", r)
	}
	if got := m.Read("t/s/v"); got != "value" {
		t.Errorf("value is %s", quote(got))
	}
	// The largest that is allowed is kept.
	if err := os.WriteFile(m.Path("t/s/v"), big[1:], 0o644); err != nil {
		t.Error(err)
	}
}

func TestBadInput_Mountpoints(t *testing.T) {
	t.Parallel()
	h := NewHost(t)
	m := h.Mount()
	dir := func(name string) string {
		d := h.path(name)
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
		return d
	}
	file := filepath.Join(dir("full"), "a-file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(h.State(), h.path("link")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, dir string
		says      []string
	}{
		{"missing", h.path("none"), []string{h.path("none"), "mkdir"}},
		{"a file", file, []string{"not a directory"}},
		{"not empty", h.path("full"), []string{"empty", "a-file"}},
		{"mounted already", m.Dir, []string{"mounted"}},
		{"the state directory", h.State(), []string{"state"}},
		{"below the state directory", dir("state/below"), []string{"state"}},
		{"the runtime directory", h.Runtime(), []string{"run"}},
		{"above both", h.dir, nil},
		{"by a symbolic link", h.path("link"), []string{"state"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(mountsBelow(c.dir))
			wantError(t, h.Run("mount", c.dir), 1, c.says...)
			if after := len(mountsBelow(c.dir)); after != before {
				t.Errorf("%d mounts, before %d", after, before)
			}
		})
	}
	m.Mkdir("t/s")
	m.Write("t/s/v", "still works")

	t.Run("inside a mount", func(t *testing.T) {
		m.Mkdir("t/s/inside")
		m.Write("t/s/inside/v", "x")
		wantError(t, h.Run("mount", m.Path("t/s/inside")), 1)
		if got := m.Read("t/s/inside/v"); got != "x" {
			t.Errorf("value %q", got)
		}
	})
	t.Run("busy", func(t *testing.T) {
		p := h.StartCommand("dash", "-c", `cd "$1" && echo "in it" && read -r line < "$2"`, "dash", m.Path("t/s"), fifo(t, h))
		p.WaitLine(runBound, "in")
		wantError(t, h.Run("umount", m.Dir), 1, "in use by", "--lazy", fmt.Sprint(p.Pid()))
		m.Write("t/s/v", "after a umount that was refused")
		p.Kill()
		if r := h.Run("umount", m.Dir); r.Code != 0 {
			t.Error(r)
		}
		if code := m.Wait(runBound); code != 0 {
			t.Errorf("exit code %d of the mount", code)
		}
	})
}

func fifo(t *testing.T, h *Host) string {
	t.Helper()
	p := h.path("fifo")
	if err := unix.Mkfifo(p, 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestBadInput_Machine(t *testing.T) {
	t.Parallel()
	testenv.Need(t, "unshare", "setpriv")

	t.Run("busy port", func(t *testing.T) {
		h := NewHost(t)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		wantError(t, h.Run("serve", "--listen", l.Addr().String(), "--tls-self-signed"), 1, l.Addr().String(), "in use")
		h.Must("set", "t/s/v", "the state is free again")
	})

	t.Run("state directory of another user", func(t *testing.T) {
		h := NewHost(t)
		if err := os.Chown(h.State(), 65534, 65534); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"mount", h.NewDir()}, {"serve"}, {"get", "t/s/v"}} {
			wantError(t, h.Run(args...), 1, h.State(), "65534")
		}
	})

	t.Run("state directory is a file", func(t *testing.T) {
		h := NewHost(t)
		if err := os.Remove(h.State()); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(h.State(), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		wantError(t, h.Run("mount", h.NewDir()), 1, h.State())
	})

	// A machine of its own: what follows happens in a private mount namespace with a /dev that the test makes.
	ownDev := func(h *Host, fuse, run string, args ...string) Result {
		script := `mount -t tmpfs none /dev; mknod -m 666 /dev/null c 1 3; mknod -m 666 /dev/urandom c 1 9; ` + fuse + run
		return runCmd(h.t, h.command("unshare", append([]string{"--mount", "--propagation", "private", "sh", "-ec", script, "sh", binary}, args...)...))
	}
	t.Run("no /dev/fuse", func(t *testing.T) {
		h := NewHost(t)
		r := ownDev(h, "", `exec "$@"`, "mount", h.NewDir())
		wantError(t, r, 1, "/dev/fuse", "modprobe fuse")
	})
	t.Run("/dev/fuse not permitted", func(t *testing.T) {
		h := NewHost(t)
		h.BelongsTo(nobody)
		h.uid = 0 // the namespace is root's to make
		r := ownDev(h, "mknod -m 600 /dev/fuse c 10 229; ",
			`exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"`, "mount", h.NewDirOf(nobody))
		wantError(t, r, 1, "/dev/fuse", "0666")
	})
}

// TestBadInput_InsideMount: a mount inside a mount would have the daemon wait for itself; a tenant that the mount does not
// show cannot be made through it.
func TestBadInput_InsideMount(t *testing.T) {
	t.Parallel()
	h := NewHost(t)
	m := h.Mount("--tenant", "t")
	m.Mkdir("t/s")
	if r := h.Run("mount", m.Path("t/s")); r.Code != 1 || !strings.Contains(r.Stderr, "inside") || strings.Count(r.Stderr, "\n") != 1 {
		t.Errorf("want exit code 1 and one line: %v", r)
	}
	if err := os.Mkdir(m.Path("u"), 0o755); !errors.Is(err, unix.EACCES) {
		t.Errorf("mkdir of a tenant that is not shown: %v", err)
	}
	if err := os.Rename(m.Path("t"), m.Path("u")); !errors.Is(err, unix.EACCES) {
		t.Errorf("rename to one: %v", err)
	}
	if got := h.Must("ls"); strings.Contains(got, "u") {
		t.Errorf("it was made: %q", got)
	}
}
