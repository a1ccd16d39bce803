package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// shell is a dash that takes commands from a pipe.
type shell struct {
	procs   *children
	child   *child
	in, out int // descriptors, for the client's thread to sleep in the system call itself
	answer  [256]byte
}

// shellCommand is the shell whose redirections are measured; Debian's /bin/sh.
const shellCommand = "dash"

func (cs *children) startShell() (_ *shell, err error) {
	path, err := exec.LookPath(shellCommand)
	if err != nil {
		return nil, fmt.Errorf("%s is not installed", shellCommand)
	}
	var fds []int
	defer func() {
		if err != nil {
			for _, fd := range fds {
				_ = unix.Close(fd)
			}
		}
	}()
	for range 2 {
		var pipe [2]int
		if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
			return nil, fmt.Errorf("pipe: %w", err)
		}
		fds = append(fds, pipe[:]...)
	}
	stdin, stdout := os.NewFile(uintptr(fds[0]), "stdin"), os.NewFile(uintptr(fds[3]), "stdout")
	cmd := exec.Command(path)
	cmd.Stdin, cmd.Stdout = stdin, stdout
	c, err := cs.start(shellCommand, cmd)
	err = errors.Join(err, stdin.Close(), stdout.Close())
	fds = []int{fds[1], fds[2]}
	if err != nil {
		return nil, err
	}
	c.ready = true
	return &shell{procs: cs, child: c, in: fds[0], out: fds[1]}, nil
}

// do has the shell carry out a command that prints its exit status in the end.
func (s *shell) do(command []byte) error {
	for len(command) > 0 {
		n, err := unix.Write(s.in, command)
		switch {
		case errors.Is(err, unix.EPIPE):
			return errors.New("the shell has ended")
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("write to the shell: %w", err)
		}
		command = command[n:]
	}
	have := 0
	for {
		n, err := unix.Read(s.out, s.answer[have:])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("read from the shell: %w", err)
		case n == 0:
			return errors.New("the shell has ended")
		}
		have += n
		if s.answer[have-1] == '\n' {
			break
		}
	}
	if status := string(bytes.TrimSpace(s.answer[:have])); status != "0" {
		return fmt.Errorf("the shell's exit status is %s", status)
	}
	return nil
}

// close ends the shell by the end of its input.
func (s *shell) close() error {
	return errors.Join(unix.Close(s.in), s.procs.finish(s.child, stopBound), unix.Close(s.out))
}

func shellQuote(path string) string {
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
