package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/local"
)

// readyEnv tells a mount that it runs in the background, and which descriptor its parent waits on.
const readyEnv = "COMMYFS_MOUNT_READY_FD"

// daemon is the background mount's connection to its parent.
type daemon struct {
	parent io.WriteCloser
	told   bool
}

// daemonized returns nil if this process is not the background mount.
func (a *app) daemonized() (*daemon, error) {
	text := a.getenv(readyEnv)
	if text == "" {
		return nil, nil
	}
	fd, err := strconv.Atoi(text)
	if err != nil || fd < 3 {
		return nil, usagef("environment variable %s is for internal use only", readyEnv)
	}
	unix.CloseOnExec(fd)
	return &daemon{parent: os.NewFile(uintptr(fd), "parent")}, os.Unsetenv(readyEnv)
}

const (
	readyWord = "ready"
	endedWord = "ended" // an heir was told to end before it was ready
)

// ready tells the parent that the mount is ready.
func (d *daemon) ready() { d.tell(readyWord) }

// failed tells the parent why there is no mount, unless the parent has exited.
func (d *daemon) failed(err error) {
	if err != nil {
		d.tell(fmt.Sprintf("%d %s", exitCode(err), errorLine(err)))
	}
}

func (d *daemon) tell(line string) {
	if d.told {
		return
	}
	d.told = true
	_, _ = io.WriteString(d.parent, line+"\n") // fails if the parent has exited
	_ = d.parent.Close()
}

// startDaemon starts this command again in the background and waits until it is mounted or has failed.
func (a *app) startDaemon(ctx context.Context, o *mountOptions, dir string) error {
	if err := local.MakeDir(o.state); err != nil {
		return err
	}
	logName := filepath.Join(o.state, "mount-"+escapeDir(dir)+".log")
	log, err := local.OpenLog(logName)
	if err != nil {
		return err
	}
	defer log.Close()
	var from int64
	if info, err := log.Stat(); err == nil {
		from = info.Size()
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.Command(local.Executable(), os.Args[1:]...)
	cmd.Args[0] = "commyfs"
	cmd.ExtraFiles = []*os.File{w}
	cmd.Env = append(os.Environ(), readyEnv+"=3")
	cmd.Stdout = log
	if err = local.Detach(cmd, log); err == nil {
		err = cmd.Start()
	}
	w.Close()
	if err != nil {
		return fmt.Errorf("start in the background: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer stop()
	answer, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	line := strings.TrimSpace(string(answer))
	if line == readyWord {
		fmt.Fprintln(a.stdout, "mounted "+dir)
		return nil
	}
	werr := cmd.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	if code, text, ok := strings.Cut(line, " "); ok {
		if n, err := strconv.Atoi(code); err == nil {
			return &exitError{n, errors.New(text)}
		}
	}
	return fmt.Errorf("the mount process exited: %v: %s (log: %s)", werr, local.LastError(logName, from), logName)
}

// escapeDir makes a readable file name from a directory's path: "/mnt/commy" becomes "mnt-commy".
func escapeDir(dir string) string {
	name := strings.NewReplacer("%", "%25", "-", "%2D", "/", "-").Replace(strings.TrimPrefix(dir, "/"))
	const most = 200 // of 255, with room for a prefix and a suffix
	if len(name) > most {
		name = name[len(name)-most:]
	}
	return name
}
