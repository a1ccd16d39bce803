package main

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
)

// shell is a dash that takes commands from a pipe and lives on, so that no fork is in what it does.
type shell struct {
	in  io.WriteCloser
	out *bufio.Reader
}

func (l *lab) shell() (*shell, error) {
	cmd := exec.Command("dash")
	cmd.Dir = l.root
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	l.later(func() error {
		_ = in.Close() // its end
		return cmd.Wait()
	})
	return &shell{in, bufio.NewReader(out)}, nil
}

// do has the shell carry out a command that prints its exit status.
func (s *shell) do(command string) error {
	if _, err := io.WriteString(s.in, command); err != nil {
		return err
	}
	status, err := s.out.ReadString('\n')
	if err == nil && strings.TrimSpace(status) != "0" {
		err = fmt.Errorf("the shell's exit status is %s", status)
	}
	return err
}
