package main

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/local"
	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/server"
)

// newTakeOver returns the options of a server that is to be, and what another one that has its place would say of itself.
func newTakeOver(t *testing.T, mode string) (server.Options, server.LockInfo) {
	dir := t.TempDir()
	o := server.Options{StateDir: filepath.Join(dir, "state"), RuntimeDir: filepath.Join(dir, "run"), Mode: server.ModeServe}
	for _, d := range []string{o.StateDir, o.RuntimeDir} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return o, server.LockInfo{Socket: local.Socket(o.RuntimeDir), PID: os.Getpid(), Host: "host", Mode: mode}
}

func lockState(t *testing.T, o server.Options, info server.LockInfo) *server.StateLock {
	t.Helper()
	l, err := server.LockState(o.StateDir, info)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Unlock() })
	return l
}

type started struct {
	s   *server.Server
	err error
}

func startTakeOver(t *testing.T, o server.Options) <-chan started {
	done := make(chan started, 1)
	go func() {
		s, err := takeOver(t.Context(), o)
		done <- started{s, err}
	}()
	return done
}

func wantServer(t *testing.T, done <-chan started) {
	t.Helper()
	got := <-done
	if got.err != nil {
		t.Fatal(got.err)
	}
	if mode := got.s.Info().Mode; mode != server.ModeServe {
		t.Errorf("mode %q", mode)
	}
	if err := got.s.Close(); err != nil {
		t.Error(err)
	}
}

// awaitLook waits until a server that is to be has tried to start once more: it takes others' rights to its directory.
func awaitLook(t *testing.T, o server.Options) {
	t.Helper()
	if err := os.Chmod(o.StateDir, 0o755); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, takeOverBound, func() error {
		st, err := os.Stat(o.StateDir)
		if err == nil && st.Mode().Perm() != 0o700 {
			err = errors.New("it has not tried")
		}
		return err
	})
}

// A server that has just begun has no socket yet, and one that is being killed does not answer. It is asked until it
// does or is gone.
func TestTakeOverAsksAgain(t *testing.T) {
	o, info := newTakeOver(t, server.ModeAuto)
	l := lockState(t, o, info)
	done := startTakeOver(t, o)
	awaitLook(t, o)
	awaitLook(t, o) // so it has asked in vain
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: info.Socket})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if err := listener.SetDeadline(time.Now().Add(takeOverBound)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		conn, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	listener.Close()
	if err := l.Unlock(); err != nil {
		t.Fatal(err)
	}
	wantServer(t, done)
}

// A lock names its last holder for a moment, or a dead one: the name of a server that stays counts when it stays.
func TestTakeOverFromOneThatStays(t *testing.T) {
	o, info := newTakeOver(t, server.ModeServe)
	l := lockState(t, o, info)
	timer := time.AfterFunc(stayGrace/4, func() { _ = l.Unlock() })
	defer timer.Stop()
	wantServer(t, startTakeOver(t, o))

	lockState(t, o, info)
	began := time.Now()
	got := <-startTakeOver(t, o)
	var locked *server.LockedError
	if !errors.As(got.err, &locked) || !strings.Contains(got.err.Error(), "mode serve") {
		t.Errorf("while a server stays: %v", got.err)
	}
	if took := time.Since(began); took > takeOverBound/2 {
		t.Errorf("refused after %v", took)
	}
}
