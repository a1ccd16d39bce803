package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// prefix begins the name of every directory that is made.
const prefix = "commyfs-bench-"

// directories are what is made outside, to be taken away again.
type directories struct {
	root    string // mount points, state and runtime directories
	shm     string // in shared memory
	mounts  []mount
	servers []*child
}

type mount struct {
	dir   string
	child *child
}

func (d *directories) make(base string) error {
	root, err := os.MkdirTemp(base, prefix)
	if err != nil {
		return err
	}
	d.root = root
	// As the kernel will show it, and absolute, for the children have their own idea of where they are.
	if root, err = filepath.Abs(root); err == nil {
		root, err = filepath.EvalSymlinks(root)
	}
	if err != nil {
		return err
	}
	d.root = root
	return os.Mkdir(d.home(), 0o700)
}

func (d *directories) home() string { return filepath.Join(d.root, "home") }

func (d *directories) mountpoint(name string) (string, error) {
	dir := filepath.Join(d.root, name)
	return dir, os.Mkdir(dir, 0o700)
}

// server returns the flags for directories of a server's own.
func (d *directories) server(name string) ([]string, error) {
	state, run := filepath.Join(d.root, name, "state"), filepath.Join(d.root, name, "run")
	flags := []string{"--state-dir", state, "--runtime-dir", run}
	return flags, errors.Join(os.MkdirAll(state, 0o700), os.MkdirAll(run, 0o700))
}

// clearUp takes everything down: mounts before servers, for a mount that loses its server starts the next one.
func (r *runner) clearUp() error {
	d := &r.dirs
	if d.root == "" {
		return nil
	}
	var mounts []*child
	for _, m := range d.mounts {
		mounts = append(mounts, m.child)
	}
	errs := []error{r.procs.stop(mounts), r.procs.stop(d.servers), endStrays(d.root), d.detachMounts()}
	if left, err := mountsBelow(d.root); err != nil || len(left) > 0 {
		// What is below may not be ours to remove.
		return errors.Join(append(errs, err, fmt.Errorf("%s is left behind: mounted: %s", d.root, strings.Join(left, ", ")))...)
	}
	for _, dir := range []string{d.root, d.shm} {
		if dir != "" {
			errs = append(errs, os.RemoveAll(dir))
		}
	}
	return errors.Join(errs...)
}

// detachMounts takes away what children that were killed left mounted.
func (d *directories) detachMounts() error {
	left, err := mountsBelow(d.root)
	errs := []error{err}
	for _, dir := range left {
		err := kernelUnmount(dir)
		if errors.Is(err, unix.EPERM) {
			var out []byte
			if out, err = exec.Command("fusermount3", "-u", "-z", "--", dir).CombinedOutput(); err != nil {
				err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(out))
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("unmount %s: %w", dir, err))
		}
	}
	return errors.Join(errs...)
}

// mountsBelow lists mount points in a directory, without touching them: they may be dead.
func mountsBelow(dir string) ([]string, error) {
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var found []string
	for line := range strings.Lines(string(info)) {
		if f := strings.Fields(line); len(f) > 4 {
			if at := unescape.Replace(f[4]); strings.HasPrefix(at, dir+"/") {
				found = append(found, at)
			}
		}
	}
	return found, nil
}

// endStrays stops the servers that mounts have started, which are not our children. Their arguments name a directory that only we
// use, and a descriptor protects against reused process ids.
func endStrays(dir string) error {
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range procs {
		pid, err := strconv.Atoi(p.Name())
		if err != nil || !isServerIn(pid, dir) {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err == nil {
			if isServerIn(pid, dir) {
				err = endProcess(fd)
			}
			err = errors.Join(err, unix.Close(fd))
		}
		if err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("end the server with pid %d: %w", pid, err))
		}
	}
	return errors.Join(errs...)
}

func isServerIn(pid int, dir string) bool {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return false
	}
	args := strings.Split(string(line), "\x00")
	serve, ours := false, false
	for _, a := range args[1:] {
		serve = serve || a == "serve"
		ours = ours || strings.HasPrefix(a, dir+"/")
	}
	return serve && ours
}

func endProcess(fd int) error {
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		if err := unix.PidfdSendSignal(fd, sig, nil, 0); err != nil {
			return err
		}
		deadline := time.Now().Add(stopBound)
		for left := stopBound; left > 0; left = time.Until(deadline) {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
			if err != nil && !errors.Is(err, unix.EINTR) {
				return err
			}
			if n > 0 {
				return nil
			}
		}
	}
	return errors.New("it does not end")
}
