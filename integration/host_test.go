package integration

import (
	"encoding/json"
	"fmt"
	iofs "io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
	"golang.org/x/sys/unix"
)

// Host is what one user on one machine has: a state and a runtime directory, and processes that use them.
type Host struct {
	t     testing.TB
	dir   string // everything of the host is below it
	netns string // network namespace its processes run in; empty: ours
	uid   int    // user they run as
	env   []string

	started []*Proc
	mounts  int
	atEnd   []func()
	crashed bool // something was killed, so that files in the runtime directory may be left
}

// NewHost makes a host and takes it down when the test is over.
func NewHost(t testing.TB) *Host {
	t.Helper()
	testenv.NeedFUSE(t)
	testenv.Root(t)
	dir, err := os.MkdirTemp(testRoot, "h")
	if err != nil {
		t.Fatal(err)
	}
	h := &Host{t: t, dir: dir}
	for _, d := range []string{h.State(), h.Runtime(), h.path("home")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	h.env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + h.path("home"), "LANG=C.UTF-8",
		// A race detector that has seen two threads sleeps for a second in every process that ends.
		"GORACE=atexit_sleep_ms=10",
		"COMMYFS_STATE_DIR=" + h.State(), "COMMYFS_RUNTIME_DIR=" + h.Runtime(),
	}
	t.Cleanup(h.close)
	return h
}

// SmallDisk puts the state directory on a disk of its own, of a size as tmpfs takes it.
func (h *Host) SmallDisk(size string) {
	h.t.Helper()
	if err := unix.Mount("commyfs-test", h.State(), "tmpfs", 0, "mode=0700,size="+size); err != nil {
		h.t.Fatalf("mount a tmpfs: %v", err)
	}
	h.atEnd = append(h.atEnd, func() {
		// A process that ends loses its command line before its files.
		err := testenv.Poll(slower(10*time.Second), func() error { return unix.Unmount(h.State(), 0) })
		if err != nil {
			h.t.Errorf("unmount the state directory: %v", err)
		}
	})
}

func (h *Host) path(name string) string { return filepath.Join(h.dir, name) }

// State is the host's state directory.
func (h *Host) State() string { return h.path("state") }

// Runtime is the host's runtime directory.
func (h *Host) Runtime() string { return h.path("run") }

// Socket is the address of the host's own server.
func (h *Host) Socket() string { return "unix://" + filepath.Join(h.Runtime(), "server.sock") }

// command is a command on this host: in its network namespace, as its user, with its directories.
func (h *Host) command(name string, args ...string) *exec.Cmd {
	argv := append([]string{name}, args...)
	if h.uid != 0 {
		id := strconv.Itoa(h.uid)
		argv = append([]string{"setpriv", "--reuid", id, "--regid", id, "--clear-groups"}, argv...)
	}
	if h.netns != "" {
		// Not `ip netns exec`: it would give the mount a mount namespace of its own.
		argv = append([]string{"nsenter", "--net=/run/netns/" + h.netns}, argv...)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = h.env
	cmd.Dir = h.dir
	return cmd
}

// Start starts commyfs and goes on.
func (h *Host) Start(args ...string) *Proc {
	h.t.Helper()
	return h.StartCommand(binary, args...)
}

// StartCommand starts any program on the host and goes on.
func (h *Host) StartCommand(name string, args ...string) *Proc {
	h.t.Helper()
	p := startProc(h.t, h.command(name, args...))
	h.started = append(h.started, p)
	return p
}

// Run runs commyfs to its end.
func (h *Host) Run(args ...string) Result {
	h.t.Helper()
	return runCmd(h.t, h.command(binary, args...))
}

// Must runs commyfs to its end, which has to be a good one, and returns its output.
func (h *Host) Must(args ...string) string {
	h.t.Helper()
	r := h.Run(args...)
	if r.Code != 0 {
		h.t.Fatal(r)
	}
	return r.Stdout
}

// Shell runs a script with dash, which stops at the first command that fails.
func (h *Host) Shell(script string, args ...string) Result {
	h.t.Helper()
	return h.ShellBy("dash", script, args...)
}

// ShellBy is [Host.Shell] with another shell.
func (h *Host) ShellBy(shell, script string, args ...string) Result {
	h.t.Helper()
	r := runCmd(h.t, h.command(shell, append([]string{"-ec", script, shell}, args...)...))
	r.Command = shell + ": " + script
	return r
}

// MustShell is [Host.Shell] for a script that has to succeed; it returns the output.
func (h *Host) MustShell(script string, args ...string) string {
	h.t.Helper()
	r := h.Shell(script, args...)
	if r.Code != 0 {
		h.t.Fatal(r)
	}
	return r.Stdout
}

// Status is what `commyfs status --output json` says.
type Status struct {
	Connected bool `json:"connected"`
	Server    struct {
		Pid  int    `json:"pid"`
		URL  string `json:"url"`
		Mode string `json:"mode"`
	} `json:"server"`
	Mounts []json.RawMessage `json:"mounts"`
}

// Status asks for the status.
func (h *Host) Status() Status {
	h.t.Helper()
	var s Status
	out := h.Must("status", "--output", "json")
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		h.t.Fatalf("status: %v\n%s", err, out)
	}
	return s
}

// KillServer sends SIGKILL to the host's server and waits for its end.
func (h *Host) KillServer(pid int) {
	h.t.Helper()
	h.crashed = true
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		h.t.Fatalf("kill server %d: %v", pid, err)
	}
	h.gone(pid)
}

// gone waits until a process has ended.
func (h *Host) gone(pid int) {
	h.t.Helper()
	testenv.Eventually(h.t, 10*time.Second, func() error {
		for _, p := range processes(h.dir) {
			if p.pid == pid {
				return fmt.Errorf("process %v still runs", p)
			}
		}
		return nil
	})
}

// close takes the host down: mounts first, then servers. What does not go, or stays behind, fails the test.
func (h *Host) close() {
	h.t.Helper()
	for _, p := range slices.Backward(h.started) {
		if p.ended() {
			continue
		}
		p.Signal(syscall.SIGCONT)
		p.Signal(syscall.SIGTERM)
		select {
		case <-p.done:
		case <-time.After(slower(10 * time.Second)):
			h.t.Errorf("%v does not end by SIGTERM", p)
			p.Signal(syscall.SIGQUIT)
			p.Signal(syscall.SIGCONT)
			select {
			case <-p.done:
			case <-time.After(5 * time.Second):
				p.Signal(syscall.SIGKILL)
			}
		}
	}
	h.endOthers()
	logs := h.logFiles()
	for _, f := range h.atEnd {
		f()
	}
	for _, m := range mountsBelow(h.dir) {
		h.t.Errorf("mount left: %v", m)
		m.abort()
	}
	for _, p := range h.started {
		p.Wait(10 * time.Second)
	}
	h.checkLogs(logs)
	h.checkFiles()
	if h.t.Failed() {
		h.print(logs)
	}
	if err := os.RemoveAll(h.dir); err != nil {
		h.t.Error(err)
	}
}

// endOthers ends what nobody here started: servers of `commyfs serve --auto` and daemons of `commyfs mount --daemon`.
// Mounts go first: a mount whose server leaves starts the next one.
func (h *Host) endOthers() {
	h.t.Helper()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGKILL} {
		for _, kind := range []string{" mount ", " serve"} {
			for _, p := range processes(h.dir) {
				if strings.Contains(p.cmdline, kind) || sig != syscall.SIGTERM {
					_ = syscall.Kill(p.pid, sig)
				}
			}
			if kind == " mount " {
				_ = testenv.Poll(slower(5*time.Second), func() error {
					for _, p := range processes(h.dir) {
						if strings.Contains(p.cmdline, kind) {
							return fmt.Errorf("%v", p)
						}
					}
					return nil
				})
			}
		}
		err := testenv.Poll(slower(10*time.Second), func() error {
			if left := processes(h.dir); len(left) > 0 {
				return fmt.Errorf("processes left after %v: %v", sig, left)
			}
			return nil
		})
		if err == nil {
			return
		}
		h.t.Error(err)
	}
}

// logFiles returns what the host's background processes logged, by file.
func (h *Host) logFiles() map[string]string {
	logs := make(map[string]string)
	err := filepath.WalkDir(h.dir, func(path string, d iofs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !strings.HasSuffix(path, ".log") {
			return nil // a directory that vanishes while it is walked holds no log
		}
		b, err := os.ReadFile(path)
		logs[path] = string(b)
		return err
	})
	if err != nil {
		h.t.Error(err)
	}
	return logs
}

func (h *Host) checkLogs(logs map[string]string) {
	h.t.Helper()
	bad := []string{"WARNING: DATA RACE", "panic:", "fatal error:", "panic in "}
	check := func(name, log string) {
		for _, b := range bad {
			if i := strings.Index(log, b); i >= 0 {
				h.t.Errorf("%s:\n%s", name, log[i:min(i+8<<10, len(log))])
				return
			}
		}
	}
	for _, p := range h.started {
		check(p.String(), p.stderr.String())
	}
	for name, log := range logs {
		check(name, log)
	}
}

// checkFiles looks for what a clean end must not leave: the socket and memory files.
func (h *Host) checkFiles() {
	h.t.Helper()
	if h.crashed {
		return
	}
	entries, err := os.ReadDir(h.Runtime())
	if err != nil {
		h.t.Error(err)
	}
	for _, e := range entries {
		if e.Type()&os.ModeSocket != 0 || strings.HasSuffix(e.Name(), ".mem") {
			h.t.Errorf("left in the runtime directory: %s", e.Name())
		}
	}
}

func (h *Host) print(logs map[string]string) {
	h.t.Helper()
	for _, p := range h.started {
		h.t.Log(p.logs())
	}
	for name, log := range logs {
		h.t.Logf("--- %s\n%s", name, tail(log))
	}
}
