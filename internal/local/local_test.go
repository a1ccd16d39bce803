package local

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/transport"
)

// The test binary is the server as well: with role set in its environment it does what a `commyfs serve --auto` would.
const role = "LOCAL_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "":
		os.Exit(m.Run())
	case "fail":
		fmt.Fprintln(os.Stderr, "level=INFO msg=starting\ncommyfs: the disk is full\nlevel=INFO msg=ended")
		os.Exit(1)
	case "crash":
		panic("at once")
	case "dial":
		if err := dialAfterUpgrade(os.Args[1], os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if err := serve(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "commyfs:", err)
		os.Exit(1)
	}
}

// serve takes the lock, leaves its pid and its descriptors in files, and accepts connections until it is killed. Without
// the lock it ends well.
func serve(args []string) error {
	dirs := map[string]string{}
	for i, arg := range args[:len(args)-1] {
		dirs[arg] = args[i+1]
	}
	state := dirs["--state-dir"]
	lock, err := os.OpenFile(filepath.Join(state, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	started, err := os.OpenFile(filepath.Join(state, "started"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer started.Close()
	if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		_, err := fmt.Fprintln(started, "lost")
		return err
	}
	sid, _ := unix.Getsid(0)
	cwd, _ := os.Getwd()
	var inherited []string
	for fd := 3; fd < 64; fd++ {
		if target, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); err == nil && strings.HasSuffix(target, "/heirloom") {
			inherited = append(inherited, target)
		}
	}
	if _, err := fmt.Fprintf(started, "%d %v %s %q\n", os.Getpid(), sid == os.Getpid(), cwd, inherited); err != nil {
		return err
	}
	l, err := transport.ListenUnix(Socket(dirs["--runtime-dir"]), 0o600)
	if err != nil {
		return err
	}
	return (&http.Server{ConnContext: transport.ConnContext, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := transport.Upgrade(w, r, transport.AcceptOptions{})
		if err == nil {
			_, _ = c.Receive()
			_ = c.Close()
		}
	})}).Serve(l)
}

// options are those for directories of the test's own. Servers that it starts are killed at its end.
func options(t *testing.T, as string) Options {
	t.Helper()
	dir := t.TempDir()
	o := Options{StateDir: filepath.Join(dir, "state"), RuntimeDir: filepath.Join(dir, "run"), Env: append(os.Environ(), role+"="+as)}
	t.Cleanup(func() {
		for _, s := range starts(t, o) {
			s.kill(t)
		}
	})
	return o
}

type started struct {
	pid     int
	session bool
	cwd     string
	fds     string
}

// starts are the servers that got the lock.
func starts(t *testing.T, o Options) []started {
	t.Helper()
	data, _ := os.ReadFile(filepath.Join(o.StateDir, "started"))
	var out []started
	for line := range strings.Lines(string(data)) {
		var s started
		if _, err := fmt.Sscanf(line, "%d %t %s", &s.pid, &s.session, &s.cwd); err == nil {
			s.fds = strings.SplitN(strings.TrimSpace(line), " ", 4)[3]
			out = append(out, s)
		}
	}
	return out
}

func (s started) kill(t *testing.T) {
	t.Helper()
	_ = syscall.Kill(s.pid, syscall.SIGKILL)
	testenv.Eventually(t, 10*time.Second, func() error {
		if err := syscall.Kill(s.pid, 0); !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("pid %d is there: %v", s.pid, err)
		}
		return nil
	})
}

func TestDialStartsAServer(t *testing.T) {
	o := options(t, "serve")
	if _, err := Connect(t.Context(), o); !IsAbsent(err) {
		t.Fatalf("without a server: %v", err)
	}
	if _, err := os.Stat(o.StateDir); err == nil {
		t.Error("Connect made the state directory")
	}

	// A descriptor as a shell hands it on: not close-on-exec.
	f, err := os.Create(filepath.Join(t.TempDir(), "heirloom"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETFD, 0); err != nil {
		t.Fatal(err)
	}

	conn, err := Dial(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	all := starts(t, o)
	if len(all) != 1 || !all[0].session || all[0].cwd != "/" || all[0].fds != "[]" {
		t.Errorf("started %+v, want one server in a session of its own, in /, with nothing inherited", all)
	}
	for _, dir := range []string{o.StateDir, o.RuntimeDir} {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", dir, info.Mode(), err)
		}
	}

	// The same server again, and the next one when it was killed.
	for _, again := range []func(context.Context, Options) (*transport.Conn, error){Dial, Connect} {
		c, err := again(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	if n := len(starts(t, o)); n != 1 {
		t.Errorf("%d servers were started for three connections", n)
	}
	all[0].kill(t)
	o.Reconnect = true
	c, err := Dial(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if n := len(starts(t, o)); n != 2 {
		t.Errorf("%d servers after one was killed, want 2", n)
	}
}

func TestManyDialAtOnce(t *testing.T) {
	o := options(t, "serve")
	for round := 1; round <= 3; round++ {
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				c, err := Dial(t.Context(), o)
				if err != nil {
					t.Error(err)
					return
				}
				c.Close()
			})
		}
		wg.Wait()
		all := starts(t, o)
		if len(all) != round {
			t.Fatalf("round %d: %d servers were started", round, len(all))
		}
		all[round-1].kill(t)
	}
	data, err := os.ReadFile(filepath.Join(o.StateDir, "started"))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(data), "lost"); n > 0 {
		t.Errorf("%d servers were started for nothing", n)
	}
}

// Who keeps the others from starting a server may be stopped.
func TestStarterThatDoesNotStart(t *testing.T) {
	o := options(t, "serve")
	if err := MakeDir(o.RuntimeDir); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(o.RuntimeDir, "start.lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	c, err := Dial(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestServerThatCannotStart(t *testing.T) {
	for as, says := range map[string]string{"fail": "the disk is full", "crash": "server.log"} {
		t.Run(as, func(t *testing.T) {
			o := options(t, as)
			start := time.Now()
			_, err := Dial(t.Context(), o)
			if !errors.Is(err, model.ErrDisconnected) || !strings.Contains(err.Error(), says) {
				t.Errorf("got %v, want one that says %q", err, says)
			}
			if took := time.Since(start); took > 8*time.Second {
				t.Errorf("it took %v to notice", took)
			}
		})
	}
	t.Run("no program", func(t *testing.T) {
		o := options(t, "serve")
		o.Command = []string{"/none"}
		if _, err := Dial(t.Context(), o); err == nil || !strings.Contains(err.Error(), "/none") {
			t.Errorf("got %v", err)
		}
	})
}

func TestDirectories(t *testing.T) {
	testenv.Root(t)
	o := options(t, "serve")
	if err := os.MkdirAll(o.StateDir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(o.StateDir, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func(context.Context, Options) (*transport.Conn, error){"Dial": Dial, "Connect": Connect} {
		if _, err := f(t.Context(), o); err == nil || !strings.Contains(err.Error(), "65534") || !strings.Contains(err.Error(), o.StateDir) {
			t.Errorf("%s with the state directory of another user: %v", name, err)
		}
	}
	if err := os.Remove(o.StateDir); err != nil {
		t.Fatal(err)
	}
	o.Reconnect = true
	if _, err := Dial(t.Context(), o); err == nil || !strings.Contains(err.Error(), "is gone") {
		t.Errorf("reconnect without the state directory: %v", err)
	}
	if _, err := os.Stat(o.StateDir); err == nil {
		t.Error("a state directory that had vanished was made again")
	}
}

// TestElsewhere: the server of a runtime directory may be that of another state directory.
func TestElsewhere(t *testing.T) {
	o := options(t, "serve")
	c, err := Dial(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	lock := fmt.Sprintf(`{"pid":%d}`, os.Getpid())
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	connects := func(dial func(context.Context, Options) (*transport.Conn, error)) error {
		c, err := dial(t.Context(), o)
		if err == nil {
			err = c.Close()
		}
		return err
	}
	write(filepath.Join(o.RuntimeDir, "server.lock"), lock)
	for _, dial := range []func(context.Context, Options) (*transport.Conn, error){Connect, Dial} {
		if err := connects(dial); err == nil || !strings.Contains(err.Error(), "--runtime-dir") {
			t.Errorf("to a server of another state directory: %v", err)
		}
	}
	write(filepath.Join(o.StateDir, "lock"), lock)
	if err := connects(Connect); err != nil {
		t.Errorf("to ours: %v", err)
	}
	// What a dead server left says nothing.
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	write(filepath.Join(o.RuntimeDir, "server.lock"), fmt.Sprintf(`{"pid":%d}`, cmd.Process.Pid))
	if err := connects(Connect); err != nil {
		t.Errorf("with a lock that was left: %v", err)
	}
}

func TestLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	write := func(text string) {
		t.Helper()
		f, err := OpenLog(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	write("commyfs: of another time\n")
	write("a\ncommyfs: b\nc\n")
	for from, want := range map[int64]string{25: "b", 38: "c", 0: "b", 1000: ""} {
		if got := LastError(path, from); got != want {
			t.Errorf("LastError from %d = %q, want %q", from, got, want)
		}
	}
	write(strings.Repeat("x", maxLog))
	write("new\n")
	if data, err := os.ReadFile(path); err != nil || string(data) != "new\n" {
		t.Errorf("after a large log: %d bytes, %v", len(data), err)
	}
	if info, err := os.Stat(path + ".1"); err != nil || info.Size() <= maxLog {
		t.Errorf("the large log: %v", err)
	}
}

// A program that was replaced or removed while it runs can still be started.
func TestExecutableAfterUpgrade(t *testing.T) {
	data, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, data, 0o700); err != nil {
		t.Fatal(err)
	}
	o := options(t, "serve")
	cmd := exec.Command(path, o.StateDir, o.RuntimeDir)
	cmd.Env = append(os.Environ(), role+"=dial")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if all := starts(t, o); len(all) != 1 {
		t.Errorf("started %+v\n%s", all, out)
	}
}

// dialAfterUpgrade removes the program that it runs from, and starts a server.
func dialAfterUpgrade(state, runtime string) error {
	self, err := os.Executable()
	if err == nil {
		err = os.Remove(self)
	}
	if err != nil {
		return err
	}
	c, err := Dial(context.Background(), Options{StateDir: state, RuntimeDir: runtime, Env: append(os.Environ(), role+"=serve")})
	if err != nil {
		return err
	}
	return c.Close()
}
