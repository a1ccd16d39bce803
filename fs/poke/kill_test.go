package poke_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/fs/mountpoint"
	"github.com/commy-project/commyfs/fs/poke"
	"github.com/commy-project/commyfs/internal/testenv"
)

// childArg makes the test binary a child of TestKill.
const childArg = "poke-child"

// A daemon that is killed while it pokes itself is gone at once, and so is every lock it held.
func TestKill(t *testing.T) {
	testenv.NeedFUSE(t)
	testenv.Root(t)
	dir := t.TempDir()
	t.Cleanup(func() {
		for unix.Unmount(dir, unix.MNT_DETACH) == nil {
			t.Error("a mount was left")
		}
	})
	const rounds = 30
	for i := range rounds {
		// In every other round the handler of a poke never answers: the thread is certainly waiting. In the others the
		// moment is left to chance.
		blocked := i%2 == 0
		t.Run(fmt.Sprintf("%d blocked %v", i, blocked), func(t *testing.T) {
			cmd := exec.Command(os.Args[0], childArg, dir)
			cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%v", childBlocks, blocked))
			var stderr strings.Builder
			cmd.Stderr = &stderr
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			// It writes one byte a poke.
			_, err = io.ReadFull(out, make([]byte, 1+17*i))
			ended := make(chan struct{})
			start := time.Now()
			if killErr := cmd.Process.Kill(); killErr != nil {
				t.Error(killErr)
			}
			go func() {
				_ = cmd.Wait()
				close(ended)
			}()
			select {
			case <-ended:
				t.Logf("gone after %v", time.Since(start))
			case <-time.After(2 * time.Second):
				t.Errorf("still there after 2 s: %s", states(cmd.Process.Pid))
				// Only the end of the connection frees it.
				_ = unix.Unmount(dir, unix.MNT_FORCE)
				<-ended
			}
			if err != nil {
				t.Errorf("%v: %s", err, stderr.String())
			}
			var st unix.Stat_t
			if err := unix.Stat(dir, &st); !errors.Is(err, unix.ENOTCONN) {
				t.Errorf("stat of the dead mount: %v", err)
			}
			if err := mountpoint.Unmount(dir, false); err != nil {
				t.Error(err)
			}
		})
	}
}

// states tells what the threads of a process do.
func states(pid int) string {
	var out []string
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, task := range tasks {
		path := fmt.Sprintf("/proc/%d/task/%s/", pid, task.Name())
		stat, _ := os.ReadFile(path + "stat")
		wchan, _ := os.ReadFile(path + "wchan")
		_, state, _ := strings.Cut(string(stat), ") ")
		out = append(out, fmt.Sprintf("%s %.1s %s", task.Name(), state, wchan))
	}
	return strings.Join(out, ", ")
}

// childBlocks in the environment tells a child whether its handlers never answer.
const childBlocks = "COMMYFS_POKE_CHILD_BLOCKS"

// child mounts, serves, and pokes itself until it is killed.
func child(dir string) error {
	blocks := os.Getenv(childBlocks) == "true"
	const last = 20 // pokes before the handler blocks
	pokes := 0
	step := func() { _, _ = unix.Write(1, []byte{'.'}) }
	m, err := newMount(dir, func(op string, tid uint32) {
		if !strings.HasPrefix(op, "setattr") || !blocks {
			return
		}
		if pokes++; pokes == last {
			// As many bytes as anybody waits for.
			for range 1000 {
				step()
			}
			select {}
		}
	})
	if err != nil {
		return err
	}
	p, err := poke.New(m.Dir(), m.Dev())
	if err != nil {
		return err
	}
	if err := p.Do(poke.Op{Kind: poke.Create, Path: "f"}); err != nil {
		return err
	}
	for {
		if err := p.Do(poke.Op{Kind: poke.Modify, Path: "f", MTime: time.Now()}); err != nil {
			return err
		}
		if err := p.Do(poke.Op{Kind: poke.CloseWrite, Path: "f"}); err != nil {
			return err
		}
		if !blocks {
			step()
		}
	}
}
