package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/local"
)

// server is a commyfs server that also listens for other hosts.
type server struct {
	*child
	state, runtime string
	url, ca        string
	key            string // the file of an API key
	// alone: mounts do not start another one in its place.
	alone bool
}

func (s *server) flags() []string {
	return []string{"--state-dir", s.state, "--runtime-dir", s.runtime}
}

// softFiles is the limit of descriptors that a login gives; the server raises it as far as it may.
const softFiles = 1024

func (l *lab) server() (*server, error) {
	if l.commyfs != nil {
		return l.commyfs, nil
	}
	s := &server{state: filepath.Join(l.root, "state"), runtime: filepath.Join(l.run, "run")}
	if err := errors.Join(os.MkdirAll(s.state, 0o700), os.MkdirAll(s.runtime, 0o700)); err != nil {
		return nil, err
	}
	if err := l.serve(s); err != nil {
		return nil, err
	}
	l.commyfs = s
	return s, nil
}

// serve starts the server, the first time or again.
func (l *lab) serve(s *server) (err error) {
	listen := "127.0.0.1:0"
	if s.url != "" { // where its clients look for it
		listen = strings.TrimSuffix(strings.TrimPrefix(s.url, "wss://"), "/")
	}
	args := append([]string{"-c", fmt.Sprintf(`ulimit -Sn %d; exec "$@"`, softFiles), "sh", l.o.commyfs, "serve", "--listen", listen,
		"--tls-self-signed"}, s.flags()...)
	if s.child, err = l.start("commyfs serve", "/bin/sh", args...); err != nil {
		return err
	}
	if s.url, err = l.line(s.child, "listening "); err == nil {
		s.ca, err = l.line(s.child, "ca ")
	}
	return err
}

// apiKey makes one.
func (l *lab) apiKey(s *server) (string, error) {
	if s.key != "" {
		return s.key, nil
	}
	c, err := l.start("commyfs key create", l.o.commyfs, append([]string{"key", "create", "peers"}, s.flags()...)...)
	if err != nil {
		return "", err
	}
	<-c.done
	key, err := l.line(c, "")
	if err != nil {
		return "", err
	}
	file := filepath.Join(l.root, "key")
	if err := os.WriteFile(file, []byte(key+"\n"), 0o600); err != nil {
		return "", err
	}
	s.key = file
	return file, nil
}

// mounted is a mount of ours.
type mounted struct {
	*child
	dir string
}

// path is of a file of the service that the rows work on.
func (m *mounted) path(name ...string) string {
	return filepath.Join(append([]string{m.dir, tenant, service}, name...)...)
}

// The names of what the rows work on.
const (
	tenant  = "peers"
	service = "row"
)

// mount mounts at the server's socket, or, remote, by wss with nothing of the server's own at hand.
func (l *lab) mount(remote bool, more ...string) (*mounted, error) {
	s, err := l.server()
	if err != nil {
		return nil, err
	}
	l.n++
	m := &mounted{dir: filepath.Join(l.root, fmt.Sprintf("mount%d", l.n))}
	if err := os.Mkdir(m.dir, 0o700); err != nil {
		return nil, err
	}
	flags := append(s.flags(), more...)
	if remote {
		key, err := l.apiKey(s)
		if err != nil {
			return nil, err
		}
		other := server{state: m.dir + ".state", runtime: filepath.Join(l.run, filepath.Base(m.dir))}
		if err := errors.Join(os.Mkdir(other.state, 0o700), os.Mkdir(other.runtime, 0o700)); err != nil {
			return nil, err
		}
		flags = append(append(other.flags(), more...), "--server", s.url, "--ca", s.ca, "--api-key-file", key)
	}
	if s.alone && !remote {
		flags = append(flags, "--server", "unix://"+local.Socket(s.runtime))
	}
	if m.child, err = l.start("commyfs mount", l.o.commyfs, append([]string{"mount", m.dir}, flags...)...); err != nil {
		return nil, err
	}
	l.later(func() error { return detach(m.dir) })
	l.later(m.stop)
	_, err = l.line(m.child, "mounted ")
	return m, err
}

// service makes the service of the row.
func (m *mounted) makeService() error { return os.MkdirAll(m.path(), 0o755) }

// look is what a user does once: ls, and cat of everything.
func (m *mounted) look(dir string) error {
	list, err := os.ReadDir(dir)
	for _, e := range list {
		if _, readErr := os.ReadFile(filepath.Join(dir, e.Name())); readErr != nil {
			err = errors.Join(err, readErr)
		}
	}
	return err
}

// again repeats a system call that Go's scheduler interrupts.
func again(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
