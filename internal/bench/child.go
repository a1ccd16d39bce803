package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// startBound is how long a child may take until it is ready.
	startBound = 30 * time.Second
	// stopBound is how long a child may take to end after SIGTERM.
	stopBound = 10 * time.Second
	// outputBound is how long after its end a child's output may be held open by others.
	outputBound = time.Second
)

// children are the processes of a run. They are started on the client's thread and killed from any.
type children struct {
	env    []string
	stderr io.Writer

	mu     sync.Mutex // guards the following
	list   []*child
	killed bool // no more of them
}

// child is a process that is being waited for.
type child struct {
	name   string
	cmd    *exec.Cmd
	stdout output
	stderr output
	ready  bool // it came to what it is for, so that its end matters; belongs to the client's thread
	done   chan struct{}
	err    error // of its end, valid once done is closed
}

// start starts a child in its own process group, so that Ctrl-C reaches only us and everything ends in order.
func (cs *children) start(name string, cmd *exec.Cmd) (*child, error) {
	c := &child{name: name, cmd: cmd, done: make(chan struct{})}
	c.stdout.grown, c.stderr.grown = make(chan struct{}, 1), make(chan struct{}, 1)
	cmd.Env = cs.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.WaitDelay = outputBound
	cmd.Stderr = &c.stderr
	if cmd.Stdout == nil {
		cmd.Stdout = &c.stdout
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.killed {
		return nil, fmt.Errorf("start %s: %w", name, context.Canceled)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	cs.list = append(cs.list, c)
	go func() {
		defer close(c.done)
		c.err = cmd.Wait()
	}()
	return c, nil
}

// kill ends all children at once: their file systems fail, and programs that wait for them continue.
func (cs *children) kill() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.killed = true
	for _, c := range cs.list {
		_ = c.cmd.Process.Kill() // an error says that it has ended
	}
}

func (cs *children) wereKilled() bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.killed
}

// stop ends children, all at the same time, and says which of them did not end well.
func (cs *children) stop(list []*child) error {
	for _, c := range list {
		_ = c.cmd.Process.Signal(syscall.SIGTERM) // an error says that it has ended, which is looked at next
	}
	var errs []error
	for _, c := range list {
		errs = append(errs, cs.finish(c, stopBound))
	}
	return errors.Join(errs...)
}

// finish waits for the end of a child that was asked for.
func (cs *children) finish(c *child, bound time.Duration) error {
	var err error
	select {
	case <-c.done:
	case <-time.After(bound):
		_ = c.cmd.Process.Kill()
		<-c.done
		err = fmt.Errorf("%s had to be killed: it did not end within %v", c.name, bound)
	}
	if !c.ready || cs.wereKilled() {
		return err
	}
	if text := c.stderr.text(); text != "" {
		fmt.Fprintf(cs.stderr, "%s\n", text)
	}
	if err == nil && c.err != nil {
		err = c.failure()
	}
	return err
}

// failure is an error about a child that has ended, in its own words where it left any.
func (c *child) failure() error {
	text := c.stderr.text()
	if text == "" {
		return fmt.Errorf("%s: ended with %v", c.name, c.cmd.ProcessState)
	}
	return fmt.Errorf("%s: %s", c.name, strings.TrimPrefix(text[strings.LastIndexByte(text, '\n')+1:], "commyfs: "))
}

// line waits for a line on the child's output that begins with prefix, and returns the rest of it.
func (c *child) line(ctx context.Context, prefix string) (string, error) {
	bound := time.NewTimer(startBound)
	defer bound.Stop()
	for {
		ended := false
		select {
		case <-c.done:
			ended = true
		default:
		}
		if rest, ok := c.stdout.line(prefix); ok {
			c.ready = true
			return rest, nil
		}
		if ended {
			return "", c.failure()
		}
		select {
		case <-c.stdout.grown:
		case <-c.done:
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case <-bound.C:
			return "", fmt.Errorf("%s: not ready within %v", c.name, startBound)
		}
	}
}

// maxOutput is how much of a child's output is kept: nothing that is wanted is longer.
const maxOutput = 64 << 10

// output is what a child has written.
type output struct {
	grown chan struct{} // has a token when there is more

	mu  sync.Mutex // guards the following
	buf []byte
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	o.buf = append(o.buf, p[:min(len(p), maxOutput-len(o.buf))]...)
	o.mu.Unlock()
	select {
	case o.grown <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (o *output) text() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(bytes.TrimSpace(o.buf))
}

func (o *output) line(prefix string) (string, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for line := range strings.Lines(string(o.buf)) {
		if rest, ok := strings.CutPrefix(line, prefix); ok && strings.HasSuffix(line, "\n") {
			return strings.TrimSpace(rest), true
		}
	}
	return "", false
}
