package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	varfs "github.com/commy-project/commyfs/fs"
	"github.com/commy-project/commyfs/fs/mountpoint"
	"github.com/commy-project/commyfs/internal/local"
)

// If a mount is killed while one of its threads notifies the kernel, the mount and its users can hang for ever: the thread
// waits for a directory's lock, the lock's holder waits for an answer from the mount, and the waiting thread keeps /dev/fuse
// open, so that the kernel does not notice that the server is dead. The guard is a process that waits for the mount's death
// and then starts the next process of the mount, or aborts its connection; see restart.go.

// guardEnv marks a guard process; its value is the pid of the mount and the id of its thread that the guard waits for.
const guardEnv = "COMMYFS_MOUNT_GUARD"

// The kernel sends deathSignal to the guard when the thread that started it ends. A pipe or a pidfd would not report this
// while another thread of the mount hangs. Nobody else sends real-time signals.
const deathSignal = syscall.Signal(60)

// guardStarts limits how often a guard is started within guardBound: one that was killed by mistake is replaced.
const (
	guardStarts = 5
	guardBound  = 10 * time.Second
)

// guard is a mount's handle for its guard.
type guard struct {
	args  []string
	files []*os.File // what the guard gets
	log   *slog.Logger
	ended chan struct{} // closed when no guard runs and none will be started

	mu      sync.Mutex // guards the following
	process *os.Process
	stopped bool
}

// startGuard starts the guard of a mount, which has no restarts if the mount leaves no estate. The mount also works without one.
func startGuard(m *varfs.Mounted, stderr *os.File, log *slog.Logger) *guard {
	g := &guard{log: log, ended: make(chan struct{})}
	mp := m.Mountpoint()
	abort, err := mp.AbortFile()
	if err != nil && !mountpoint.Privileged() && m.Estate() == nil {
		log.Info("no guard process: if this process is killed, programs that use the mount may hang", "err", err)
		close(g.ended)
		return g
	}
	g.args = []string{"guard", mp.Dir(), strconv.FormatUint(mp.Dev(), 10)}
	g.give("abort", abort)
	if e := m.Estate(); e != nil {
		if fd, err := mp.Dup(); err == nil {
			g.give("device", os.NewFile(uintptr(fd), "/dev/fuse"))
			g.give("estate", duplicate(e.File()))
			g.give("log", duplicate(stderr))
			g.args = append(g.args, fmt.Sprintf("number=%d", e.Restarts()))
		}
	}
	started := make(chan struct{})
	go g.run(sync.OnceFunc(func() { close(started) }))
	<-started
	return g
}

// give has the guard get a file, nil for none.
func (g *guard) give(what string, f *os.File) {
	if f != nil {
		g.args = append(g.args, fmt.Sprintf("%s=%d", what, 3+len(g.files)))
		g.files = append(g.files, f)
	}
}

// duplicate is f, to be closed apart from it; nil if that cannot be had.
func duplicate(f *os.File) *os.File {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil
	}
	return os.NewFile(uintptr(fd), f.Name())
}

// run is the thread whose end the guard waits for. It stays locked, so that Go ends it with the goroutine.
func (g *guard) run(started func()) {
	defer close(g.ended)
	runtime.LockOSThread()
	for starts := []time.Time{time.Now()}; len(starts) <= guardStarts; starts = append(starts, time.Now()) {
		starts = slices.DeleteFunc(starts, func(t time.Time) bool { return time.Since(t) > guardBound })
		cmd, err := g.start()
		started()
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
	g.log.Error("the guard process exits again and again: the mount has none now, and does not outlive this process")
}

// start starts a guard unless stop was called.
func (g *guard) start() (*exec.Cmd, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopped {
		return nil, nil
	}
	cmd := exec.Command(local.Executable(), g.args...)
	cmd.Args[0] = "commyfs"
	cmd.Dir = "/"
	cmd.Env = []string{fmt.Sprintf("%s=%d %d", guardEnv, os.Getpid(), unix.Gettid()), "GOMAXPROCS=1"}
	if err := local.Detach(cmd, nil); err != nil {
		return nil, err
	}
	cmd.Stderr = nil // it may outlive us, and a reader of our output would wait for it
	cmd.SysProcAttr.Pdeathsig = deathSignal
	cmd.ExtraFiles = g.files
	// The guard inherits this thread's signal mask, so that no death signal is lost before it handles signals.
	var all, was unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &was); err != nil {
		return nil, err
	}
	err := cmd.Start()
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &was, nil) // cannot fail: it is the previous mask
	if err != nil {
		return nil, err
	}
	g.process = cmd.Process
	return cmd, nil
}

// stop ends the guard when nothing can hang any more.
func (g *guard) stop() {
	g.mu.Lock()
	g.stopped = true
	if g.process != nil {
		_ = g.process.Kill() // an error means that it has exited
	}
	g.mu.Unlock()
	<-g.ended
	for _, f := range g.files {
		_ = f.Close()
	}
}

// beGuard is the guard. Its arguments are the mount's directory and st_dev, and what it was given.
func beGuard(mount string, args []string) error {
	var parent, thread int
	if _, err := fmt.Sscan(mount, &parent, &thread); err != nil || len(args) < 3 {
		return usagef("environment variable %s is for internal use only", guardEnv)
	}
	death := make(chan os.Signal, 1)
	signal.Notify(death, deathSignal)
	ignoreOthers()
	// A killall for commyfs must not match the guard.
	_ = os.WriteFile("/proc/self/comm", []byte("commy-guard"), 0)
	ward, err := parseWard(args[1], args[2], args[3:])
	if err != nil {
		return usagef("guard: %w", err)
	}
	ward.pid = parent
	// Already set, but lost in an exec that gives capabilities. It applies to the calling thread.
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(deathSignal), 0, 0, 0); err != nil {
		return fmt.Errorf("guard: %w", err)
	}
	if os.Getppid() == parent && !exiting(parent, thread) {
		<-death
	}
	return ward.died()
}

// ignoreOthers ignores all signals but deathSignal: one to the process group must not end the guard before the mount. To
// ignore deathSignal as well, even for a moment, would drop the one that came while the guard was starting.
func ignoreOthers() {
	for s := syscall.Signal(1); s <= 64; s++ {
		if s != deathSignal {
			signal.Ignore(s)
		}
	}
}

// exiting reports whether the mount's thread has ended or begun to, so that its death signal may have come too early. The
// guard's parent does not tell: it stays the same for as long as another thread of the mount hangs.
func exiting(pid, thread int) bool {
	if errors.Is(unix.Tgkill(pid, thread, 0), unix.ESRCH) {
		return true
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/stat", pid, thread))
	if err != nil {
		return false // not ours to see
	}
	const flag = 6 // its index after the name, which may contain anything
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(f) <= flag {
		return false
	}
	flags, err := strconv.ParseUint(f[flag], 10, 64)
	const pfExiting = 4
	return err == nil && flags&pfExiting != 0
}
