package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/server"
)

// The test binary is commyfs too: under that name it runs main.
func TestMain(m *testing.M) {
	if mount := os.Getenv(guardEnv); mount != "" && os.Args[1] == lateGuard {
		os.Exit(exitCode(beLateGuard(mount, os.Args[1:])))
	}
	testscript.Main(m, map[string]func(){"commyfs": main})
}

// TestScript runs testdata/script/*.txtar, each with a home and a server of its own. Beside testscript's own commands
// there are:
//
//	exits CODE ARGS...              commyfs ARGS ends with this exit code
//	fails CODE ARGS...              the same, and prints one line to standard error and nothing to standard output
//	await FILE PATTERN [ARGS...]    wait until the file matches; run commyfs ARGS N, N = 1, 2, ..., before each look
//	capture VAR FILE PATTERN        set a variable to what the pattern's group matches in the file
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                "testdata/script",
		Setup:              setUpScript,
		RequireUniqueNames: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":   scriptExits,
			"fails":   scriptFails,
			"await":   scriptAwait,
			"capture": scriptCapture,
		},
	})
}

func setUpScript(e *testscript.Env) error {
	// A socket's path has to be short.
	short, err := os.MkdirTemp("/tmp", "commyfs")
	if err != nil {
		return err
	}
	home, state := filepath.Join(e.WorkDir, "home"), filepath.Join(e.WorkDir, "state")
	e.Setenv("HOME", home)
	e.Setenv("XDG_RUNTIME_DIR", short)
	e.Setenv("COMMYFS_STATE_DIR", state)
	e.Setenv("COMMYFS_RUNTIME_DIR", filepath.Join(short, "run"))
	e.Setenv("GORACE", "atexit_sleep_ms=10") // instead of a second for each command
	e.Defer(func() {
		log, _ := os.ReadFile(filepath.Join(state, "server.log"))
		if err := errors.Join(stopServer(state), checkLog(log), os.RemoveAll(short)); err != nil {
			e.T().Log(err)
			e.T().FailNow()
		}
	})
	return os.MkdirAll(home, 0o700)
}

// stopServer ends the server that the script's commands have started.
func stopServer(state string) error {
	text, err := os.ReadFile(filepath.Join(state, "lock"))
	if err != nil {
		return nil // there was none
	}
	var holder server.LockInfo
	if json.Unmarshal(text, &holder) != nil || holder.PID == 0 {
		return nil
	}
	cmdline, err := os.ReadFile("/proc/" + strconv.Itoa(holder.PID) + "/cmdline")
	if err != nil || !strings.Contains(string(cmdline), state) {
		return nil // it has ended
	}
	if err := syscall.Kill(holder.PID, syscall.SIGTERM); err != nil {
		return nil
	}
	return testenv.Poll(10*time.Second, func() error {
		if err := syscall.Kill(holder.PID, 0); err == nil {
			return fmt.Errorf("the server %d does not end", holder.PID)
		}
		return nil
	})
}

func checkLog(log []byte) error {
	for _, bad := range []string{"WARNING: DATA RACE", "panic:", "fatal error:"} {
		if _, after, found := strings.Cut(string(log), bad); found {
			return fmt.Errorf("server.log: %s%s", bad, after)
		}
	}
	return nil
}

func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: exits CODE ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec("commyfs", args[1:]...)
	got := 0
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		got = ended.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func scriptFails(ts *testscript.TestScript, neg bool, args []string) {
	scriptExits(ts, neg, args)
	if out := ts.ReadFile("stdout"); out != "" {
		ts.Fatalf("standard output has %q", out)
	}
	line := strings.TrimSuffix(ts.ReadFile("stderr"), "\n")
	if !strings.HasPrefix(line, "commyfs: ") || strings.Contains(line, "\n") {
		ts.Fatalf("standard error is %q, want one line that begins with the command's name", line)
	}
}

// awaitBound is how long what a script waits for may take.
const awaitBound = 30 * time.Second

func scriptAwait(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: await FILE PATTERN [ARGS...]")
	}
	pattern := regexp.MustCompile("(?m)" + args[1])
	n := 0
	ts.Check(testenv.Poll(awaitBound, func() error {
		if n++; len(args) > 2 {
			ts.Check(ts.Exec("commyfs", append(args[2:], strconv.Itoa(n))...))
		}
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && !pattern.Match(text) {
			err = fmt.Errorf("%s has no %q: %s", args[0], args[1], text)
		}
		return err
	}))
}

func scriptCapture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: capture VAR FILE PATTERN")
	}
	m := regexp.MustCompile("(?m)" + args[2]).FindStringSubmatch(ts.ReadFile(args[1]))
	if len(m) < 2 {
		ts.Fatalf("%s has no %q", args[1], args[2])
	}
	ts.Setenv(args[0], m[1])
}
