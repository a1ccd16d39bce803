package local

import (
	"bytes"
	"errors"
	"fmt"
	iofs "io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Executable is a path for starting this program again. After an upgrade it is the new program, if that has replaced the old
// one, otherwise the running program, which the kernel keeps.
func Executable() string {
	path, err := os.Executable()
	if err == nil {
		err = unix.Access(path, unix.X_OK)
	}
	if err != nil {
		return "/proc/self/exe"
	}
	return path
}

// Detach prepares cmd to outlive this process: in its own session, with output as its standard error, and without inherited
// descriptors except cmd.ExtraFiles.
func Detach(cmd *exec.Cmd, output *os.File) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Stderr = output
	return closeOnExec()
}

// closeOnExec marks inherited descriptors other than the standard ones; Go marks those that it opens itself. A server must not
// hold the lock of `flock 9; commyfs get ...`.
func closeOnExec() error {
	err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	if !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EINVAL) {
		return err
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range fds {
		var fd int
		if _, err := fmt.Sscan(e.Name(), &fd); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// maxLog is the size beyond which a log is rotated when a process opens it.
const maxLog = 1 << 20

// OpenLog opens a log for appending. A large log is first renamed to path.1.
func OpenLog(path string) (*os.File, error) {
	if info, err := os.Stat(path); err == nil && info.Size() > maxLog {
		if err := os.Rename(path, path+".1"); err != nil && !errors.Is(err, iofs.ErrNotExist) {
			return nil, err
		}
	}
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
}

// LastError returns the error that a failed commyfs wrote to its log after offset from: the last line with the prefix for
// error messages, otherwise the last line, or nothing.
func LastError(path string, from int64) string {
	data, err := os.ReadFile(path)
	if err != nil || from > int64(len(data)) {
		return ""
	}
	var last, meant string
	for line := range bytes.Lines(data[from:]) {
		text := strings.TrimSpace(string(line))
		if m, ok := strings.CutPrefix(text, "commyfs: "); ok {
			meant = m
		}
		if text != "" {
			last = text
		}
	}
	if meant != "" {
		return meant
	}
	return last
}

// child is a server that this process has started.
type child struct {
	cmd  *exec.Cmd
	log  string
	from int64 // size of the log before
	done chan struct{}
	err  error // valid once done is closed
}

func startServer(o Options) (*child, error) {
	command := o.Command
	if len(command) == 0 {
		command = []string{Executable()}
	}
	args := append(command[1:len(command):len(command)], "serve", "--auto", "--state-dir", o.StateDir, "--runtime-dir", o.RuntimeDir)
	cmd := exec.Command(command[0], append(args, o.Args...)...)
	cmd.Args[0] = "commyfs"
	cmd.Dir, cmd.Env = "/", o.Env
	c := &child{cmd: cmd, log: filepath.Join(o.StateDir, "server.log"), done: make(chan struct{})}
	f, err := OpenLog(c.log)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil {
		c.from = info.Size()
	}
	if err := Detach(cmd, f); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	// Reaps the server. Nobody joins this goroutine, since the server is meant to outlive this process.
	go func() {
		defer close(c.done)
		c.err = cmd.Wait()
	}()
	return c, nil
}

func (c *child) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// failure says why a server exited without serving; nil means that it yielded to another one.
func (c *child) failure() error {
	if c.err == nil {
		return nil
	}
	if text := LastError(c.log, c.from); text != "" {
		return fmt.Errorf("%s (log: %s)", text, c.log)
	}
	return fmt.Errorf("%w (log: %s)", c.err, c.log)
}
