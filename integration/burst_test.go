package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/commy-project/commyfs/internal/testenv"
)

// watcher is a program that prints the name and value of each file in a directory that has changed.
type watcher struct {
	name  string
	lines func() []string
}

// watchers are started on a directory. Those that are large to install are only for COMMYFS_WATCHERS=all; see .ci/conformance.
func watchers(t *testing.T, h *Host, dir string) []watcher {
	t.Helper()
	script := func(file string) string {
		path, err := filepath.Abs("testdata/watchers/" + file)
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	testenv.Need(t, "inotifywait", "node", "watchmedo")
	commands := map[string][]string{
		"inotifywait": {"python3", script("inotifywait.py")},
		"watchdog":    {"/usr/bin/python3", script("observer.py")},
		"fs.watch":    {"node", script("fswatch.js")},
	}
	if os.Getenv("COMMYFS_WATCHERS") == "all" {
		testenv.Need(t, "java", "javac")
		commands["chokidar"] = []string{"env", "NODE_PATH=/usr/share/nodejs", "node", script("chokidar.js")}
		commands["WatchService"] = []string{"java", script("Watch.java")}
		if os.Getenv("COMMYFS_WATCHER_NOTIFY") == "" {
			t.Fatal("COMMYFS_WATCHER_NOTIFY names no program: .ci/conformance builds it of testdata/watchers/notify")
		}
		commands["notify"] = []string{os.Getenv("COMMYFS_WATCHER_NOTIFY")}
	}
	var list []watcher
	for name, command := range commands {
		p := h.StartCommand(command[0], append(command[1:], dir)...)
		testenv.Eventually(t, slower(60*time.Second), func() error {
			if strings.HasPrefix(p.stdout.String(), "ready\n") || p.ended() {
				return nil
			}
			return errors.New("not ready")
		})
		if p.ended() {
			t.Fatalf("%s: %s", name, p.logs())
		}
		list = append(list, watcher{name, func() []string { return p.stdout.Lines()[1:] }})
	}
	return append(list, goWatcher(t, dir))
}

// goWatcher uses fsnotify, in this process.
func goWatcher(t *testing.T, dir string) watcher {
	t.Helper()
	w, err := fsnotify.NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Add(dir); err != nil {
		t.Fatal(err)
	}
	var out output
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e := range w.Events {
			data, err := os.ReadFile(e.Name)
			if err != nil {
				fmt.Fprintf(&out, "%v\n", err)
			}
			fmt.Fprintf(&out, "%s %s\n", filepath.Base(e.Name), data)
		}
	}()
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
	return watcher{"fsnotify", out.Lines}
}

// wantLast waits until the last value of each file that the watcher has printed is the right one, and returns how many lines
// there were in all.
func (w watcher) wantLast(t *testing.T, from int, want map[string]string) int {
	t.Helper()
	var lines []string
	testenv.Eventually(t, slower(60*time.Second), func() error {
		lines = w.lines()[from:]
		last := map[string]string{}
		for _, line := range lines {
			name, value, _ := strings.Cut(line, " ")
			last[name] = value
		}
		for name, value := range want {
			if last[name] != value {
				return fmt.Errorf("%s: the last value of %s is %q, want %q (%d lines)", w.name, name, last[name], value, len(lines))
			}
		}
		return nil
	})
	return len(lines)
}

// TestS17_Bursts: whatever watches sees the last value of each variable after a burst, with and without --event-delay, which leaves
// fewer events.
func TestS17_Bursts(t *testing.T) {
	t.Parallel()
	const updates = 10_000
	for _, tt := range []struct {
		delay     string
		variables int
	}{{"0", 1}, {"0", 1000}, {"200ms", 1}, {"200ms", 1000}} {
		t.Run(fmt.Sprintf("%d variables, %s", tt.variables, tt.delay), func(t *testing.T) {
			t.Parallel()
			h := NewHost(t)
			a, b := h.Mount("--timeout", "1m"), h.Mount("--event-delay", tt.delay)
			a.Mkdir("t")
			a.Mkdir("t/s")
			files := make([]*os.File, tt.variables)
			for i := range files {
				var err error
				if files[i], err = os.Create(a.Path("t/s/" + strconv.Itoa(i))); err != nil {
					t.Fatal(err)
				}
				defer files[i].Close()
				if _, err := files[i].WriteString("000000"); err != nil {
					t.Fatal(err)
				}
				if err := files[i].Sync(); err != nil { // it edits from now on
					t.Fatal(err)
				}
			}
			b.WaitFor("t/s/" + strconv.Itoa(tt.variables-1))
			list := watchers(t, h, b.Path("t/s"))
			began, marks := time.Now(), make([]int, len(list))
			for i, w := range list {
				marks[i] = len(w.lines())
			}
			want := map[string]string{}
			for i := range updates {
				n := i % tt.variables
				value := fmt.Sprintf("%06d", i)
				if _, err := files[n].WriteAt([]byte(value), 0); err != nil {
					t.Fatal(err)
				}
				want[strconv.Itoa(n)] = value
			}
			for _, f := range files {
				if err := f.Sync(); err != nil {
					t.Fatal(err)
				}
			}
			took := time.Since(began)
			for i, w := range list {
				n := w.wantLast(t, marks[i], want)
				t.Logf("%s: %d lines in %v", w.name, n, took)
				if n > 3*updates {
					t.Errorf("%s: %d events of %d updates", w.name, n, updates)
				}
				// Each variable has an event of each kind for each time that the delay goes by, at most.
				rounds := int(time.Since(began)/(200*time.Millisecond)) + 2
				if tt.delay != "0" && n > 3*tt.variables*rounds {
					t.Errorf("%s: %d events of %d variables in %v", w.name, n, tt.variables, time.Since(began))
				}
			}
			s := b.facts("stats")
			t.Logf("raised %s, merged %s, dropped %s", s["events_raised_modify"], s["events_merged"], s["events_dropped"])
			if n := b.stat("events_queued"); n != 0 {
				t.Errorf("%d events wait", n)
			}
			rounds := int(time.Since(began)/(200*time.Millisecond)) + 2
			if raised := b.stat("events_raised_close_write"); tt.delay != "0" && tt.variables == 1 && raised > rounds {
				t.Errorf("%d events of one variable in %v", raised, time.Since(began))
			}
		})
	}
}

// TestS17_EventList: events that are left out are not raised, and the value is the same.
func TestS17_EventList(t *testing.T) {
	t.Parallel()
	h := NewHost(t)
	a := h.Mount()
	b, c := h.Mount("--events", "create,close_write", "--event-delay", "50ms"), h.Mount("-o", "events=none,event_delay=1s")
	a.Mkdir("t")
	a.Mkdir("t/s")
	b.WaitFor("t/s")
	c.WaitFor("t/s")
	some, none := h.Inotify(b.Path("t/s")), h.Inotify(c.Path("t/s"))
	a.Write("t/s/v", "1")
	b.WaitValue("t/s/v", "1")
	a.Write("t/s/v", "2")
	a.Mkdir("t/s/d")
	if err := os.Remove(a.Path("t/s/v")); err != nil {
		t.Fatal(err)
	}
	a.Write("t/s/last", "1")
	some.Expect(0, "CREATE v", "CLOSE_WRITE v", "CREATE,ISDIR d", "CREATE last", "CLOSE_WRITE last")
	c.WaitValue("t/s/last", "1")
	for _, e := range some.Events() {
		if e.has("MODIFY") || e.has("DELETE") {
			t.Errorf("event %v", e)
		}
	}
	if got := none.Events(); len(got) > 0 {
		t.Errorf("events %v", got)
	}
	for _, bad := range [][]string{{"--events", "open"}, {"--event-delay", "-1s"}, {"--event-delay", "2m"}, {"--event-delay", "x"}, {"-o", "event_delay=-1s"}} {
		if r := h.Run(append([]string{"mount", h.NewDir()}, bad...)...); r.Code != 2 || !strings.Contains(r.Stderr, "event") {
			t.Errorf("%q: %v", bad, r)
		}
	}
}
