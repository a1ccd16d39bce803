package main

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/fs/mountpoint"
	"github.com/commy-project/commyfs/internal/local"
)

// A mount that is killed while a thread of it tells the kernel of a change can hang for ever, and its users with it:
// the thread waits for a directory's lock, whose holder waits for an answer of ours, and as long as the thread waits it
// keeps /dev/fuse open, so that the kernel does not see that nobody serves any more. The guard is a process that waits
// for the mount's death and then aborts its connection.

// guardEnv tells a process that it is a guard, and the pid of its mount.
const guardEnv = "COMMYFS_MOUNT_GUARD"

// deathSignal is sent to the guard by the kernel when the thread that started it ends, which a pipe or a pidfd would
// not tell while another thread of the mount hangs. Nobody else sends a real-time signal.
const deathSignal = syscall.Signal(60)

// guardStarts is how often a guard is started: one that was ended by mistake is replaced.
const guardStarts = 2

// guard is a mount's hold on its guard.
type guard struct {
	args  []string
	abort *os.File // nil: the guard has to find a way itself
	log   *slog.Logger
	ended chan struct{} // no guard runs, and none will

	mu      sync.Mutex // guards the following
	process *os.Process
	stopped bool
}

// startGuard starts the guard of a mount. Without one the mount works too.
func startGuard(m *mountpoint.Mountpoint, log *slog.Logger) *guard {
	g := &guard{log: log, ended: make(chan struct{})}
	abort, err := m.AbortFile()
	if err != nil && !mountpoint.Privileged() {
		log.Info("no guard process: if this process is killed, programs that use the mount may hang", "err", err)
		close(g.ended)
		return g
	}
	g.abort = abort
	g.args = []string{"guard", m.Dir(), strconv.FormatUint(m.Dev(), 10)}
	if abort != nil {
		g.args = append(g.args, "3")
	}
	started := make(chan struct{}, guardStarts)
	go g.run(started)
	<-started
	return g
}

// run is the thread whose end the guard waits for. It is never unlocked: Go ends it with the goroutine.
func (g *guard) run(started chan<- struct{}) {
	defer close(g.ended)
	runtime.LockOSThread()
	for range guardStarts {
		cmd, err := g.start()
		started <- struct{}{}
		if cmd != nil {
			err = cmd.Wait()
		}
		g.mu.Lock()
		stopped := g.stopped
		g.mu.Unlock()
		if stopped {
			return
		}
		g.log.Warn("the guard process exited", "err", err)
	}
}

// start starts a guard, unless none is wanted any more.
func (g *guard) start() (*exec.Cmd, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopped {
		return nil, nil
	}
	cmd := exec.Command(local.Executable(), g.args...)
	cmd.Args[0] = "commyfs"
	cmd.Dir = "/"
	cmd.Env = []string{guardEnv + "=" + strconv.Itoa(os.Getpid()), "GOMAXPROCS=1"}
	if err := local.Detach(cmd, nil); err != nil {
		return nil, err
	}
	cmd.Stderr = nil // it may outlive us, and whoever reads our output waits for its end
	cmd.SysProcAttr.Pdeathsig = deathSignal
	if g.abort != nil {
		cmd.ExtraFiles = []*os.File{g.abort}
	}
	// The guard begins with this thread's mask, so that a death before it can handle signals is not missed.
	var all, was unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &was); err != nil {
		return nil, err
	}
	err := cmd.Start()
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &was, nil) // it was good a moment ago
	if err != nil {
		return nil, err
	}
	g.process = cmd.Process
	return cmd, nil
}

// stop ends the guard, once nothing can hang any more.
func (g *guard) stop() {
	g.mu.Lock()
	g.stopped = true
	if g.process != nil {
		_ = g.process.Kill() // an error says that it is gone
	}
	g.mu.Unlock()
	<-g.ended
	if g.abort != nil {
		_ = g.abort.Close()
	}
}

// beGuard is the guard: its arguments are the mount's directory and st_dev, and, if there is one, the descriptor that
// aborts.
func beGuard(mount string, args []string) error {
	parent, err := strconv.Atoi(mount)
	if err != nil || len(args) < 3 {
		return usagef("environment variable %s is for internal use only", guardEnv)
	}
	signal.Ignore() // all others: what ends a group of processes must not end the guard before the mount
	death := make(chan os.Signal, 1)
	signal.Notify(death, deathSignal)
	// Whoever ends all programs of our name does not mean us.
	_ = os.WriteFile("/proc/self/comm", []byte("commy-guard"), 0)
	// It is set already, but not after an exec that gave capabilities. It is about the calling thread.
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(deathSignal), 0, 0, 0); err != nil {
		return fmt.Errorf("guard: %w", err)
	}
	if os.Getppid() == parent {
		<-death
	}
	if len(args) > 3 {
		fd, err := strconv.Atoi(args[3])
		if err != nil {
			return usagef("guard: %w", err)
		}
		return mountpoint.AbortBy(fd)
	}
	dev, err := strconv.ParseUint(args[2], 10, 64)
	if err != nil {
		return usagef("guard: %w", err)
	}
	return mountpoint.Info{Dir: args[1], Dev: dev}.Abort()
}
