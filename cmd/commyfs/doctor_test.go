package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	iofs "io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/commy-project/commyfs/diff"
	"github.com/commy-project/commyfs/fs/mountpoint"
	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/server"
)

// judgement is a finding and what it should be.
type judgement struct {
	name   string
	got    finding
	status string
	says   string // in detail or fix
}

func wantFindings(t *testing.T, list []judgement) {
	t.Helper()
	for _, tt := range list {
		t.Run(tt.name, func(t *testing.T) { wantFinding(t, tt.got, tt.status, tt.says) })
	}
}

var (
	denied  = &os.PathError{Op: "open", Path: "/etc/fuse.conf", Err: syscall.EACCES}
	missing = &os.PathError{Op: "open", Path: "/etc/fuse.conf", Err: syscall.ENOENT}
)

func TestJudgeMachine(t *testing.T) {
	advised := errors.New("open /dev/fuse: permission denied: run as root or \"chmod 0666 /dev/fuse\"")
	wantFindings(t, []judgement{
		{"kernel", judgeVersion("v1", "6.1.0-9", "amd64"), "ok", "commyfs v1, Linux 6.1.0-9, amd64"},
		{"first kernel", judgeVersion("v1", "5.8", "amd64"), "ok", ""},
		{"old kernel", judgeVersion("v1", "5.7.19", "amd64"), "fail", "5.8"},
		{"older kernel", judgeVersion("v1", "4.19", "amd64"), "fail", "5.8"},
		{"odd kernel", judgeVersion("v1", "custom", "amd64"), "ok", "custom"},
		{"device", judgeDevice(nil), "ok", ""},
		{"no device", judgeDevice(advised), "fail", "run as root or"},
		{"broken device", judgeDevice(syscall.EIO), "fail", "modprobe"},
		{"helper not needed", judgeHelper(helper{privileged: true, err: syscall.ENOENT}), "skip", "not needed"},
		{"helper", judgeHelper(helper{path: "/f", setuid: true}), "ok", "/f"},
		{"no helper", judgeHelper(helper{err: errors.New("fusermount3: not found: install the package fuse3, or run as root")}), "fail", "install"},
		{"helper not setuid", judgeHelper(helper{path: "/f"}), "fail", "chmod u+s /f"},
		{"helper on nosuid", judgeHelper(helper{path: "/f", setuid: true, nosuid: true}), "fail", "nosuid"},
		{"no new privileges", judgeHelper(helper{path: "/f", setuid: true, noNewPrivs: true}), "fail", "NoNewPrivileges"},
		{"allow-other as root", judgeAllowOther(true, "", missing), "skip", "CAP_SYS_ADMIN"},
		{"allow-other", judgeAllowOther(false, "# x\nuser_allow_other \n", nil), "ok", ""},
		{"allow-other in a comment", judgeAllowOther(false, "#user_allow_other\n", nil), "warn", "/etc/fuse.conf"},
		{"no fuse.conf", judgeAllowOther(false, "", missing), "warn", "user_allow_other"},
		{"fuse.conf not for us", judgeAllowOther(false, "", denied), "skip", "permission"},
		{"passthrough", judgePassthrough("6.9.1", true), "ok", ""},
		{"passthrough for users", judgePassthrough("6.9.1", false), "skip", "CAP_SYS_ADMIN"},
		{"no passthrough", judgePassthrough("6.8", true), "skip", "6.9"},
		{"inotify", judgeInotify(65536, 128, nil), "ok", "65536"},
		{"few watches", judgeInotify(8192, 128, nil), "warn", "sysctl -w fs.inotify.max_user_watches=524288`"},
		{"few instances", judgeInotify(65536, 10, nil), "warn", "sysctl -w fs.inotify.max_user_instances=512`"},
		{"few of both", judgeInotify(1, 1, nil), "warn", "fs.inotify.max_user_watches=524288 fs.inotify.max_user_instances=512"},
		{"no inotify", judgeInotify(0, 0, syscall.ENOENT), "skip", ""},
		{"files", judgeOpenFiles(4096, nil), "ok", "4096"},
		{"few files", judgeOpenFiles(1024, nil), "warn", "LimitNOFILE"},
		{"any files", judgeOpenFiles(math.MaxUint64, nil), "ok", "no limit"},
		{"unknown files", judgeOpenFiles(0, syscall.EPERM), "skip", ""},
	})
}

func TestJudgeDir(t *testing.T) {
	const plenty = 1 << 40
	state := role{name: "state", flag: "--state-dir", reserve: server.MinFree, lasting: true}
	runtimeDir := role{name: "runtime", flag: "--runtime-dir", reserve: runtimeReserve}
	own := func(change func(*dir)) dir {
		d := dir{path: "/s", there: "/s", mode: 0o700, fsType: "ext4", free: plenty}
		change(&d)
		return d
	}
	wantFindings(t, []judgement{
		{"state", judgeDir(state, own(func(*dir) {})), "ok", "/s, mode 0700, ext4"},
		{"state to be made", judgeDir(state, own(func(d *dir) { d.there, d.mode = "/", 0o755 })), "ok", "not created yet"},
		{"state cannot be made", judgeDir(state, own(func(d *dir) { d.there, d.access = "/", syscall.EACCES })), "fail", "--state-dir"},
		{"state of another", judgeDir(state, own(func(d *dir) { d.owner = errors.New("/s belongs to x: choose directories of your own") })), "fail", "choose directories"},
		{"state read-only", judgeDir(state, own(func(d *dir) { d.access = syscall.EROFS })), "fail", "read-only"},
		{"state is no directory", judgeDir(state, own(func(d *dir) { d.err = errors.New("/s is not a directory") })), "fail", "choose another directory with --state-dir"},
		{"state open", judgeDir(state, own(func(d *dir) { d.mode = 0o750 })), "warn", "chmod 700 /s"},
		{"state in memory", judgeDir(state, own(func(d *dir) { d.fsType = "tmpfs" })), "warn", "reboot"},
		{"runtime in memory", judgeDir(runtimeDir, own(func(d *dir) { d.fsType = "tmpfs" })), "ok", "tmpfs"},
		{"state on nfs", judgeDir(state, own(func(d *dir) { d.fsType = "nfs4" })), "warn", "local disk"},
		{"runtime on sshfs", judgeDir(runtimeDir, own(func(d *dir) { d.fsType = "fuse.sshfs" })), "warn", "--runtime-dir"},
		{"state in a mount of ours", judgeDir(state, own(func(d *dir) { d.fsType = "fuse.commyfs" })), "fail", "commyfs mount"},
		{"state full", judgeDir(state, own(func(d *dir) { d.free = server.MinFree - 1 })), "fail", "256 MiB required for writes"},
		{"state nearly full", judgeDir(state, own(func(d *dir) { d.free = server.MinFree })), "warn", "256 MiB"},
		{"full beats open and in memory", judgeDir(state, own(func(d *dir) { d.free, d.mode, d.fsType = 0, 0o755, "tmpfs" })), "fail", "free some space"},
		{"runtime needs less", judgeDir(runtimeDir, own(func(d *dir) { d.free = 2 * runtimeReserve })), "ok", ""},
	})
}

func TestJudgeServerAndMounts(t *testing.T) {
	known := []string{"COMMYFS_SERVER", "COMMYFS_TIMEOUT", "COMMYFS_API_KEY"}
	fast := &talk{local: true, median: time.Millisecond}
	wantFindings(t, []judgement{
		{"fast", judgeRoundTrip(fast), "ok", "1ms"},
		{"without locks", judgeLocks(&talk{noLocks: true})[0], "warn", "update"},
		{"slow socket", judgeRoundTrip(&talk{local: true, median: 30 * time.Millisecond}), "warn", "top"},
		{"network", judgeRoundTrip(&talk{median: 30 * time.Millisecond}), "ok", ""},
		{"bare services", judgeBare([]model.BareInfo{{}, {Writable: true, Interval: 5e6}})[0], "ok", "2 bare services in memory, 1 open"},
		{"large bare service", judgeBare([]model.BareInfo{{Tenant: "t", Service: "s", Writable: true, Interval: 5e8}})[0], "warn", "t/s every 500ms"},
		{"bare service without a file", judgeBare([]model.BareInfo{{Tenant: "t", Service: "s", NoFile: true}})[0], "fail", "server.log"},
		{"slow network", judgeRoundTrip(&talk{median: time.Second}), "warn", "route to the server"},
		{"no leftovers", judgeSocket("/r/s", 0, missing, syscall.ENOENT), "ok", ""},
		{"socket in use", judgeSocket("/r/s", iofs.ModeSocket, nil, nil), "ok", ""},
		{"socket left", judgeSocket("/r/s", iofs.ModeSocket, nil, syscall.ECONNREFUSED), "warn", "commyfs ls"},
		{"no socket", judgeSocket("/r/s x", 0, nil, syscall.ECONNREFUSED), "fail", "rm -r '/r/s x'"},
		{"socket not for us", judgeSocket("/r/s", 0, denied, syscall.EACCES), "skip", ""},
		{"mount", judgeMount("/m", nil), "ok", "/m"},
		{"dead mount", judgeMount("/m x", fmt.Errorf("%w: %w", mountpoint.ErrDead, syscall.ENOTCONN)), "fail", "run `commyfs umount --lazy '/m x'`"},
		{"hung mount", judgeMount("/m", os.ErrDeadlineExceeded), "fail", "run `commyfs umount --lazy /m`, which fails the requests that wait"},
		{"requests that wait", judgeStuck("/m", 3), "warn", "3 requests"},
		{"hidden mount", judgeMount("/m", mountpoint.ErrNotOurs), "warn", "hidden"},
		{"mount of another", judgeMount("/m", syscall.EACCES), "skip", "another user"},
		{"odd mount", judgeMount("/m", syscall.EIO), "fail", "--lazy"},
		{"environment", judgeEnvironment([]string{"COMMYFS_SERVER=wss://h:1", "COMMYFSX=1", "COMMYFS_NONE=", doctorEnv + "=1"}, known), "ok", "COMMYFS_SERVER"},
		{"empty environment", judgeEnvironment([]string{"PATH=x"}, known), "ok", "no COMMYFS_"},
		{"typo", judgeEnvironment([]string{"COMMYFS_SEVRER=x"}, known), "warn", "did you mean COMMYFS_SERVER?"},
		{"typo of a secret", judgeEnvironment([]string{"COMMYFS_APIKEY=commy_secret"}, known), "warn", "did you mean COMMYFS_API_KEY?"},
		{"unlike any", judgeEnvironment([]string{"COMMYFS_FROBNICATE=x"}, known), "warn", "unset COMMYFS_FROBNICATE"},
	})
}

func wantFinding(t *testing.T, f finding, status, says string) {
	t.Helper()
	text := f.Detail + ": " + f.Fix
	if f.Status != status || !strings.Contains(text, says) || strings.Contains(text, "secret") {
		t.Errorf("%+v, want %s and %q", f, status, says)
	}
	if f.Check == "" || f.Detail == "" || (f.Fix == "") != (status == statusOK || status == statusSkip) {
		t.Errorf("%+v: a check, a detail, and a fix if there is something wrong", f)
	}
}

func TestJudgeCPU(t *testing.T) {
	all, before := diff.Implementations(), diff.Implementation()
	t.Cleanup(func() {
		if err := diff.Use(before); err != nil {
			t.Error(err)
		}
	})
	if err := diff.Use(all[0]); err != nil {
		t.Fatal(err)
	}
	wantFinding(t, judgeCPU(""), statusOK, all[0])
	wantFinding(t, judgeCPU("abacus"), statusFail, "unset COMMYFS_DIFF")
	wantFinding(t, judgeCPU(all[len(all)-1]), statusWarn, "faster")
}

func TestJudgeLocal(t *testing.T) {
	d := dirs{state: "/s", runtime: "/r"}
	info := model.ServerInfo{Pid: 7, Version: "v1", Mode: server.ModeAuto}
	absent := fmt.Errorf("%w: %w", model.ErrDisconnected, syscall.ECONNREFUSED)
	here := server.LockInfo{PID: 7, Socket: "/r/server.sock"}
	for _, tt := range []struct {
		name         string
		s            localServer
		status, says string
		trip         string
	}{
		{"runs", localServer{dirs: d, talk: &talk{server: info, local: true}}, "ok", "pid 7, mode auto, version v1", "ok"},
		{"of another version", localServer{dirs: d, talk: &talk{server: model.ServerInfo{Version: "v0", Mode: server.ModeServe}, local: true}}, "warn", "`commyfs serve`", "ok"},
		{"absent", localServer{dirs: d, err: absent}, "ok", "not running", "skip"},
		{"hangs", localServer{dirs: d, err: model.ErrDisconnected, holder: here}, "fail", "kill -9 7", "skip"},
		{"listens elsewhere", localServer{dirs: d, err: absent, holder: server.LockInfo{PID: 7, Socket: "/x y/server.sock"}}, "fail", "--runtime-dir '/x y'", "skip"},
		{"of another state directory", localServer{dirs: d, err: errors.New("the server of /r has another state directory than /s: choose a --runtime-dir"), holder: here}, "fail", "choose", "skip"},
		{"refuses", localServer{dirs: d, err: model.ErrDenied}, "fail", "server.log", "skip"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := judgeLocal(tt.s, "v1")
			if len(got) != 2 || got[0].Check != "server" || got[1].Check != "round-trip" || got[1].Status != tt.trip {
				t.Fatalf("%+v", got)
			}
			wantFinding(t, got[0], tt.status, tt.says)
		})
	}
}

func TestHolds(t *testing.T) {
	const locks = "1: POSIX  ADVISORY  WRITE 7 fe:00:11 0 EOF\n2: FLOCK  ADVISORY  WRITE 8 fe:00:12 0 EOF\n2: -> FLOCK  ADVISORY  WRITE 9 fe:00:12 0 EOF\n"
	for _, tt := range []struct {
		pid   int
		inode uint64
		want  bool
	}{{8, 12, true}, {7, 11, false}, {9, 12, false}, {8, 2, false}, {8, 112, false}, {0, 12, false}} {
		if got := holds(locks, tt.pid, tt.inode); got != tt.want {
			t.Errorf("holds(%d, %d) = %v", tt.pid, tt.inode, got)
		}
	}
}

func TestJudgeJourney(t *testing.T) {
	now := time.Now()
	secured := func(days int) *tls.ConnectionState {
		leaf := &x509.Certificate{NotAfter: now.Add(time.Duration(days)*24*time.Hour + time.Hour)}
		ca := &x509.Certificate{NotAfter: now.Add(1000 * 24 * time.Hour)}
		return &tls.ConnectionState{Version: tls.VersionTLS13, VerifiedChains: [][]*x509.Certificate{{ca, leaf}}}
	}
	there := func(end string, err error) *journey {
		return &journey{name: "wss://h:1", scheme: "wss", lookup: 1, addr: "192.0.2.1:1", secured: secured(100), end: end, err: err}
	}
	for _, tt := range []struct {
		name string
		j    *journey
		want string // of the steps
		says string // where it ended, or a warning
	}{
		{"no URL", &journey{name: "x", end: "url", err: errors.New("x")}, "fail skip skip skip skip skip", "--server"},
		{"no such name", &journey{scheme: "wss", lookup: 1, end: "dns", err: errors.New("x")}, "ok fail skip skip skip skip", "name"},
		{"nobody listens", &journey{scheme: "wss", end: "tcp", err: errors.New("x")}, "ok skip fail skip skip skip", "--listen"},
		{"no such socket", &journey{scheme: "unix", end: "tcp", err: errors.New("x")}, "ok skip fail skip skip skip", "`commyfs serve` there"},
		{"no CA file", &journey{scheme: "wss", end: "tls", err: syscall.ENOENT}, "ok skip skip fail skip skip", "--ca"},
		{"unknown CA", there("tls", x509.UnknownAuthorityError{}), "ok ok ok fail skip skip", "ca.pem"},
		{"other name", there("tls", x509.HostnameError{Certificate: &x509.Certificate{}}), "ok ok ok fail skip skip", "name"},
		{"expired", there("tls", x509.CertificateInvalidError{Reason: x509.Expired}), "ok ok ok fail skip skip", "renew"},
		{"no key", there("login", model.ErrUnauthorized), "ok ok ok ok fail skip", "--api-key-file"},
		{"other service", there("login", model.ErrUnsupported), "ok ok ok ok fail skip", "port"},
		{"hangs", there("round-trip", model.ErrDisconnected), "ok ok ok ok ok fail", "log"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			found := judgeJourney(tt.j, now)
			var got []string
			for i, f := range found {
				got = append(got, f.Status)
				says := ""
				if f.Status == statusFail {
					says = tt.says
				}
				f.Detail += "." // some of these are empty
				if f.Check != networkSteps[i] {
					t.Errorf("%+v is not %s", f, networkSteps[i])
				}
				wantFinding(t, f, f.Status, says)
			}
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("%s, want %s", s, tt.want)
			}
		})
	}
	for days, want := range map[int]string{13: statusWarn, 14: statusOK} {
		j := there("", nil)
		j.secured, j.talk = secured(days), &talk{}
		f := judgeJourney(j, now)[3]
		wantFinding(t, f, want, fmt.Sprintf("%d days", days))
	}
}

// TestExamine: the order is that of the checks, whatever they take, and one that hangs is said to.
func TestExamine(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	first := make(chan struct{})
	got := examine(t.Context(), []check{
		{"late", func(context.Context) []finding { <-first; return []finding{good("late", "x")} }},
		{"hung", func(context.Context) []finding { <-hang; return nil }},
		{"two", func(context.Context) []finding {
			close(first)
			return []finding{good("two", "x"), skipped("three", "x")}
		}},
	}, 100*time.Millisecond)
	var names []string
	for _, f := range got {
		names = append(names, f.Check+" "+f.Status)
	}
	if s := strings.Join(names, ", "); s != "late ok, hung fail, two ok, three skip" {
		t.Error(s)
	}
}

func TestLookAtDir(t *testing.T) {
	base := t.TempDir()
	if err := os.WriteFile(filepath.Join(base, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(base, "link")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"": "ok", "a/b/c": "ok", "file": "fail", "file/below": "fail", "link": "fail", "link/below": "fail"} {
		d := lookAtDir(filepath.Join(base, path))
		d.free, d.fsType, d.mode = 1<<40, "ext4", 0o700
		if f := judgeDir(role{name: "state", flag: "--state-dir"}, d); f.Status != want {
			t.Errorf("%q: %+v, want %s", path, f, want)
		}
	}
	if left, _ := os.ReadDir(base); len(left) != 2 {
		t.Errorf("something was made: %v", left)
	}
}

// TestDoctorConfiguration: what other commands refuse is a finding, but for what is on the command line.
func TestDoctorConfiguration(t *testing.T) {
	for _, tt := range []struct {
		name   string
		env    map[string]string
		file   string
		args   []string
		status string
		says   string
	}{
		{"nothing", nil, "", nil, "ok", "config.yaml"},
		{"file", nil, "timeout: 2s\n", nil, "ok", "config.yaml"},
		{"no YAML", nil, "timeout: [\n", nil, "fail", "config.yaml"},
		{"unknown key", nil, "tiemout: 2s\n", nil, "fail", `unknown key "tiemout"`},
		{"bad value", nil, "timeout: soon\n", nil, "fail", "duration"},
		{"bad value for another command", nil, "umask: 999\n", nil, "fail", "umask"},
		{"bad variable", map[string]string{"COMMYFS_TIMEOUT": "0s"}, "", nil, "fail", "COMMYFS_TIMEOUT"},
		{"bad URL is for another check", nil, "server: http://x\n", nil, "ok", ""},
		{"bad flag", nil, "", []string{"--timeout", "0s"}, "", "--timeout"},
		{"flag without its other", nil, "", []string{"--ca", "x"}, "", "--server"},
		{"bad URL on the command line", nil, "", []string{"--server", "http://x", "--ca", "x"}, "ok", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			env := map[string]string{"HOME": t.TempDir()}
			for k, v := range tt.env {
				env[k] = v
			}
			if tt.file != "" {
				dir := filepath.Join(env["HOME"], ".config", "commyfs")
				if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(tt.file), 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			a, _, _ := testApp(env)
			var o doctorOptions
			cmd := &cobra.Command{Use: "doctor"}
			o.common.addFlags(cmd.Flags())
			a.newRootCommand().AddCommand(cmd)
			if err := cmd.ParseFlags(append([]string{"--state-dir", "/s", "--runtime-dir", "/r"}, tt.args...)); err != nil {
				t.Fatal(err)
			}
			got, err := a.examineConfig(cmd, &o)
			if tt.status == "" {
				if exitCode(err) != exitUsage || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("got %v, want one of usage that has %q", err, tt.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			wantFinding(t, got.finding, tt.status, tt.says)
			if strings.Contains(tt.name, "URL") && !slices.Equal(o.server, []string{"http://x"}) {
				t.Errorf("servers %q", o.server)
			}
		})
	}
}

func TestDoctorPrints(t *testing.T) {
	r := &report{Findings: []finding{good("a", "b\nok    c"), {"mount", "fail", "/m is dead", "run x"}}}
	for inJSON, want := range map[bool]string{
		false: "ok    a            b\\nok    c\nfail  mount        /m is dead: run x\n",
		true: `[{"check":"a","status":"ok","detail":"b\nok    c","fix":""},` +
			`{"check":"mount","status":"fail","detail":"/m is dead","fix":"run x"}]` + "\n",
	} {
		a, stdout, _ := testApp(nil)
		if err := r.print(a, inJSON); err != nil || stdout.String() != want {
			t.Errorf("%v, %q, want %q", err, stdout, want)
		}
	}
}
