package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/jsonline"
	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/server"
)

// lines collects what a command prints while it runs.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer // mu guards it
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) changes(t *testing.T) []jsonline.Change {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []jsonline.Change
	dec := json.NewDecoder(bytes.NewReader(l.buf.Bytes()))
	for {
		var c jsonline.Change
		if err := dec.Decode(&c); err == io.EOF {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
}

// What is there when a watch begins is not told, what comes is, each change once: also in services that come later.
func TestWatch(t *testing.T) {
	dir := t.TempDir()
	srv, err := server.Start(t.Context(), server.Options{StateDir: filepath.Join(dir, "state"), RuntimeDir: filepath.Join(dir, "run")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	})
	run := func(args ...string) {
		t.Helper()
		a, _, stderr := testApp(nil)
		if code := a.run(t.Context(), append(args, "--server", srv.URL(), "--state-dir", dir, "--runtime-dir", dir)); code != exitOK {
			t.Fatalf("%q: exit code %d: %s", args, code, stderr)
		}
	}
	run("set", "a/s/old", "before")
	run("set", "b/s/old", "before")

	var out lines
	a, _, stderr := testApp(nil)
	a.stdout = &out
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() {
		ended <- a.run(ctx, []string{"watch", "a", "c/s/only", "--output", "json", "--server", srv.URL(), "--state-dir", dir, "--runtime-dir", dir})
	}()
	seen := func(path, value string) func() error {
		return func() error {
			for _, c := range out.changes(t) {
				if c.Path == path && c.Value != nil && string(*c.Value) == value {
					return nil
				}
			}
			return fmt.Errorf("%s = %s is not among %+v", path, value, out.changes(t))
		}
	}
	for n := 0; len(out.changes(t)) == 0; n++ {
		run("set", "a/s/begin", fmt.Sprint(n))
		_ = testenv.Poll(100*time.Millisecond, seen("a/s/begin", fmt.Sprint(n)))
	}
	from := len(out.changes(t))

	run("set", "a/s/old", "after")
	run("set", "b/s/old", "not asked for")
	for i := range 20 {
		run("set", "a/new/v", fmt.Sprint(i))
	}
	run("set", "c/s/other", "not asked for")
	run("set", "c/s/only", "asked for")
	run("set", "d/s/v", "not asked for")
	run("rm", "a/s/old")
	run("set", "a/s/end", "end")
	testenv.Eventually(t, 10*time.Second, seen("a/s/end", "end"))
	testenv.Eventually(t, 10*time.Second, seen("a/new/v", "19"))
	testenv.Eventually(t, 10*time.Second, seen("c/s/only", "asked for"))

	cancel()
	if code := <-ended; code != exitOK {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	var last uint64
	events := map[string][]string{}
	for _, c := range out.changes(t)[from:] {
		if strings.HasPrefix(c.Path, "b") || strings.HasPrefix(c.Path, "d") || c.Path == "c/s/other" {
			t.Errorf("not asked for: %+v", c)
		}
		events[c.Path] = append(events[c.Path], c.Event)
		if c.Path == "a/new/v" {
			if c.Version <= last {
				t.Errorf("version %d of a/new/v after %d", c.Version, last)
			}
			last = c.Version
		}
	}
	if last != 20 || events["a/new/v"][0] != "create" {
		t.Errorf("last version of a/new/v is %d, its events: %q", last, events["a/new/v"])
	}
	for path, want := range map[string]string{"a/s/old": "modify delete", "a/new": "create", "c/s/only": "create", "a/s/end": "create"} {
		if got := strings.Join(events[path], " "); got != want {
			t.Errorf("events of %s: %q, want %q", path, got, want)
		}
	}
}
