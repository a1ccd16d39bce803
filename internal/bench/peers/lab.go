package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs"
	"github.com/commy-project/commyfs/engine"
)

// The roles of this program in a child process.
const (
	roleMinimal = "minimal-fs"
	rolePong    = "pong"
	roleStore   = "store"
	roleFan     = "fan"
)

const (
	readyBound = 60 * time.Second // for a child to be ready
	stopBound  = 20 * time.Second // for a child to end
)

// lab is what a row needs, started when it asks for it, on the main thread.
type lab struct {
	ctx  context.Context
	o    options
	root string
	run  string         // for runtime directories: in memory, as /run is
	undo []func() error // in reverse

	redisSocket string
	commyfs     *server
	n           int // for names
}

func newLab(ctx context.Context, o options) (*lab, error) {
	root, err := os.MkdirTemp(o.dir, "commyfs-peers-")
	if err != nil {
		return nil, err
	}
	if root, err = filepath.EvalSymlinks(root); err != nil {
		return nil, err
	}
	run, err := os.MkdirTemp(sharedMemory, "commyfs-peers-")
	if err != nil {
		return nil, errors.Join(err, os.Remove(root))
	}
	return &lab{ctx: ctx, o: o, root: root, run: run}, nil
}

// sharedMemory is where a tmpfs is on every Linux.
const sharedMemory = "/dev/shm"

// close takes everything down, the last first.
func (l *lab) close() error {
	var errs []error
	for i := len(l.undo) - 1; i >= 0; i-- {
		errs = append(errs, l.undo[i]())
	}
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || bytes.Contains(info, []byte(" "+l.root+"/")) {
		return errors.Join(append(errs, err, fmt.Errorf("%s is left behind: something is mounted there", l.root))...)
	}
	return errors.Join(append(errs, os.RemoveAll(l.root), os.RemoveAll(l.run))...)
}

func (l *lab) later(f func() error) { l.undo = append(l.undo, f) }

// errEnded says that there is nothing more to wait for.
var errEnded = errors.New("it has ended")

func (l *lab) poll(f func() error) error {
	bound := time.Now().Add(readyBound)
	for {
		err := f()
		if err == nil || errors.Is(err, errEnded) || time.Now().After(bound) {
			return err
		}
		select {
		case <-l.ctx.Done():
			return context.Cause(l.ctx)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// child is a process of ours.
type child struct {
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed at its end

	mu     sync.Mutex // guards the following
	out    bytes.Buffer
	err    bytes.Buffer
	ended  bool // as it was asked to
	result error
}

type lockedWriter struct {
	mu  *sync.Mutex
	buf *bytes.Buffer
}

// Write keeps the beginning, which says when a child is ready, and what it complains of.
func (w lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.buf.Len() < 1<<20 {
		w.buf.Write(p)
	}
	return len(p), nil
}

func (l *lab) start(name, program string, args ...string) (*child, error) {
	c := &child{name: name, cmd: exec.Command(program, args...), done: make(chan struct{})}
	c.cmd.Env = []string{"HOME=" + l.root, "PATH=" + os.Getenv("PATH")}
	c.cmd.Stdout, c.cmd.Stderr = lockedWriter{&c.mu, &c.out}, lockedWriter{&c.mu, &c.err}
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	c.cmd.WaitDelay = time.Second
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(c.done)
		c.result = c.cmd.Wait()
	}()
	l.later(c.stop)
	return c, nil
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// stop is idempotent.
func (c *child) stop() error {
	if c.ended {
		return nil
	}
	c.ended = true
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // an error says that it has ended
	select {
	case <-c.done:
	case <-time.After(stopBound):
		_ = c.cmd.Process.Kill()
		<-c.done
		return fmt.Errorf("%s had to be killed", c.name)
	}
	if c.result != nil && !errors.Is(c.result, exec.ErrWaitDelay) {
		return fmt.Errorf("%s: %w: %s", c.name, c.result, c.complaint())
	}
	return nil
}

func (c *child) complaint() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := strings.TrimSpace(c.err.String())
	return text[max(0, len(text)-400):]
}

// line waits for a line of its output.
func (l *lab) line(c *child, prefix string) (rest string, err error) {
	err = l.poll(func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		for line := range strings.Lines(c.out.String()) {
			if after, ok := strings.CutPrefix(line, prefix); ok && strings.HasSuffix(line, "\n") {
				rest = strings.TrimSpace(after)
				return nil
			}
		}
		select {
		case <-c.done:
			return errEnded
		default:
		}
		return fmt.Errorf("%s is not ready after %v", c.name, readyBound)
	})
	if err != nil {
		err = fmt.Errorf("%w: %s: %s", err, c.name, c.complaint())
	}
	return rest, err
}

// self starts this program in another role.
func (l *lab) self(role string, args ...string) (*child, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return l.start(role, exe, append([]string{role}, args...)...)
}

// minimal returns the directory of a minimal file system.
func (l *lab) minimal() (string, error) {
	dir := filepath.Join(l.root, "minimal")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	c, err := l.self(roleMinimal, dir)
	if err != nil {
		return "", err
	}
	l.later(func() error { return detach(dir) })
	l.later(c.stop)
	_, err = l.line(c, "mounted ")
	return dir, err
}

// detach takes away what a killed child left.
func detach(dir string) error {
	err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM) { // not mounted, as it should be
		return nil
	}
	return err
}

// engine opens a store in this process.
func (l *lab) engine() (*engine.Engine, error) {
	e, err := engine.Open(l.ctx, engine.Options{Dir: filepath.Join(l.root, "engine")})
	if err != nil {
		return nil, err
	}
	l.later(e.Close)
	return e, nil
}

// client connects to the server, which is local to it.
func (l *lab) client(o commyfs.Options) (*commyfs.Client, error) {
	s, err := l.server()
	if err != nil {
		return nil, err
	}
	o.StateDir, o.RuntimeDir, o.NoStart, o.Command = s.state, s.runtime, true, []string{l.o.commyfs}
	c, err := commyfs.Connect(l.ctx, o)
	if err != nil {
		return nil, err
	}
	l.later(c.Close)
	return c, nil
}
