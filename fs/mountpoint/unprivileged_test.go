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

// asNobody runs "$0" "$1" as a user without privileges.
const asNobody = `exec setpriv --reuid 65534 --regid 65534 --clear-groups "$0" "$1"`

func needUnprivileged(t *testing.T) {
	t.Helper()
	testenv.NeedFUSE(t)
	testenv.Root(t)
	testenv.Need(t, "fusermount3", "setpriv")
	info, err := os.Stat("/dev/fuse")
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm()&0o006 != 0o006 {
		testenv.Missing(t, "fuse", "/dev/fuse has mode %04o: users cannot mount: chmod 0666 /dev/fuse", info.Mode().Perm())
	}
}

func TestUnprivileged(t *testing.T) {
	needUnprivileged(t)
	dir := tempDir(t, 0o755)
	if err := os.Chown(dir, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if out, err := rerun(t, "unprivileged", dir, asNobody).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if line := mountinfo(t, dir); line != "" {
		t.Errorf("still mounted: %s", line)
	}
}

// unprivileged is the life of a mount, as a user.
func unprivileged(dir string) error {
	if os.Geteuid() != 65534 {
		return fmt.Errorf("running as %d", os.Geteuid())
	}
	if err := mountpoint.Check(dir); err != nil {
		return err
	}
	m, err := mountpoint.Mount(dir, mountpoint.Options{FSName: `a,b\c`, MaxRead: 65536, Extra: []string{"noexec"}})
	if err != nil {
		return err
	}
	wait, err := serve(m)
	if err != nil {
		return err
	}
	if got, err := readFile(filepath.Join(dir, "file")); got != "hello" {
		return fmt.Errorf("read %q: %w", got, err)
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil || st.Dev != m.Dev() {
		return fmt.Errorf("st_dev %#x, Dev() %#x: %w", st.Dev, m.Dev(), err)
	}
	if flags, err := unix.FcntlInt(uintptr(m.FD()), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		return fmt.Errorf("descriptor flags %#x: %w", flags, err)
	}
	all, err := mountpoint.List()
	if err != nil || len(all) == 0 || all[len(all)-1] != (mountpoint.Info{Dir: dir, Source: `a,b\c`, Dev: m.Dev()}) {
		return fmt.Errorf("list: %+v, %w", all, err)
	}
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || !strings.Contains(string(data), dir+" rw,nosuid,nodev,noexec,") {
		return fmt.Errorf("mountinfo: %s, %w", data, err)
	}

	hold, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	err = m.Unmount(false)
	unix.Close(hold)
	if !errors.Is(err, mountpoint.ErrBusy) || !strings.Contains(err.Error(), fmt.Sprintf("pid %d ", os.Getpid())) {
		return fmt.Errorf("unmount of a busy mount: %w", err)
	}
	if err := m.Unmount(false); err != nil {
		return err
	}
	wait()
	if err := m.Close(); err != nil {
		return err
	}

	// A dead mount.
	if m, err = mountpoint.Mount(dir, mountpoint.Options{}); err != nil {
		return err
	}
	if err := m.Close(); err != nil {
		return err
	}
	if err := mountpoint.Check(dir); err != nil {
		return fmt.Errorf("check of a dead mount: %w", err)
	}
	if err := mountpoint.Unmount(dir, false); !errors.Is(err, mountpoint.ErrNotMounted) {
		return fmt.Errorf("unmount of nothing: %w", err)
	}
	return nil
}

func TestUnprivilegedRefused(t *testing.T) {
	needUnprivileged(t)
	for _, tt := range []struct {
		name, role, shell, want string
		uid                     int
	}{
		{"allow_other without user_allow_other", "allow-other",
			`exec unshare -m sh -ec 'mount --bind /dev/null /etc/fuse.conf; ` + asNobody + `' "$0" "$1"`, "user_allow_other", 65534},
		{"directory of another user", "unprivileged", asNobody, "a directory of your own", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := tempDir(t, 0o755)
			if err := os.Chown(dir, tt.uid, tt.uid); err != nil {
				t.Fatal(err)
			}
			out, err := rerun(t, tt.role, dir, tt.shell).CombinedOutput()
			if text := string(out); err == nil || !strings.Contains(text, tt.want) || strings.Count(text, "\n") != 1 {
				t.Errorf("%v, %q: want one line with %q", err, text, tt.want)
			}
		})
	}
}

func allowOther(dir string) error {
	m, err := mountpoint.Mount(dir, mountpoint.Options{AllowOther: true})
	if err != nil {
		return err
	}
	return errors.Join(errors.New("mounted"), m.Unmount(true), m.Close())
}
