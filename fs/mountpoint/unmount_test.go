package mountpoint_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/fs/mountpoint"
	"github.com/commy-project/commyfs/internal/testenv"
)

func TestUnmountDir(t *testing.T) {
	testenv.NeedFUSE(t)
	testenv.Root(t)
	t.Run("live", func(t *testing.T) {
		m := mounted(t, mountpoint.Options{})
		unmounts(t, m.Dir(), false)
	})
	t.Run("dead", func(t *testing.T) {
		m := mountOn(t, t.TempDir(), mountpoint.Options{})
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(m.Dir()); !errors.Is(err, unix.ENOTCONN) {
			t.Fatalf("stat of a mount without daemon: %v", err)
		}
		unmounts(t, m.Dir(), false)
	})
	t.Run("hung", func(t *testing.T) {
		m := mountOn(t, t.TempDir(), mountpoint.Options{})
		unmounts(t, m.Dir(), false)
	})
	t.Run("hung and used", func(t *testing.T) {
		m := mountOn(t, t.TempDir(), mountpoint.Options{})
		fd, err := unix.Open(m.Dir(), unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if err := mountpoint.Unmount(m.Dir(), false); !errors.Is(err, mountpoint.ErrBusy) {
			t.Errorf("Unmount: %v", err)
		}
		unmounts(t, m.Dir(), true)
	})
	t.Run("not mounted", func(t *testing.T) {
		refuses(t, t.TempDir(), mountpoint.ErrNotMounted)
	})
	t.Run("inside a mount", func(t *testing.T) {
		m := mounted(t, mountpoint.Options{})
		refuses(t, filepath.Join(m.Dir(), "file"), mountpoint.ErrNotMounted)
	})
	t.Run("missing", func(t *testing.T) {
		refuses(t, filepath.Join(t.TempDir(), "no"), os.ErrNotExist)
	})
	t.Run("tmpfs", func(t *testing.T) {
		dir := t.TempDir()
		tmpfs(t, dir)
		refuses(t, dir, mountpoint.ErrNotOurs)
	})
	t.Run("other fuse", func(t *testing.T) {
		m := mountOn(t, t.TempDir(), mountpoint.Options{Subtype: "other"})
		refuses(t, m.Dir(), mountpoint.ErrNotOurs)
		if err := m.Unmount(false); err != nil {
			t.Error(err)
		}
	})
}

func unmounts(t *testing.T, dir string, lazy bool) {
	t.Helper()
	if err := mountpoint.Unmount(dir, lazy); err != nil {
		t.Error(err)
	}
	if line := mountinfo(t, dir); line != "" {
		t.Errorf("still mounted: %s", line)
	}
}

func refuses(t *testing.T, dir string, want error) {
	t.Helper()
	before := mountinfo(t, dir)
	for _, lazy := range []bool{false, true} {
		err := mountpoint.Unmount(dir, lazy)
		if !errors.Is(err, want) {
			t.Errorf("Unmount(%s, %v): %v, want %v", dir, lazy, err, want)
		}
	}
	if after := mountinfo(t, dir); after != before {
		t.Errorf("mountinfo was %q, is %q", before, after)
	}
}

// A busy mount is not unmounted, and the error names who holds it.
func TestUnmountBusy(t *testing.T) {
	testenv.Root(t)
	sleeper := func(t *testing.T, m *mountpoint.Mountpoint, shell string) (want string, end func()) {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", shell+"; echo; exec sleep 1000", "sh", m.Dir())
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		end = func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		t.Cleanup(end)
		if _, err := out.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		testenv.Eventually(t, 5*time.Second, func() error {
			if comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", cmd.Process.Pid)); string(comm) != "sleep\n" {
				return fmt.Errorf("it is %q", comm)
			}
			return nil
		})
		return fmt.Sprintf("pid %d (sleep, ", cmd.Process.Pid), end
	}
	for _, tt := range []struct {
		name string
		hold func(t *testing.T, m *mountpoint.Mountpoint) (want string, end func())
	}{
		{"working directory", func(t *testing.T, m *mountpoint.Mountpoint) (string, func()) {
			want, end := sleeper(t, m, `cd "$1"`)
			return want + "working directory)", end
		}},
		{"open file", func(t *testing.T, m *mountpoint.Mountpoint) (string, func()) {
			want, end := sleeper(t, m, `exec 7<"$1/file"`)
			return want + "open file)", end
		}},
		{"mapped file", func(t *testing.T, m *mountpoint.Mountpoint) (string, func()) {
			fd, err := unix.Open(filepath.Join(m.Dir(), "file"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			mem, err := unix.Mmap(fd, 0, 5, unix.PROT_READ, unix.MAP_PRIVATE)
			unix.Close(fd)
			if err != nil {
				t.Fatal(err)
			}
			return fmt.Sprintf("pid %d (mountpoint.test, mapped file)", os.Getpid()), func() {
				if err := unix.Munmap(mem); err != nil {
					t.Error(err)
				}
			}
		}},
		{"mount inside", func(t *testing.T, m *mountpoint.Mountpoint) (string, func()) {
			inside := filepath.Join(m.Dir(), "file")
			if err := unix.Mount("/dev/null", inside, "", unix.MS_BIND, ""); err != nil {
				t.Fatal(err)
			}
			return "the mount " + inside, func() {
				if err := unix.Unmount(inside, 0); err != nil {
					t.Error(err)
				}
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := mounted(t, mountpoint.Options{})
			want, end := tt.hold(t, m)
			for _, unmount := range []func() error{
				func() error { return m.Unmount(false) },
				func() error { return mountpoint.Unmount(m.Dir(), false) },
			} {
				err := unmount()
				if !errors.Is(err, mountpoint.ErrBusy) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
					t.Errorf("error %q, want one line with %q", err, want)
				}
			}
			end()
		})
	}
}
