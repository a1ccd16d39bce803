package main

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// fakeMount is busy until it is told otherwise.
type fakeMount struct {
	mu    sync.Mutex
	busy  bool
	stuck bool // users keep a detached mount alive
	calls []string
	gone  chan struct{}
}

func (m *fakeMount) Wait() { <-m.gone }

func (m *fakeMount) Unmount(lazy bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if lazy {
		m.calls = append(m.calls, "detach")
	} else {
		m.calls = append(m.calls, "unmount")
	}
	if m.busy && !lazy {
		return errors.New("unmount /mnt: in use by pid 1 (sh): stop it or use --lazy")
	}
	if !m.stuck {
		close(m.gone)
	}
	return nil
}

func (m *fakeMount) Abort() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, "abort")
	return nil
}

func TestServeMount(t *testing.T) {
	for _, tt := range []struct {
		name        string
		busy, stuck bool
		outside     bool // unmounted by somebody else
		signals     []os.Signal
		want        string
		took        time.Duration
	}{
		{name: "unmounted by somebody", outside: true},
		{name: "interrupted", signals: []os.Signal{syscall.SIGINT}, want: "unmount"},
		{name: "terminated", signals: []os.Signal{syscall.SIGTERM}, want: "unmount"},
		{name: "busy, interrupted twice", busy: true, signals: []os.Signal{syscall.SIGINT, syscall.SIGINT}, want: "unmount detach"},
		{name: "busy, terminated once", busy: true, signals: []os.Signal{syscall.SIGTERM}, want: "unmount detach", took: busyGrace},
		{name: "users do not let go", busy: true, stuck: true, signals: []os.Signal{syscall.SIGTERM, syscall.SIGTERM}, want: "unmount detach abort", took: detachGrace},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &fakeMount{busy: tt.busy, stuck: tt.stuck, gone: make(chan struct{})}
				signals := make(chan os.Signal, 2)
				for _, s := range tt.signals {
					signals <- s
				}
				if tt.outside {
					close(m.gone)
				}
				var stderr bytes.Buffer
				start := time.Now()
				if err := serveMount(m, signals, &stderr); err != nil {
					t.Error(err)
				}
				if got := strings.Join(m.calls, " "); got != tt.want {
					t.Errorf("calls %q, want %q", got, tt.want)
				}
				if took := time.Since(start); took != tt.took {
					t.Errorf("took %v, want %v", took, tt.took)
				}
				if named := strings.Contains(stderr.String(), "pid 1 (sh)"); named != tt.busy {
					t.Errorf("told %q", stderr.String())
				}
				if tt.stuck {
					close(m.gone)
				}
			})
		})
	}
}

// An interrupt of a busy mount leaves it alone, for as long as its users want.
func TestServeMountWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &fakeMount{busy: true, gone: make(chan struct{})}
		signals := make(chan os.Signal, 2)
		signals <- syscall.SIGINT
		ended := make(chan error, 1)
		go func() { ended <- serveMount(m, signals, &bytes.Buffer{}) }()
		time.Sleep(time.Hour) // the bubble's clock
		select {
		case err := <-ended:
			t.Fatalf("ended, %v, after %q", err, m.calls)
		default:
		}
		close(m.gone)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestEscapeDir(t *testing.T) {
	seen := map[string]string{}
	for _, dir := range []string{"/mnt/commy", "/mnt-commy", "/mnt%2Dcommy", "/", "/mnt/a b"} {
		name := escapeDir(dir)
		if strings.Contains(name, "/") || seen[name] != "" {
			t.Errorf("%q and %q are both %q", dir, seen[name], name)
		}
		seen[name] = dir
	}
	if got := escapeDir("/mnt/commy"); got != "mnt-commy" {
		t.Errorf("/mnt/commy is %q", got)
	}
	if n := len(escapeDir("/" + strings.Repeat("d/", 1000))); n > 200 {
		t.Errorf("a file name of %d bytes", n)
	}
}
