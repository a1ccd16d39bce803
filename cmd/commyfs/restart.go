package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	varfs "github.com/commy-project/commyfs/fs"
	"github.com/commy-project/commyfs/fs/estate"
	"github.com/commy-project/commyfs/fs/mountpoint"
	"github.com/commy-project/commyfs/internal/local"
)

// A mount whose process dies goes on in another one. The guard has the descriptor of /dev/fuse and the mount's estate, and starts
// the heir with both: see package fs, heir.go. The heir starts a guard of its own, and then the old guard has done its duty. If
// the kernel is too old for that, or the heir fails, the guard aborts the mount and has it made anew: who used it gets errors,
// who comes later does not.

const (
	// deathsBound is in which time a mount may be started again so often: what kills it more often would kill it for ever.
	deathsBound = 10 * time.Second
	// maxHeirs may die before they answer requests, until it is the mount that kills them.
	maxHeirs = 3
	// heirBound is how long an heir may take until it answers requests.
	heirBound = 20 * time.Second
	// firstPause and maxPause are between two attempts to reach the server of a mount that is dead; whether it was unmounted
	// meanwhile is looked at more often.
	firstPause = time.Second
	maxPause   = 10 * time.Second
	lookEvery  = 250 * time.Millisecond
)

// heirEnv tells a mount what it takes over: "dev device estate", a number and two descriptors, -1 for none. One without a device
// makes the mount anew, and has the estate only to know what was.
const heirEnv = "COMMYFS_MOUNT_HEIR"

// backgroundEnv tells an heir that the mount runs in the background.
const backgroundEnv = "COMMYFS_MOUNT_BACKGROUND"

var errDied = errors.New("the process has died")

// ward is the mount that a guard guards.
type ward struct {
	dir                        string
	dev                        uint64
	abort, device, estate, log *os.File // nil: there is none
	pid                        int      // of the process that started the guard
	number                     uint32   // of the process that the guard was started by; see estate.Estate.Restarts
}

func parseWard(dir, dev string, given []string) (*ward, error) {
	w := &ward{dir: dir}
	var err error
	if w.dev, err = strconv.ParseUint(dev, 10, 64); err != nil {
		return nil, err
	}
	for _, arg := range given {
		key, value, _ := strings.Cut(arg, "=")
		n, err := strconv.ParseUint(value, 10, 32)
		if err != nil {
			return nil, err
		}
		if key == "number" {
			w.number = uint32(n)
			continue
		}
		file := map[string]**os.File{"abort": &w.abort, "device": &w.device, "estate": &w.estate, "log": &w.log}[key]
		if file == nil {
			return nil, fmt.Errorf("unknown argument %q", arg)
		}
		unix.CloseOnExec(int(n))
		*file = os.NewFile(uintptr(n), key)
	}
	return w, nil
}

// died is called when the process of the mount has died.
func (w *ward) died() error {
	if w.device == nil || w.estate == nil {
		return w.end()
	}
	e, err := estate.Open(w.estate)
	if err != nil {
		return errors.Join(err, w.end())
	}
	c, err := e.Command()
	if err != nil {
		return errors.Join(err, w.end())
	}
	takeOver, heirs := e.Init() != nil, 0
	for {
		if !w.isThere() {
			return w.end() // unmounted, or detached: whoever uses it gets errors
		}
		if !e.Claim(w.number) {
			return nil // another guard has been faster
		}
		w.number++
		if n := e.Died(deathsBound); n > c.Restarts {
			w.tell(givenUp, n, deathsBound)
			return w.end()
		}
		if !takeOver {
			return w.again(e, &c)
		}
		if err = w.start(&c, w.device); err == nil {
			return nil
		}
		heirs++
		if takeOver = errors.Is(err, errDied) && heirs < maxHeirs; !takeOver {
			w.tell("not taken over, and made anew: %v", err)
		}
	}
}

// again makes the mount anew. While its server cannot be reached it stays dead: who uses it gets errors, and nobody writes into
// the directory below.
func (w *ward) again(e *estate.Estate, c *estate.Command) error {
	if err := w.end(); err != nil {
		return err
	}
	_ = w.device.Close() // or the dead mount would stay
	w.awaitEnd()
	told := false
	for pause := firstPause; w.isLeft(); pause = min(2*pause, maxPause) {
		err := w.start(c, nil)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, errDied):
			if n := e.Died(deathsBound); n > c.Restarts {
				w.tell(givenUp, n, deathsBound)
				return err
			}
			continue
		case exitCode(err) != exitUnreachable:
			w.tell("not made anew: %v", err)
			return err
		case !told:
			w.tell("dead until the server can be reached: %v", err)
			told = true
		}
		for end := time.Now().Add(pause); time.Now().Before(end) && w.isLeft(); {
			time.Sleep(lookEvery)
		}
	}
	return nil // somebody has unmounted it, or made it anew
}

// givenUp says how often it has died, within which time.
const givenUp = "its process has died %d times in %s: given up"

// isLeft reports whether the dead mount is still in its place.
func (w *ward) isLeft() bool { return isMounted(w.dir, w.dev) }

// isMounted reports whether a mount is in its place. If the mounts cannot be read it is.
func isMounted(dir string, dev uint64) bool {
	all, err := mountpoint.List()
	return err != nil || slices.ContainsFunc(all, func(m mountpoint.Info) bool { return m.Dir == dir && m.Dev == dev })
}

// awaitEnd waits until nothing is left of the process that has died, which may have a queue open.
func (w *ward) awaitEnd() {
	for range 300 {
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", w.pid))
		if err != nil || len(tasks) <= 1 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// isThere reports whether the mount is in its place, and has not been aborted.
func (w *ward) isThere() bool {
	return mountpoint.Connected(int(w.device.Fd())) && w.isLeft()
}

// end aborts the connection: whoever uses the mount gets errors.
func (w *ward) end() error {
	if w.abort != nil {
		return mountpoint.AbortBy(int(w.abort.Fd()))
	}
	err := mountpoint.Info{Dir: w.dir, Dev: w.dev}.Abort()
	if errors.Is(err, mountpoint.ErrNotMounted) && w.device != nil {
		return nil
	}
	return err
}

func (w *ward) tell(format string, args ...any) {
	if w.log != nil {
		fmt.Fprintf(w.log, "commyfs: mount %s: %s\n", w.dir, fmt.Sprintf(format, args...))
	}
}

// start starts the next process of the mount, and waits until it answers requests. device is what it takes over, nil: nothing.
func (w *ward) start(c *estate.Command, device *os.File) error {
	r, ready, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.Command("/proc/self/exe", c.Args...) // this very program, whatever has taken the place of its file
	cmd.Args[0] = "commyfs"
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{ready, w.estate}
	fd := -1
	if device != nil {
		fd = 3 + len(cmd.ExtraFiles)
		cmd.ExtraFiles = append(cmd.ExtraFiles, device)
	}
	cmd.Env = append(c.Env, readyEnv+"=3", fmt.Sprintf("%s=%d %d %d", heirEnv, w.dev, fd, 4))
	if err = local.Detach(cmd, w.log); err == nil {
		err = cmd.Start()
	}
	_ = ready.Close()
	if err != nil {
		return err
	}
	late := time.AfterFunc(heirBound, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	line, err := bufio.NewReader(r).ReadString('\n')
	switch line = strings.TrimSpace(line); {
	case line == readyWord, line == endedWord:
		return nil
	case line != "":
		code, text, _ := strings.Cut(line, " ")
		n, _ := strconv.Atoi(code) // see daemon.failed
		return &exitError{n, errors.New(text)}
	case errors.Is(err, io.EOF):
		return errDied
	}
	return err
}

// inheritance is what a mount takes over.
type inheritance struct {
	dev    uint64
	device int // -1: the mount is made anew
	estate *estate.Estate
}

// inherits returns nil if this mount takes over nothing.
func (a *app) inherits() (*inheritance, error) {
	text := a.getenv(heirEnv)
	if text == "" {
		return nil, nil
	}
	in := &inheritance{}
	var fd int
	if _, err := fmt.Sscan(text, &in.dev, &in.device, &fd); err != nil || fd < 3 || fd > math.MaxInt32 || in.device < 3 && in.device != -1 {
		return nil, usagef("environment variable %s is for internal use only", heirEnv)
	}
	if err := os.Unsetenv(heirEnv); err != nil {
		return nil, err
	}
	unix.CloseOnExec(fd)
	if in.device >= 0 {
		unix.CloseOnExec(in.device)
	}
	var err error
	in.estate, err = estate.Open(os.NewFile(uintptr(fd), "estate"))
	return in, err
}

var errUnmounted = errors.New("it was unmounted meanwhile")

// clear takes the dead mount away that is to be made anew. It must be there still: who has unmounted it does not want it back.
func (in *inheritance) clear(dir string, forbidden []string) error {
	if !isMounted(dir, in.dev) {
		return errUnmounted
	}
	return mountpoint.Check(dir, forbidden...)
}

// abandon ends a mount whose heir is told to end before it has taken over.
func (in *inheritance) abandon(dir string, d *daemon) error {
	err := errors.Join(mountpoint.Info{Dir: dir, Dev: in.dev}.Abort(), mountpoint.Unmount(dir, true))
	d.tell(endedWord)
	return err
}

// leave notes in the mount's estate how its heir is started.
func (o *mountOptions) leave(m *varfs.Mounted, dir string, background bool) error {
	e := m.Estate()
	if e == nil {
		return nil
	}
	c := estate.Command{Args: append([]string{"mount"}, o.explicit()...), Env: os.Environ(), Restarts: int(o.restarts)}
	c.Args = append(c.Args, "--", dir)
	if background {
		c.Env = append(c.Env, backgroundEnv+"=1")
	}
	return e.SetCommand(c)
}
