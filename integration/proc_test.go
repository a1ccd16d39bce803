package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
)

// runBound is how long a command may take that is expected to end by itself.
const runBound = time.Minute

// output collects what a process writes.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer // mu guards it
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// Lines returns the complete lines.
func (o *output) Lines() []string {
	s := o.String()
	end := strings.LastIndexByte(s, '\n')
	if end < 0 {
		return nil
	}
	return strings.Split(s[:end], "\n")
}

// Proc is a process that was started and is being waited for.
type Proc struct {
	t              testing.TB
	cmd            *exec.Cmd
	stdout, stderr output
	done           chan struct{}
	pipes          []*os.File // what it writes is read from these
	held           string     // the processes that kept its output open when it had ended; valid once done is closed
}

func startProc(t testing.TB, cmd *exec.Cmd) *Proc {
	t.Helper()
	p := &Proc{t: t, cmd: cmd, done: make(chan struct{})}
	var read sync.WaitGroup
	collect := func(o *output) *os.File {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		p.pipes = append(p.pipes, r)
		read.Go(func() { _, _ = io.Copy(o, r) })
		return w
	}
	stdout, stderr := collect(&p.stdout), collect(&p.stderr)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	err := cmd.Start()
	_, _ = stdout.Close(), stderr.Close()
	if err != nil {
		t.Fatalf("start %v: %v", cmd.Args, err)
	}
	go func() {
		defer close(p.done)
		_ = cmd.Wait()
		all := make(chan struct{})
		go func() {
			read.Wait()
			for _, r := range p.pipes {
				_ = r.Close()
			}
			close(all)
		}()
		if p.killed() {
			return // whoever goes on in its place writes where it wrote
		}
		select {
		case <-all:
		case <-time.After(5 * time.Second):
			if by := holders(p.pipes); by != "" { // it would hang `x=$(commyfs get ...)`
				p.held = by
				return
			}
			// A child of this very process between its fork and its exec, in which it can wait for another test's mount.
			<-all
		}
	}()
	return p
}

// holders names the processes, other than this one and those that still run its program, that have one of the pipes open.
func holders(pipes []*os.File) string {
	self, _ := os.Readlink("/proc/self/exe")
	var names []string
	for _, r := range pipes {
		info, err := r.Stat()
		if err != nil {
			continue // closed: all was read
		}
		pipe := fmt.Sprintf("pipe:[%d]", info.Sys().(*syscall.Stat_t).Ino)
		fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
		for _, fd := range fds {
			dir := filepath.Dir(filepath.Dir(fd))
			if to, _ := os.Readlink(fd); to != pipe {
				continue
			}
			if exe, _ := os.Readlink(dir + "/exe"); exe != self {
				names = append(names, filepath.Base(dir)+" ("+exe+")")
			}
		}
	}
	return strings.Join(names, ", ")
}

// killed reports whether the process was ended by SIGKILL; it has ended.
func (p *Proc) killed() bool {
	w, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && w.Signaled() && w.Signal() == syscall.SIGKILL
}

func (p *Proc) String() string { return strings.Join(p.cmd.Args, " ") }

func (p *Proc) Pid() int { return p.cmd.Process.Pid }

func (p *Proc) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Signal sends a signal; that the process is gone already is no error.
func (p *Proc) Signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil && !p.ended() && !errors.Is(err, syscall.ESRCH) && !errors.Is(err, os.ErrProcessDone) {
		p.t.Errorf("signal %v to %v: %v", sig, p, err)
	}
}

// Wait waits for the end of the process and returns its exit code, -1 for an end by a signal.
func (p *Proc) Wait(bound time.Duration) int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(bound):
		p.t.Fatalf("%v has not ended within %v\n%s", p, bound, p.logs())
	}
	if p.held != "" {
		p.t.Errorf("%v ended, but its output is open in %s", p, p.held)
	}
	return p.cmd.ProcessState.ExitCode()
}

// Kill ends the process with SIGKILL and waits for that.
func (p *Proc) Kill() {
	p.t.Helper()
	p.Signal(syscall.SIGKILL)
	p.Wait(10 * time.Second)
}

// WaitLine waits for a line on standard output that starts with prefix, and returns the rest of it.
func (p *Proc) WaitLine(bound time.Duration, prefix string) string {
	p.t.Helper()
	var rest string
	err := testenv.Poll(bound, func() error {
		ended := p.ended()
		for _, line := range p.stdout.Lines() {
			if r, ok := strings.CutPrefix(line, prefix); ok {
				rest = r
				return nil
			}
		}
		if ended {
			return nil
		}
		return fmt.Errorf("no line %q", prefix)
	})
	if err == nil && rest == "" && p.ended() {
		err = fmt.Errorf("ended without a line %q", prefix)
	}
	if err != nil {
		p.t.Fatalf("%v: %v\n%s", p, err, p.logs())
	}
	return rest
}

func (p *Proc) logs() string {
	return fmt.Sprintf("--- %v (pid %d)\nstdout: %s\nstderr: %s\n", p, p.Pid(), tail(p.stdout.String()), tail(p.stderr.String()))
}

func tail(s string) string {
	const most = 16 << 10
	if len(s) > most {
		return fmt.Sprintf("[%d bytes] ...%s", len(s), s[len(s)-most:])
	}
	return s
}

// Result is what a command that ended left.
type Result struct {
	Command        string
	Stdout, Stderr string
	Code           int
	Took           time.Duration
}

func (r Result) String() string {
	return fmt.Sprintf("%s: exit code %d\nstdout: %s\nstderr: %s", r.Command, r.Code, tail(r.Stdout), tail(r.Stderr))
}

// runCmd runs a command to its end.
func runCmd(t testing.TB, cmd *exec.Cmd) Result {
	t.Helper()
	start := time.Now()
	p := startProc(t, cmd)
	bound := slower(runBound)
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	select {
	case <-p.done:
	case <-ctx.Done():
		p.Signal(syscall.SIGKILL)
		t.Errorf("%v has not ended within %v\n%s", p, bound, p.logs())
	}
	code := p.Wait(10 * time.Second)
	return Result{p.String(), p.stdout.String(), p.stderr.String(), code, time.Since(start)}
}
