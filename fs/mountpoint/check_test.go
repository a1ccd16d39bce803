package mountpoint_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/fs/mountpoint"
	"github.com/commy-project/commyfs/internal/testenv"
)

func TestCheck(t *testing.T) {
	testenv.NeedFUSE(t)
	base := t.TempDir()
	mkdir(t, base, "empty/inner", "full", "state/deep", "plain")
	if err := os.WriteFile(filepath.Join(base, "full", "entry"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"to-state": "state", "to-plain": "plain", "loop": "loop"} {
		if err := os.Symlink(target, filepath.Join(base, link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name, dir string
		forbidden []string
		want      error
		text      string // what the message must have besides the directory
	}{
		{"fine", "plain", []string{"state"}, nil, ""},
		{"fine through a link", "to-plain", []string{"state"}, nil, ""},
		{"a name that only starts alike", "plain", []string{"plainer", "pla"}, nil, ""},
		{"missing", "no", nil, unix.ENOENT, "mkdir"},
		{"missing below a file", "full/entry/x", nil, unix.ENOTDIR, ""},
		{"link to itself", "loop", nil, unix.ELOOP, ""},
		{"file", "full/entry", nil, unix.ENOTDIR, "directory"},
		{"not empty", "full", nil, unix.ENOTEMPTY, `"entry"`},
		{"the forbidden one", "state", []string{"plain", "state"}, mountpoint.ErrOverlap, "/state"},
		{"through a link", "to-state", []string{"state"}, mountpoint.ErrOverlap, "/state"},
		{"forbidden by a link", "state", []string{"to-state"}, mountpoint.ErrOverlap, "/state"},
		{"inside", "state/deep", []string{"state"}, mountpoint.ErrOverlap, "/state"},
		{"around", "empty", []string{"empty/inner"}, mountpoint.ErrOverlap, "/empty/inner"},
		{"around what is not there yet", "plain", []string{"to-plain/a/b"}, mountpoint.ErrOverlap, "/plain/a/b"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var forbidden []string
			for _, f := range tt.forbidden {
				forbidden = append(forbidden, filepath.Join(base, f))
			}
			dir := filepath.Join(base, tt.dir)
			err := mountpoint.Check(dir, forbidden...)
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Fatalf("Check: %v, want %v", err, tt.want)
			}
			if err != nil && (!strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), tt.text) || strings.Contains(err.Error(), "\n")) {
				t.Errorf("error %q, want one line with %q and %q", err, dir, tt.text)
			}
		})
	}
	t.Run("relative", func(t *testing.T) {
		t.Chdir(base)
		if err := mountpoint.Check("plain", "state"); err != nil {
			t.Error(err)
		}
		if err := mountpoint.Check("state", "./state"); !errors.Is(err, mountpoint.ErrOverlap) {
			t.Errorf("Check: %v", err)
		}
	})
}

func TestCheckMounted(t *testing.T) {
	testenv.NeedFUSE(t)
	t.Run("live", func(t *testing.T) {
		m := mounted(t, mountpoint.Options{FSName: "mine"})
		err := mountpoint.Check(m.Dir())
		if !errors.Is(err, mountpoint.ErrMounted) || !strings.Contains(err.Error(), "mine") {
			t.Errorf("Check: %v", err)
		}
		if got, err := readFile(filepath.Join(m.Dir(), "file")); got != "hello" {
			t.Errorf("after Check: %q, %v", got, err)
		}
	})
	t.Run("dead", func(t *testing.T) {
		dir := t.TempDir()
		for range 3 { // dead mounts pile up where nobody checks
			dead(t, dir)
		}
		if err := mountpoint.Check(dir); err != nil {
			t.Error(err)
		}
		if line := mountinfo(t, dir); line != "" {
			t.Errorf("still mounted: %s", line)
		}
	})
	t.Run("dead, with attributes cached", func(t *testing.T) {
		testenv.Root(t)
		m := mounted(t, mountpoint.Options{})
		var st unix.Stat_t
		if err := unix.Stat(m.Dir(), &st); err != nil {
			t.Fatal(err)
		}
		abort(t, m.Dir())
		if err := unix.Stat(m.Dir(), &st); err != nil {
			t.Fatalf("stat: %v: the attributes were not cached, this test shows nothing", err)
		}
		if err := mountpoint.Check(m.Dir()); err != nil {
			t.Error(err)
		}
	})
	t.Run("dead on a full directory", func(t *testing.T) {
		dir := t.TempDir()
		mkdir(t, dir, "entry")
		dead(t, dir)
		if err := mountpoint.Check(dir); !errors.Is(err, unix.ENOTEMPTY) {
			t.Errorf("Check: %v", err)
		}
	})
	t.Run("dead and forbidden", func(t *testing.T) {
		dir := t.TempDir()
		dead(t, dir)
		if err := mountpoint.Check(dir, dir); !errors.Is(err, mountpoint.ErrOverlap) {
			t.Errorf("Check: %v", err)
		}
		if mountinfo(t, dir) == "" {
			t.Error("Check refused, but unmounted")
		}
		unmounts(t, dir, false)
	})
	t.Run("hung", func(t *testing.T) {
		m := mountOn(t, t.TempDir(), mountpoint.Options{})
		start := time.Now()
		if err := mountpoint.Check(m.Dir()); !errors.Is(err, mountpoint.ErrMounted) {
			t.Errorf("Check: %v", err)
		}
		if d := time.Since(start); d > 10*time.Second {
			t.Errorf("Check took %v", d)
		}
		if err := m.Unmount(true); err != nil {
			t.Error(err)
		}
	})
}

// With fusectl mounted, Check need not send a hung mount anything.
func TestCheckHungWithFusectl(t *testing.T) {
	testenv.NeedFUSE(t)
	testenv.Root(t)
	testenv.Need(t, "unshare")
	cmd := rerun(t, "hung", t.TempDir(),
		`exec unshare -m sh -ec 'mount -t fusectl none /sys/fs/fuse/connections; exec "$0" "$1"' "$0" "$1"`)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func hungWithFusectl(dir string) error {
	m, err := mountpoint.Mount(dir, mountpoint.Options{})
	if err != nil {
		return err
	}
	start := time.Now()
	err = mountpoint.Check(dir)
	if !errors.Is(err, mountpoint.ErrMounted) || time.Since(start) > time.Second {
		return fmt.Errorf("check took %v: %w", time.Since(start), err)
	}
	return errors.Join(m.Unmount(false), m.Close())
}

// FUSE that cannot be used is an error that says what to do.
func TestCheckWithoutFUSE(t *testing.T) {
	testenv.Root(t)
	testenv.Need(t, "unshare", "setpriv")
	for _, tt := range []struct{ name, shell, want string }{
		{"no device", `exec "$0" "$1"`, "modprobe fuse"},
		{"no driver", `mknod /dev/fuse c 10 254; exec "$0" "$1"`, "modprobe fuse"},
		{"not permitted", `mknod -m 0600 /dev/fuse c 10 229; exec setpriv --reuid 65534 --regid 65534 --clear-groups "$0" "$1"`, "chmod 0666 /dev/fuse"},
		{"no helper", `mknod -m 0666 /dev/fuse c 10 229; mount --bind /dev/null "$(command -v fusermount3)"
			exec setpriv --reuid 65534 --regid 65534 --clear-groups env PATH=/nowhere "$0" "$1"`, "install the package fuse3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := rerun(t, "check", tempDir(t, 0o755),
				`exec unshare -m sh -ec 'mount -t tmpfs none /dev; mknod -m 0666 /dev/null c 1 3; `+tt.shell+`' "$0" "$1"`)
			out, err := cmd.CombinedOutput()
			if text := string(out); err == nil || !strings.Contains(text, tt.want) || strings.Count(text, "\n") != 1 {
				t.Errorf("%v, %q: want one line with %q", err, text, tt.want)
			}
		})
	}
}

func mkdir(t *testing.T, base string, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.MkdirAll(filepath.Join(base, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// dead leaves on dir a mount whose daemon is gone.
func dead(t *testing.T, dir string) {
	t.Helper()
	m := mountOn(t, dir, mountpoint.Options{})
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
}

// abort ends the connection of the mount on dir: forced unmounting does, also where it does not unmount because the
// mount is held.
func abort(t *testing.T, dir string) {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Unmount(dir, unix.MNT_FORCE); !errors.Is(err, unix.EBUSY) {
		t.Fatalf("umount2: %v, want EBUSY", err)
	}
}
