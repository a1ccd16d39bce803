package bench

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
)

func TestShell(t *testing.T) {
	testenv.Need(t, "dash")
	testenv.NoLeaks(t)
	cs := &children{stderr: t.Output()}
	sh, err := cs.startShell()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), `it's "$HOME" \ here`)
	if err := sh.do([]byte("echo 1 >" + shellQuote(path) + ";echo $?\n")); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(path); string(got) != "1\n" {
		t.Errorf("written %q, %v", got, err)
	}
	if err := sh.do([]byte("echo 1 >/nonexistent/file;echo $?\n")); err == nil || !strings.Contains(err.Error(), "exit status is 2") {
		t.Errorf("redirection to nowhere: %v", err)
	}
	if err := sh.do([]byte("exit 0\n")); err == nil {
		t.Error("no error from a shell that has ended")
	}
	if err := sh.close(); err != nil {
		t.Error(err)
	}
}

func TestWake(t *testing.T) {
	testenv.NoLeaks(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "v")
	if err := createFile(path); err != nil {
		t.Fatal(err)
	}
	w, err := wake(t.Context(), nil, &system{dir: dir, far: dir}, path)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if d, err := w.op(); err != nil || d <= 0 || d > wakeBound {
			t.Fatalf("took %v, %v", d, err)
		}
	}
	if err := w.close(); err != nil {
		t.Error(err)
	}
}

func TestLocks(t *testing.T) {
	testenv.NoLeaks(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "v")
	if err := createFile(path); err != nil {
		t.Fatal(err)
	}
	for _, open := range []func(context.Context, *runner, *system, string) (*work, error){lockFree, handover} {
		w, err := open(t.Context(), nil, &system{dir: dir, far: dir}, path)
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if d, err := w.op(); err != nil || d <= 0 {
				t.Fatalf("took %v, %v", d, err)
			}
		}
		if err := w.close(); err != nil {
			t.Error(err)
		}
	}
}

// An event without the value waited for is not the end of the wait.
func TestWatcher_OlderValue(t *testing.T) {
	testenv.NoLeaks(t)
	path := filepath.Join(t.TempDir(), "v")
	if err := createFile(path); err != nil {
		t.Fatal(err)
	}
	w, err := newWatcher(path)
	if err != nil {
		t.Fatal(err)
	}
	w.arm <- 2
	if err := <-w.armed; err != nil {
		t.Fatal(err)
	}
	write := func(value byte) {
		t.Helper()
		if err := os.WriteFile(path, []byte{value, 0, 0, 0, 0, 0, 0, 0}, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(1)
	select {
	case s := <-w.seen:
		t.Errorf("seen with an older value: %v", s)
	default:
	}
	write(2)
	if s := <-w.seen; s.err != nil || s.at.IsZero() {
		t.Errorf("seen: %+v", s)
	}
	if err := w.close(); err != nil {
		t.Error(err)
	}
}

func TestTrial_Slice(t *testing.T) {
	calls := 0
	tr := &trial{work: &work{op: func() (time.Duration, error) { calls++; return time.Microsecond, nil }}}
	o := Options{Time: 3 * time.Millisecond, Slice: 2 * time.Millisecond}
	slices := 0
	for ; tr.spent < o.Time; slices++ {
		if err := tr.slice(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	if want := uint64(calls - slices); slices == 0 || tr.hist.n != want { // the first of each slice does not count
		t.Errorf("%d counted of %d in %d slices, want %d", tr.hist.n, calls, slices, want)
	}
	broken := errors.New("broken")
	tr.work.op = func() (time.Duration, error) { return 0, broken }
	if err := tr.slice(t.Context(), o); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(broken)
	tr.work.op = func() (time.Duration, error) { return 0, nil }
	if err := tr.slice(ctx, o); !errors.Is(err, broken) {
		t.Errorf("error %v after the end", err)
	}
}

func TestClearUp_SharedMemory(t *testing.T) {
	r := &runner{procs: &children{}}
	if err := r.dirs.make(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	var s system
	if err := r.makeTmpfs(t.Context(), &s); err != nil {
		t.Fatal(err)
	}
	if err := createFile(filepath.Join(s.dir, "v")); err != nil {
		t.Error(err)
	}
	if err := r.clearUp(); err != nil {
		t.Error(err)
	}
	for _, dir := range []string{r.dirs.root, s.dir} {
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", dir, err)
		}
	}
}

// Only a server with a directory of ours is ended.
func TestEndStrays(t *testing.T) {
	testenv.NoLeaks(t)
	dir := t.TempDir()
	start := func(args ...string) (*exec.Cmd, <-chan error) {
		t.Helper()
		// A shell that waits for its input, with the arguments that count.
		cmd := exec.Command("sh", append([]string{"-c", "echo; read x", "commyfs"}, args...)...)
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := stdout.Read(make([]byte, 1)); err != nil { // it is past its exec
			t.Error(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		t.Cleanup(func() { _ = stdin.Close() })
		return cmd, ended
	}
	_, ours := start("serve", "--state-dir", dir+"/local/state")
	others := map[string]<-chan error{}
	_, others["another directory"] = start("serve", "--state-dir", dir+"2/local/state")
	_, others["another command"] = start("status", "--state-dir", dir+"/local/state")
	if err := endStrays(dir); err != nil {
		t.Error(err)
	}
	select {
	case err := <-ours:
		if err == nil || !strings.Contains(err.Error(), "terminated") {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the server of ours has not ended")
	}
	for name, ended := range others {
		select {
		case err := <-ended:
			t.Errorf("%s: ended with %v", name, err)
		default:
		}
	}
}
