package fs

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/fs/kernel"
	"github.com/commy-project/commyfs/internal/testenv"
)

// watched is a real mount with a watchdog that looks often.
type watched struct {
	*Mounted
	t   *testing.T
	log *logText
}

type logText struct {
	mu  sync.Mutex
	buf bytes.Buffer // mu guards it
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logText) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), s)
}

func newWatched(t *testing.T, tick time.Duration) *watched {
	t.Helper()
	testenv.NeedFUSE(t)
	testenv.Root(t)
	log := &logText{}
	f := newFS(Options{Dir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(log, nil))})
	err := f.connect(t.Context(), newHost(t).options())
	if err != nil {
		t.Fatal(err)
	}
	f.watchdog.tick = tick
	w := &watched{&Mounted{fs: f, client: f.c}, t, log}
	if err := w.mount(f.o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.Unmount(w.Dir(), unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) // most tests have done it
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	w.sh(`mkdir -p t/s; echo value > t/s/v`)
	return w
}

// command is a script in the mount: a process of its own, since what waits in the kernel for us cannot be ended.
func (w *watched) command(script string) *exec.Cmd {
	cmd := exec.Command("sh", "-ec", `cd "$1"; `+script, "sh", w.Dir())
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

func (w *watched) sh(script string) string {
	w.t.Helper()
	out, err := w.command(script).CombinedOutput()
	if err != nil {
		w.t.Fatalf("%s: %v: %s", script, err, out)
	}
	return string(out)
}

// sleeper is a process with t/s/v open that reads it when it is told to.
type sleeper struct {
	w     *watched
	cmd   *exec.Cmd
	stdin io.Closer
	out   bytes.Buffer
	h     *handle
}

func (w *watched) sleeper() *sleeper {
	w.t.Helper()
	r := &sleeper{w: w, cmd: w.command(`exec 3<t/s/v; cd /; read x || true; exec cat <&3`)}
	r.cmd.Stdout, r.cmd.Stderr = &r.out, &r.out
	var err error
	if r.stdin, err = r.cmd.StdinPipe(); err != nil {
		w.t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = r.cmd.Process.Kill() // most have ended
		_ = r.cmd.Wait()
	})
	eventually(w.t, "the file is open", func() bool {
		w.fs.handles.mu.RLock()
		defer w.fs.handles.mu.RUnlock()
		for _, h := range w.fs.handles.m {
			if !h.writes { // not what made the file, whose release is on its way
				r.h = h
			}
		}
		return r.h != nil
	})
	return r
}

// end waits for the end of the process, which a hang would keep away.
func (r *sleeper) end() string {
	r.w.t.Helper()
	done := make(chan error, 1)
	go func() { done <- r.cmd.Wait() }()
	select {
	case err := <-done:
		if err == nil {
			r.w.t.Errorf("no error: %s", r.out.String())
		}
	case <-time.After(10 * time.Second):
		r.w.t.Error("a caller hangs")
		_ = r.w.Abort()
		r.w.t.Log("then: ", <-done)
	}
	return r.out.String()
}

// A handler that does not come back is told of once, with all stacks, and its caller gets EIO. Others go on.
func TestWatchdog(t *testing.T) {
	w := newWatched(t, 250*time.Millisecond) // what does not hang is not late, on a busy machine either
	r := w.sleeper()
	r.h.mu.Lock()
	r.stdin.Close()
	eventually(t, "the log tells", func() bool { return w.log.count("all stacks") == 1 })
	if got := w.sh("cat t/s/v"); got != "value\n" {
		t.Errorf("meanwhile others read %q", got)
	}
	if out := r.end(); !strings.Contains(out, "Input/output error") {
		t.Errorf("the caller got %q", out)
	}
	// RELEASE finds the same lock.
	eventually(t, "both are answered", func() bool {
		return w.log.count("first=read") > 0 && w.log.count("first=release")+w.log.count("number=2") > 0
	})
	for text, want := range map[string]int{"op=read": 1, "op=release": 1, "program=cat": 1, "all stacks": 1, "TestWatchdog": 1} {
		if got := w.log.count(text); got < want || text == "all stacks" && got > want {
			t.Errorf("%q is %d times in the log, want %d", text, got, want)
		}
	}
	r.h.mu.Unlock()
	eventually(t, "the handlers have ended", func() bool { _, _, late := w.fs.requests.overdue(1, 1); return !late })
	if err := w.Unmount(false); err != nil {
		t.Error(err)
	}
	w.Wait()
}

// Abort ends the waiting of callers, with a file for that and without, and what hangs keeps nobody from leaving.
func TestAbort(t *testing.T) {
	for _, tt := range []struct {
		name string
		file bool
		want string
	}{{"with a file", true, "Software caused connection abort"}, {"without", false, "Transport endpoint is not connected"}} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWatched(t, time.Hour)
			r := w.sleeper()
			r.h.mu.Lock()
			defer r.h.mu.Unlock()
			if err := w.Unmount(true); err != nil {
				t.Fatal(err)
			}
			r.stdin.Close()
			eventually(t, "the read has come", func() bool {
				for i := range w.fs.requests.shards {
					s := &w.fs.requests.shards[i]
					s.mu.Lock()
					n := len(s.slots) - len(s.free)
					s.mu.Unlock()
					if n > 0 {
						return true
					}
				}
				return false
			})
			if !tt.file {
				w.abort.Close()
				w.abort = nil
			}
			if err := w.Abort(); err != nil {
				t.Error(err)
			}
			if out := r.end(); !strings.Contains(out, tt.want) {
				t.Errorf("the caller got %q", out)
			}
			ended := make(chan struct{})
			go func() {
				w.Wait()
				close(ended)
			}()
			select {
			case <-ended:
			case <-time.After(10 * time.Second):
				t.Error("Wait waits for a handler that hangs")
			}
		})
	}
}

// A request that cannot be answered ends the connection.
func TestWatchdogAborts(t *testing.T) {
	fd, err := unix.Open("/dev/full", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	f := &FS{log: slog.New(slog.DiscardHandler), kernel: kernel.New(nil, nil, 0, nil)}
	f.kernel.Connect(fd)
	f.watchdog.init(f)
	aborts := 0
	f.watchdog.abort = func() error { aborts++; return errors.New("x") }
	var status fuse.Status
	defer f.end(f.begin("read", &fuse.InHeader{Unique: 2}), &status)
	for range freeTicks + 2 {
		f.requests.ticks.Add(1)
		f.watchdog.look(freeTicks)
	}
	if aborts != 1 {
		t.Errorf("aborted %d times, want once", aborts)
	}
}

// stuckLog takes nothing until it is told to.
type stuckLog struct {
	logText
	entered, let chan struct{}
}

func (l *stuckLog) Write(p []byte) (int, error) {
	select {
	case l.entered <- struct{}{}:
	default:
	}
	<-l.let
	return l.logText.Write(p)
}

// What cannot be told because the log is busy is told later.
func TestWatchdogTellsLater(t *testing.T) {
	fd, err := unix.Open("/dev/null", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	log := &stuckLog{entered: make(chan struct{}, 1), let: make(chan struct{})}
	f := &FS{log: slog.New(slog.NewTextHandler(log, nil)), kernel: kernel.New(nil, nil, 0, nil)}
	f.kernel.Connect(fd)
	f.callers.init()
	f.watchdog.init(f)
	look := func() {
		f.requests.ticks.Add(1)
		f.watchdog.look(freeTicks)
	}
	var status fuse.Status
	first, second := f.begin("read", &fuse.InHeader{Unique: 2}), f.begin("write", &fuse.InHeader{Unique: 4})
	for range lateTicks {
		look()
	}
	<-log.entered
	for range freeTicks {
		look()
	}
	f.end(first, &status)
	f.end(second, &status)
	close(log.let)
	eventually(t, "it is told", func() bool {
		look()
		return log.count("answered with EIO") > 0
	})
	if n, dumps := log.count("number=2 first=read"), log.count("all stacks"); n != 1 || dumps != 1 {
		t.Errorf("told %d times, %d dumps", n, dumps)
	}
}

// What hangs does not keep a mount from closing.
func TestCloseOfHanging(t *testing.T) {
	w := newWatched(t, 50*time.Millisecond)
	if err := w.Unmount(false); err != nil {
		t.Fatal(err)
	}
	w.Wait()
	eventually(t, "nothing is being logged", func() bool { return !w.fs.watchdog.logging.Load() })
	before := w.log.count("all stacks") // on a busy machine requests were late
	w.fs.unshared.backups.Add(1)
	err := w.Close()
	if got := w.log.count("all stacks") - before; err == nil || got != 1 {
		t.Errorf("error %v, %d dumps", err, got)
	}
	w.fs.unshared.backups.Done()
	eventually(t, "it has closed", func() bool {
		select {
		case <-w.fs.watchdog.stopped:
			return true
		default:
			return false
		}
	})
}
