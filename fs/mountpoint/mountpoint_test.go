package mountpoint_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/fs/mountpoint"
	"github.com/commy-project/commyfs/internal/testenv"
)

func TestMount(t *testing.T) {
	testenv.NoLeaks(t)
	testenv.NeedFUSE(t)
	real := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	m := mountOn(t, link, mountpoint.Options{FSName: "a b", MaxRead: 65536, AllowOther: true, Extra: []string{"noexec"}})
	wait, err := serve(m)
	if err != nil {
		t.Fatal(err)
	}

	if m.Dir() != real {
		t.Errorf("Dir() = %q, want %q", m.Dir(), real)
	}
	if got, err := readFile(filepath.Join(link, "file")); got != "hello" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	var st unix.Stat_t
	if err := unix.Stat(real, &st); err != nil || st.Dev != m.Dev() {
		t.Errorf("st_dev %#x, %v; Dev() = %#x", st.Dev, err, m.Dev())
	}
	if flags, err := unix.FcntlInt(uintptr(m.FD()), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("descriptor flags %#x, %v: want close-on-exec", flags, err)
	}
	line := mountinfo(t, real)
	for _, want := range []string{"nosuid", "nodev", "noexec", "fuse.commyfs", `a\040b`, "max_read=65536", "allow_other"} {
		if !strings.Contains(line, want) {
			t.Errorf("mountinfo %q lacks %q", line, want)
		}
	}
	for _, never := range []string{"default_permissions", " ro,"} {
		if strings.Contains(line, never) {
			t.Errorf("mountinfo %q has %q", line, never)
		}
	}
	if info := find(t, real); info != (mountpoint.Info{Dir: real, Source: "a b", Dev: m.Dev()}) {
		t.Errorf("List has %+v", info)
	}

	for range 2 { // the second time it is gone already
		if err := m.Unmount(false); err != nil {
			t.Fatal(err)
		}
	}
	wait()
	if info := find(t, real); info != (mountpoint.Info{}) {
		t.Errorf("after unmount List has %+v", info)
	}
	for range 2 {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
	if m.FD() != -1 {
		t.Errorf("after Close FD() = %d", m.FD())
	}
	if _, err := m.Dup(); !errors.Is(err, unix.EBADF) {
		t.Errorf("after Close Dup: %v", err)
	}
}

func TestMountRefuses(t *testing.T) {
	testenv.NeedFUSE(t)
	dir := t.TempDir()
	for _, tt := range []struct {
		name string
		dir  string
		o    mountpoint.Options
		want string
	}{
		{"missing directory", dir + "/no", mountpoint.Options{}, "no such file"},
		{"ro", dir, mountpoint.Options{Extra: []string{"ro"}}, "leave it out"},
		{"unknown option", dir, mountpoint.Options{Extra: []string{"nonsense"}}, "nonsense"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := mountpoint.Mount(tt.dir, tt.o)
			if err == nil {
				t.Fatal(errors.Join(errors.New("mounted"), m.Unmount(true), m.Close()))
			}
			if !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q, want one line with %q", err, tt.want)
			}
			if line := mountinfo(t, dir); line != "" {
				t.Errorf("left mounted: %s", line)
			}
		})
	}
}

// The mount of this process must be told from what others put over it.
func TestUnmountSparesWhatCoversIt(t *testing.T) {
	testenv.Root(t)
	m := mounted(t, mountpoint.Options{})
	tmpfs(t, m.Dir())
	if err := m.Unmount(false); !errors.Is(err, mountpoint.ErrNotOurs) || !strings.Contains(err.Error(), "tmpfs") {
		t.Errorf("Unmount below a tmpfs: %v", err)
	}
	if err := unix.Unmount(m.Dir(), 0); err != nil {
		t.Error(err)
	}
}

func tmpfs(t *testing.T, dir string) {
	t.Helper()
	if err := unix.Mount("none", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	// Usually too late and harmless: the test has unmounted it.
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}

// mountinfo returns the kernel's line about dir, or nothing.
func mountinfo(t *testing.T, dir string) string {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if strings.Contains(line, fmt.Sprintf(" %s ", dir)) {
			return line
		}
	}
	return ""
}

// find returns List's entry for dir, or nothing.
func find(t *testing.T, dir string) mountpoint.Info {
	t.Helper()
	all, err := mountpoint.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range all {
		if info.Dir == dir {
			return info
		}
	}
	return mountpoint.Info{}
}
