package server

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/transport"
)

func TestNothingIsLeft(t *testing.T) {
	testenv.NoLeaks(t)
	d := newDirs(t)
	s := d.start(t)
	p := connect(t, s)
	p.do(store("v", "1"))
	p.mustWatch(&transport.Watch{Service: p.service("t", "s"), Values: true})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.cl.Done():
	case <-time.After(bound):
		t.Fatal("the session goes on")
	}
	if !errors.Is(p.cl.Err(), model.ErrUnavailable) {
		t.Errorf("the client is told %v", p.cl.Err())
	}
	select {
	case <-s.Done():
	default:
		t.Error("a closed server is not done")
	}
	if s.Err() != nil {
		t.Errorf("reason %v", s.Err())
	}
	left, err := os.ReadDir(d.run)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		if e.Name() != "server.lock" {
			t.Errorf("left in the runtime directory: %s", e.Name())
		}
	}
	_ = p.cl.Close()
}

func TestLock(t *testing.T) {
	d := newDirs(t)
	d.start(t)
	_, err := Start(t.Context(), Options{StateDir: d.state, RuntimeDir: newDirs(t).run})
	var locked *LockedError
	if !errors.As(err, &locked) || !errors.Is(err, ErrLocked) {
		t.Fatalf("a second server: %v", err)
	}
	h := locked.Holder
	if h.PID != os.Getpid() || h.Mode != ModeServe || h.Socket != filepath.Join(d.run, "server.sock") || h.BootID != bootID() || h.BootID == "" {
		t.Errorf("holder %+v", h)
	}
	if !strings.Contains(err.Error(), fmt.Sprint("pid ", os.Getpid())) {
		t.Errorf("error %q names no pid", err)
	}
	// Another state directory does not make the runtime directory free.
	if _, err = Start(t.Context(), Options{StateDir: newDirs(t).state, RuntimeDir: d.run}); !errors.Is(err, ErrLocked) {
		t.Errorf("a second server in the runtime directory: %v", err)
	}
	connect(t, &Server{opts: Options{RuntimeDir: d.run}}).do(store("v", "unharmed"))
}

func TestStateOfAnotherUser(t *testing.T) {
	testenv.Root(t)
	for _, what := range []string{"state", "runtime"} {
		d := newDirs(t)
		dir := map[string]string{"state": d.state, "runtime": d.run}[what]
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(dir, 12345, -1); err != nil {
			t.Fatal(err)
		}
		_, err := Start(t.Context(), Options{StateDir: d.state, RuntimeDir: d.run})
		if !errors.Is(err, iofs.ErrPermission) || !strings.Contains(err.Error(), "12345") || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s directory of another user: %v", what, err)
		}
	}
	d := newDirs(t)
	if err := os.MkdirAll(d.state, 0o755); err != nil {
		t.Fatal(err)
	}
	d.start(t)
	if st, err := os.Stat(d.state); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("state directory has mode %v, %v", st.Mode(), err)
	}
}

func TestHandover(t *testing.T) {
	d := newDirs(t)
	s := d.start(t, func(o *Options) { o.Mode = ModeAuto })
	p := connect(t, s)
	p.do(store("v", "kept"))
	must[*transport.Done](p, &transport.Handover{})
	left(t, s, ErrHandover)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = d.start(t)
	p = connect(t, s)
	p.wantValue("v", "kept")
	_, err := call[*transport.Done](p, &transport.Handover{})
	p.wantCode(err, model.CodeConflict)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("refused with %v, which names no pid", err)
	}
}

// TestCloseWithSilentConnection: a connection that says nothing does not hold up the end.
func TestCloseWithSilentConnection(t *testing.T) {
	s := startServer(t)
	conn, err := transport.Dial(t.Context(), transport.DialOptions{URL: "unix://" + s.socket()})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	start := time.Now()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took >= helloTimeout/2 {
		t.Errorf("close took %v", took)
	}
}

func left(t *testing.T, s *Server, reason error) {
	t.Helper()
	select {
	case <-s.Done():
	case <-time.After(bound):
		t.Fatal("the server stays")
	}
	if !errors.Is(s.Err(), reason) {
		t.Errorf("left because of %v, want %v", s.Err(), reason)
	}
}

func TestLinger(t *testing.T) {
	s := startServer(t, func(o *Options) { o.Mode, o.Linger = ModeAuto, 50*time.Millisecond })
	p := connect(t, s)
	stays := time.After(200 * time.Millisecond)
	select {
	case <-s.Done():
		t.Fatal("left a session alone")
	case <-stays:
	}
	_ = p.cl.Close()
	left(t, s, ErrIdle)
}

func TestStateDirVanishes(t *testing.T) {
	d := newDirs(t)
	s := d.start(t)
	if err := os.Rename(d.state, d.state+".away"); err != nil {
		t.Fatal(err)
	}
	left(t, s, ErrVanished)
}

func TestRuntimeDirVanishes(t *testing.T) {
	d := newDirs(t)
	s := d.start(t)
	p := connect(t, s)
	p.do(store("v", "1"))
	for _, remove := range []func() error{
		func() error { return os.Remove(s.socket()) },
		func() error { return os.Rename(s.socket(), s.socket()+".away") },
		func() error { return os.RemoveAll(d.run) },
		func() error {
			if err := os.Remove(s.socket()); err != nil {
				return err
			}
			return os.WriteFile(memoryPath(d.run, p.service("t", "s")), []byte("not ours"), 0o600)
		},
	} {
		before, err := os.Stat(s.socket())
		if err != nil {
			t.Fatal(err)
		}
		if err := remove(); err != nil {
			t.Fatal(err)
		}
		testenv.Eventually(t, bound, func() error {
			st, err := os.Stat(s.socket())
			if err != nil || os.SameFile(st, before) {
				return fmt.Errorf("no new socket: %v", err)
			}
			q := &peer{t: t, news: make(chan struct{}, 1)}
			if err := q.dial(transport.DialOptions{URL: "unix://" + s.socket()}); err != nil {
				return err
			}
			return q.cl.Close()
		})
		p.do(store("v", fmt.Sprint(before.ModTime())))
	}
	wantInFile(t, p, memoryPath(d.run, p.service("t", "s")))
	testenv.Eventually(t, bound, func() error {
		if _, err := Start(t.Context(), Options{StateDir: newDirs(t).state, RuntimeDir: d.run}); !errors.Is(err, ErrLocked) {
			return fmt.Errorf("a second server in the directory: %v", err)
		}
		return nil
	})
}

// The runtime directory is removed and becomes another server's before anybody looks: the first one leaves, and does not
// touch what is there now.
func TestRuntimeDirTaken(t *testing.T) {
	d := newDirs(t)
	s := d.start(t, func(o *Options) { o.interval = time.Hour })
	connect(t, s).do(store("v", "first"))
	if err := os.RemoveAll(d.run); err != nil {
		t.Fatal(err)
	}
	second := dirs{newDirs(t).state, d.run}
	p := connect(t, second.start(t))
	p.do(store("v", "second"))
	if err := s.checkRuntime(); !errors.Is(err, ErrLocked) {
		t.Errorf("the first server: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	connect(t, &Server{opts: Options{RuntimeDir: d.run}}).do(store("v", "unharmed"))
	wantInFile(t, p, memoryPath(d.run, p.service("t", "s")))
}
