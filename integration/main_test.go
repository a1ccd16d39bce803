// Package integration drives the real binary: real mounts, real shells, inotifywait, network namespaces, kill -9. Each
// test has its promise's name (docs/semantics.md). A test leaves nothing behind: [Host] takes everything down and fails
// the test if a mount, a process or a stray file is left, or if a log holds a panic or a race report.
//
// Tests that mostly wait, or leave the work to other programs, run in parallel. Not those that measure time, and not those that
// keep descriptors of files in a mount: each program that another test starts has them too, until its exec closes them, which
// counts as a close.
//
// COMMYFS_TEST_RACE=1 builds the binary with the race detector, COMMYFS_TEST_BINARY takes one that is there.
package integration

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
)

var (
	binary   string // the commyfs under test, readable by every user
	raceless = true // the binary was built without the race detector
)

func TestMain(m *testing.M) {
	if role() {
		return
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	// Not below os.TempDir, whose path may be long: sockets go below it. Open to other users, who run the binary.
	root, err := os.MkdirTemp("/tmp", "commyfs-it")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := os.RemoveAll(root); err != nil {
			fmt.Fprintln(os.Stderr, "left behind:", err)
		}
	}()
	if err := os.Chmod(root, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if binary, err = build(root); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	testRoot = root
	flag.Parse()
	if f := flag.Lookup("test.timeout"); f != nil {
		if d, ok := f.Value.(flag.Getter).Get().(time.Duration); ok && d > time.Minute {
			timer := time.AfterFunc(d-time.Minute, abandon)
			defer timer.Stop()
		}
	}
	return m.Run()
}

func build(root string) (string, error) {
	if b := os.Getenv("COMMYFS_TEST_BINARY"); b != "" {
		return filepath.Abs(b)
	}
	out := filepath.Join(root, "commyfs")
	cmd := exec.Command("go", "build", "-o", out)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if os.Getenv("COMMYFS_TEST_RACE") == "1" {
		raceless = false
		cmd.Args = append(cmd.Args, "-race")
		cmd.Env = append(cmd.Env, "CGO_ENABLED=1")
	}
	cmd.Args = append(cmd.Args, "../cmd/commyfs")
	if msg, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%v: %w\n%s", cmd.Args, err, msg)
	}
	return out, os.Chmod(out, 0o755)
}

// slower scales a bound that is about the binary's own speed.
func slower(d time.Duration) time.Duration {
	if raceless {
		return d
	}
	return 3 * d
}

// abandon is called shortly before the test binary would end for having taken too long, when no cleanup would run: our
// processes print their stacks and end, hung mounts are aborted, and so the tests come to an end of their own.
func abandon() {
	fmt.Fprintln(os.Stderr, "integration: out of time, ending everything")
	for _, p := range processes(testRoot) {
		p.quit()
	}
	_ = testenv.Poll(10*time.Second, func() error {
		if left := processes(testRoot); len(left) > 0 {
			return fmt.Errorf("%d left", len(left))
		}
		return nil
	})
	for _, p := range processes(testRoot) {
		p.kill()
	}
	for _, m := range mountsBelow(testRoot) {
		m.abort()
	}
}
