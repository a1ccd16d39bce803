// Package testenv declares what tests need from the machine, and helps them to wait.
//
// A test that needs something the machine lacks is skipped with the reason, so that everyone can run the tests that work on their
// machine. COMMYFS_REQUIRE turns such a skip into a failure, for CI: it is a comma-separated list of names ("fuse", "root", or a
// program such as "inotifywait"), or "all", which `make test` sets.
package testenv

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Required reports whether COMMYFS_REQUIRE contains name, so that a test must not be skipped for lack of it.
func Required(name string) bool {
	list := strings.Split(os.Getenv("COMMYFS_REQUIRE"), ",")
	return slices.Contains(list, "all") || slices.Contains(list, name)
}

// Missing skips the test because name is missing, or fails it if name is required.
func Missing(t testing.TB, name, format string, args ...any) {
	t.Helper()
	if Required(name) {
		t.Fatalf("COMMYFS_REQUIRE has "+name+", but "+format, args...)
	}
	t.Skipf(format, args...)
}

// NeedFUSE skips the test if file systems cannot be mounted: without a usable /dev/fuse or, for users other than root, without
// fusermount3. Its name in COMMYFS_REQUIRE is "fuse".
func NeedFUSE(t testing.TB) {
	t.Helper()
	// Not os.Open: it would put the descriptor into Go's poller, which blocks on some kernels.
	fd, err := syscall.Open("/dev/fuse", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		Missing(t, "fuse", "/dev/fuse cannot be opened: %v", err)
	}
	if err := syscall.Close(fd); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		return
	}
	if _, err := exec.LookPath("fusermount3"); err != nil {
		Missing(t, "fuse", "fusermount3 is not installed (package fuse3)")
	}
}

// Need skips the test if one of the programs is not installed. Their names in COMMYFS_REQUIRE are the programs' names.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			Missing(t, p, "%s is not installed", p)
		}
	}
}

// Root skips the test for users other than root. Its name in COMMYFS_REQUIRE is "root".
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		Missing(t, "root", "only root can do this")
	}
}

// Eventually waits until cond returns nil, and fails the test with the last error if this does not happen within the bound. It is
// the only place where tests poll.
func Eventually(t testing.TB, bound time.Duration, cond func() error) {
	t.Helper()
	if err := Poll(bound, cond); err != nil {
		t.Fatalf("not within %v: %v", bound, err)
	}
}

// Poll is [Eventually] for cleanups and goroutines, which must not end the test: it returns cond's last error.
func Poll(bound time.Duration, cond func() error) error {
	const longest = 20 * time.Millisecond
	deadline := time.Now().Add(bound)
	pause := 200 * time.Microsecond
	for {
		err := cond()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(pause)
		pause = min(2*pause, longest)
	}
}
