package integration

import (
	"encoding/json"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/commy-project/commyfs/fs/mountpoint"
	"github.com/commy-project/commyfs/internal/testenv"
	"golang.org/x/sys/unix"
)

// doctorLimit is what `commyfs doctor` may take, whatever hangs.
const doctorLimit = 10 * time.Second

// finding is an element of `commyfs doctor --output json`.
type finding struct {
	Check, Status, Detail, Fix string
}

type findings []finding

// Doctor runs the doctor. Other mounts of this machine are left out of what it says.
func (h *Host) Doctor(args ...string) findings {
	h.t.Helper()
	r := h.Run(append([]string{"doctor", "--output", "json"}, args...)...)
	var all, ours findings
	if err := json.Unmarshal([]byte(r.Stdout), &all); err != nil || r.Stderr != "" {
		h.t.Fatalf("%v: %v", r, err)
	}
	want := 0
	for _, f := range all {
		if f.Status == "fail" {
			want = 1
		}
		if f.Check != "mount" || strings.Contains(f.Detail, h.dir+"/") {
			ours = append(ours, f)
		}
		if f.Check == "" || f.Detail == "" || (f.Fix == "") != (f.Status == "ok" || f.Status == "skip") {
			h.t.Errorf("%+v", f)
		}
	}
	if r.Code != want {
		h.t.Errorf("exit code %d, want %d: %s", r.Code, want, r.Stdout)
	}
	if r.Took > slower(doctorLimit) {
		h.t.Errorf("took %v", r.Took)
	}
	return ours
}

// want wants a finding of a check that has the words; it returns the fix.
func (fs findings) want(t *testing.T, check, status string, says ...string) string {
	t.Helper()
	for _, f := range fs {
		good := f.Check == check && f.Status == status
		for _, s := range says {
			good = good && strings.Contains(f.Detail+": "+f.Fix, s)
		}
		if good {
			return f.Fix
		}
	}
	t.Errorf("no %s of %s with %q in %+v", status, check, says, fs)
	return ""
}

// inventory lists everything below a directory with its size and time.
func inventory(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d iofs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			fmt.Fprintln(&b, path, info.Mode(), info.Size(), info.ModTime().UnixNano())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestDoctor_ChangesNothing: no server, no directory, no file.
func TestDoctor_ChangesNothing(t *testing.T) {
	h := NewHost(t)
	before := inventory(t, h.dir)
	check := func(args ...string) findings {
		t.Helper()
		got := h.Doctor(args...)
		if left := processes(h.dir); len(left) > 0 {
			t.Errorf("started %v", left)
		}
		if after := inventory(t, h.dir); after != before {
			t.Errorf("changed:\n%swas:\n%s", after, before)
		}
		return got
	}
	got := check()
	got.want(t, "server", "ok", "not running")
	got.want(t, "leftovers", "ok")
	got.want(t, "state", "ok", h.State()+", mode 0700")
	var names []string
	for _, f := range got {
		names = append(names, f.Check)
	}
	const order = "version cpu fuse fusermount allow-other passthrough inotify open-files config environment state runtime server round-trip leftovers network"
	if s := strings.TrimSuffix(strings.Join(names, " "), " mount"); s != order {
		t.Errorf("checks %s, want %s", s, order)
	}
	got = check("--state-dir", h.path("new/state"), "--runtime-dir", h.path("new/run"))
	got.want(t, "state", "ok", "not created yet")
	got.want(t, "runtime", "ok", "not created yet", "new/run/server.sock")

	h.env = append(h.env, "COMMYFS_APIKEY=hush-hush", "COMMYFS_DIFF=abacus")
	got = check()
	got.want(t, "environment", "warn", "did you mean COMMYFS_API_KEY?")
	got.want(t, "cpu", "fail", "unset COMMYFS_DIFF")
	if strings.Contains(fmt.Sprint(got), "hush-hush") {
		t.Error("a value of the environment is shown")
	}
	if err := os.MkdirAll(h.path("home/.config/commyfs"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(h.path("home/.config/commyfs/config.yaml"), []byte("tiemout: 2s\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	before = inventory(t, h.dir)
	got = check()
	got.want(t, "config", "fail", "tiemout")
	got.want(t, "state", "skip")
	got.want(t, "server", "skip")

	wantError(t, h.Run("doctor", "now"), 2, "now")
	wantError(t, h.Run("doctor", "--frobnicate"), 2, "frobnicate")
	wantError(t, h.Run("doctor", "--output", "xml"), 2, "xml")
	if err := os.Remove(h.path("home/.config/commyfs/config.yaml")); err != nil {
		t.Fatal(err)
	}
	wantError(t, h.Run("doctor", "--timeout", "0s"), 2, "--timeout")
	if r := h.Run("doctor"); !strings.Contains(r.Stdout, "\nfail  cpu          COMMYFS_DIFF: ") || r.Code != 1 || r.Stderr != "" {
		t.Errorf("as text: %v", r)
	}
}

func TestDoctor_Directories(t *testing.T) {
	h := NewHost(t)
	h.SmallDisk("100m")
	if err := os.Chmod(h.Runtime(), 0o755); err != nil {
		t.Fatal(err)
	}
	got := h.Doctor()
	got.want(t, "state", "fail", "tmpfs", "256 MiB required for writes", "free some space")
	got.want(t, "runtime", "warn", "chmod 700 "+h.Runtime())
	if err := os.Chown(h.Runtime(), nobody, nobody); err != nil {
		t.Fatal(err)
	}
	h.Doctor().want(t, "runtime", "fail", "nobody", "choose")
	h.Doctor("--state-dir", "/dev/shm/commyfs-doctor").want(t, "state", "warn", "tmpfs", "reboot")
	h.Doctor("--state-dir", "/proc/commyfs").want(t, "state", "fail", "--state-dir")
}

func TestDoctor_MountsAndServers(t *testing.T) {
	h, a, b := twoMounts(t, mortal)
	pid := h.Status().Server.Pid
	got := h.Doctor()
	got.want(t, "server", "ok", "pid "+strconv.Itoa(pid)+", mode auto")
	got.want(t, "round-trip", "ok", "median of 20")
	got.want(t, "leftovers", "ok")
	got.want(t, "mount", "ok", a.Dir)
	got.want(t, "mount", "ok", b.Dir)

	t.Run("mount inside", func(t *testing.T) {
		h.Doctor("--state-dir", a.Path("t/s")).want(t, "state", "fail", "inside a commyfs mount")
	})
	t.Run("two state directories", func(t *testing.T) {
		h.Doctor("--state-dir", h.path("other")).want(t, "server", "fail", "another state directory", "use a separate --runtime-dir")
		h.Doctor("--runtime-dir", h.path("other")).want(t, "server", "fail", "--runtime-dir "+h.Runtime())
	})
	t.Run("mount that hangs", func(t *testing.T) {
		b.Signal(syscall.SIGSTOP)
		got := h.Doctor()
		b.Signal(syscall.SIGCONT)
		got.want(t, "mount", "fail", b.Dir, "hangs")
		got.want(t, "mount", "ok", a.Dir)
	})
	t.Run("dead mount", func(t *testing.T) {
		h.crashed = true
		b.Kill()
		fix := h.Doctor().want(t, "mount", "fail", b.Dir+" is dead")
		if want := "run `commyfs umount --lazy " + b.Dir + "`"; fix != want {
			t.Errorf("%q, want %q", fix, want)
		}
		h.Must("umount", "--lazy", b.Dir)
		for _, f := range h.Doctor() {
			if f.Check == "mount" && f.Status != "ok" {
				t.Errorf("%+v", f)
			}
		}
	})
	t.Run("server that hangs", func(t *testing.T) {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		fix := h.Doctor().want(t, "server", "fail", "timed out waiting for an answer", "holds the lock")
		if want := fmt.Sprintf("run `kill -9 %d`", pid); !strings.HasPrefix(fix, want) {
			t.Errorf("%q, want %q", fix, want)
		}
		h.KillServer(pid)
	})
	t.Run("leftovers", func(t *testing.T) {
		a.Unmount()
		h.noProcess()
		s := h.Serve()
		h.KillServer(s.Pid())
		got := h.Doctor()
		got.want(t, "leftovers", "warn", "server.sock", "`commyfs ls`")
		got.want(t, "server", "ok", "not running")
		h.Must("ls")
		h.Doctor().want(t, "leftovers", "ok")
	})
}

// TestDoctor_Unkillable: while a file system has a request and does not answer it, nothing ends the process that waits.
func TestDoctor_Unkillable(t *testing.T) {
	h := NewHost(t)
	m, err := mountpoint.Mount(h.NewDir(), mountpoint.Options{})
	if err != nil {
		t.Fatal(err)
	}
	taken := make(chan error, 1)
	go func() { taken <- takeOne(m.FD()) }()
	h.Doctor().want(t, "mount", "fail", m.Dir(), "hangs")
	if err := m.Unmount(true); err != nil {
		t.Error(err)
	}
	// The request is given back when nobody has the descriptor: neither we nor who reads from it.
	select {
	case err := <-taken:
		if err != nil {
			t.Error(err)
		}
	default:
		t.Error("no request was taken")
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	h.noProcess()
}

// takeOne answers a mount's INIT and takes the next request.
func takeOne(fd int) error {
	buf := make([]byte, 1<<17)
	read := func() error {
		for {
			if _, err := unix.Read(fd, buf); err != unix.EINTR {
				return err
			}
		}
	}
	if err := read(); err != nil {
		return err
	}
	var init [16 + 64]byte      // fuse_out_header and fuse_init_out
	init[0] = byte(len(init))   // little-endian, as all that we test on
	copy(init[8:16], buf[8:16]) // the request
	init[16], init[20] = 7, 31  // the version, without any feature
	if _, err := unix.Write(fd, init[:]); err != nil {
		return err
	}
	return read()
}

func TestDoctor_Unprivileged(t *testing.T) {
	testenv.Need(t, "setpriv", "fusermount3")
	h := NewHost(t)
	root := *h
	h.BelongsTo(nobody)
	m := h.Mount()
	got := h.Doctor()
	got.want(t, "fusermount", "ok", "setuid root")
	got.want(t, "passthrough", "skip")
	got.want(t, "state", "ok", h.State())
	got.want(t, "server", "ok", "mode auto")
	got.want(t, "mount", "ok", m.Dir)
	conf, _ := os.ReadFile("/etc/fuse.conf")
	if strings.Contains("\n"+string(conf), "\nuser_allow_other\n") {
		got.want(t, "allow-other", "ok")
	} else {
		got.want(t, "allow-other", "warn", "/etc/fuse.conf")
	}
	r := runCmd(t, h.command("setpriv", "--no-new-privs", binary, "doctor"))
	if !strings.Contains(r.Stdout, "fail  fusermount") || !strings.Contains(r.Stdout, "no_new_privs") || r.Code != 1 {
		t.Errorf("without new privileges: %v", r)
	}
	h.Doctor("--state-dir", "/root/none").want(t, "state", "fail", "permission denied")
	got = root.Doctor()
	got.want(t, "state", "fail", "choose")
	got.want(t, "mount", "skip", m.Dir, "belongs to another user")
}

func TestDoctor_Network(t *testing.T) {
	r := newRemote(t)
	steps := func(fs findings) string {
		var out []string
		for _, f := range fs {
			if f.Check == "url" || len(out) > 0 && f.Check != "mount" {
				out = append(out, f.Status)
			}
		}
		return strings.Join(out, " ")
	}
	key, err := os.ReadFile(r.key)
	if err != nil {
		t.Fatal(err)
	}
	other := NewHost(t)
	otherCA := r.copyFile(other.Serve("--listen", "127.0.0.1:0", "--tls-self-signed").CA, "other.pem")
	for _, c := range []struct {
		name   string
		args   []string
		want   string
		check  string
		status string
		says   string
	}{
		{"all well", r.args(), "ok skip ok ok ok ok", "tls", "ok", "TLS 1.3, certificate valid for"},
		{"by the socket", []string{"--server", r.server.Socket()}, "ok skip ok skip ok ok", "round-trip", "ok", "median"},
		{"no URL", []string{"--server", "http://u:hush-hush@x"}, "fail skip skip skip skip skip", "url", "fail", "wss://host:port"},
		{"no TLS", []string{"--server", "ws://192.0.2.1:1"}, "fail skip skip skip skip skip", "url", "fail", "wss://"},
		{"no name", []string{"--server", "wss://commyfs.invalid:1"}, "ok fail skip skip skip skip", "dns", "fail", "commyfs.invalid"},
		{"no port", []string{"--server", "wss://127.0.0.1:1"}, "ok skip fail skip skip skip", "tcp", "fail", "refused"},
		{"no authority", []string{"--server", r.serve.URL, "--api-key-file", r.key}, "ok skip ok fail skip skip", "tls", "fail", "--ca"},
		{"wrong authority", []string{"--server", r.serve.URL, "--ca", otherCA}, "ok skip ok fail skip skip", "tls", "fail", "ca.pem of this server"},
		{"no file of the authority", []string{"--server", r.serve.URL, "--ca", "none"}, "ok skip skip fail skip skip", "tls", "fail", "none"},
		{"no certificate in it", []string{"--server", r.serve.URL, "--ca", r.key}, "ok skip skip fail skip skip", "tls", "fail", "no certificate"},
		{"no key", []string{"--server", r.serve.URL, "--ca", r.serve.CA}, "ok skip ok ok fail skip", "login", "fail", "--api-key-file"},
		{"no file of the key", []string{"--server", r.serve.URL, "--ca", r.serve.CA, "--api-key-file", "none"}, "ok skip ok ok fail skip", "login", "fail", "none"},
		{"wrong key", []string{"--server", r.serve.URL, "--ca", r.serve.CA, "--api-key-file", r.keyFile("wrong", "commy_laptop_hush-hush")},
			"ok skip ok ok fail skip", "login", "fail", "commyfs key list"},
		{"a spare", append(r.args(), "--server", "wss://127.0.0.1:1"), "ok skip ok ok ok ok ok skip warn skip skip skip", "tcp", "warn", "refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := r.client
			if strings.Contains(c.name, "socket") {
				h = r.server
			}
			got := h.Doctor(c.args...)
			got.want(t, c.check, c.status, c.says)
			got.want(t, "server", "skip", "--server")
			if s := steps(got); s != c.want {
				t.Errorf("%s, want %s in %+v", s, c.want, got)
			}
			if text := fmt.Sprint(got); strings.Contains(text, "hush-hush") || strings.Contains(text, strings.TrimSpace(string(key))) {
				t.Errorf("a secret is shown: %s", text)
			}
		})
	}
	t.Run("cable out", func(t *testing.T) {
		r.cable.Unplug()
		defer r.cable.Plug()
		r.client.Doctor(r.args("--timeout", "1m")...).want(t, "tcp", "fail", "timed out waiting for an answer")
	})
	t.Run("server that hangs", func(t *testing.T) {
		testenv.Eventually(t, slower(10*time.Second), func() error { // the cable takes a moment
			if res := r.client.Run(r.args("status")...); res.Code != 0 {
				return fmt.Errorf("%v", res)
			}
			return nil
		})
		r.serve.Signal(syscall.SIGSTOP)
		defer r.serve.Signal(syscall.SIGCONT)
		r.client.Doctor(r.args("--timeout", "1m")...).want(t, "tls", "fail", "timed out waiting for an answer")
	})
}
