// Package hostile attacks the real server by clients with a valid key, beside one that behaves well. However much a client
// asks for: the server's memory stays below a limit, its state directory stays small, and the other client is served.
//
// The server is built without the race detector, whatever COMMYFS_TEST_RACE says: with it memory costs five to ten times
// as much, and a limit on memory would say nothing. The kernel holds the limit (RLIMIT_DATA: what a process can write to
// and no file is behind): a server that asks for more dies, and the test fails. Control groups would say the same, but
// cannot be set up on every machine.
package hostile

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

var (
	program string // the commyfs under test
	root    string // of all directories
)

func TestMain(m *testing.M) {
	if name := os.Getenv(attackVar); name != "" {
		os.Exit(beHostile(name))
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if root, err = os.MkdirTemp("/tmp", "commyfs-hostile"); err != nil { // a short path, for sockets
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := os.RemoveAll(root); err != nil {
			fmt.Fprintln(os.Stderr, "left behind:", err)
		}
	}()
	if program, err = build(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func build() (string, error) {
	if b := os.Getenv("COMMYFS_TEST_BINARY"); b != "" {
		return filepath.Abs(b)
	}
	out := filepath.Join(root, "commyfs")
	cmd := exec.Command("go", "build", "-o", out, "../../cmd/commyfs")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if msg, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%v: %w\n%s", cmd.Args, err, msg)
	}
	return out, nil
}
