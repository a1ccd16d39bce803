package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/testenv"
)

// facts reads a file of lines of a name and a value.
func (m *Mount) facts(name string) map[string]string {
	m.t.Helper()
	out := map[string]string{}
	for line := range strings.Lines(m.Read(".commy/" + name)) {
		k, v, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if !ok || out[k] != "" {
			m.t.Errorf("%s has the line %q", name, line)
		}
		out[k] = v
	}
	return out
}

func (m *Mount) stat(name string) int {
	m.t.Helper()
	n, err := strconv.Atoi(m.facts("stats")[name])
	if err != nil {
		m.t.Fatalf("%s: %v", name, err)
	}
	return n
}

// TestS3_Hidden: what the mount tells of itself is in nobody's way.
func TestS3_Hidden(t *testing.T) {
	t.Parallel()
	testenv.Need(t, "rsync", "perl")
	_, a, _ := twoMounts(t)
	a.Write("t/s/v", "needle")
	h := a.h
	for _, script := range []string{`ls -a "$1"`, `find "$1"`, `grep -r connected "$1"`, `tar -C "$1" -cf - . | tar -tf -`, `rsync -rn --list-only "$1/" | cat`,
		`python3 -c 'import os,sys; [print(d) for d in os.walk(sys.argv[1])]' "$1"`, `cd "$1"; echo .* *`} {
		if r := h.Shell(script, a.Dir); strings.Contains(r.Stdout, ".commy") || strings.Contains(r.Stdout, "connected") {
			t.Errorf("%s shows it: %v", script, r)
		}
	}
	if got, want := a.List(".commy"), []string{"by-id", "config", "events", "locks", "log", "services", "stats", "status"}; !slices.Equal(got, want) {
		t.Errorf(".commy has %q, want %q", got, want)
	}
	// A tenant of that name is somebody's.
	a.Mkdir("%2Ecommy")
	a.Mkdir("%2Ecommy/s")
	a.Write("%2Ecommy/s/v", "1")
	if got := h.Must("get", "%2Ecommy/s/v"); got != "1" || !slices.Contains(a.List("."), "%2Ecommy") {
		t.Errorf("the tenant .commy has %q", got)
	}
	for what, err := range map[string]error{
		"rmdir":  unix.Rmdir(a.Path(".commy")),
		"rename": unix.Rename(a.Path(".commy"), a.Path("x")),
		"onto":   unix.Rename(a.Path("t"), a.Path(".commy")),
		"mkdir":  unix.Mkdir(a.Path(".commy/x"), 0o777),
		"create": os.WriteFile(a.Path(".commy/x"), nil, 0o644),
		"write":  os.WriteFile(a.Path(".commy/status"), nil, 0o644),
		"append": unix.Access(a.Path(".commy/log"), unix.W_OK),
		"unlink": unix.Unlink(a.Path(".commy/status")),
		"chmod":  unix.Chmod(a.Path(".commy/status"), 0o666),
		"into":   unix.Rename(a.Path("t/s/v"), a.Path(".commy/v")),
		"link":   unix.Symlink("x", a.Path(".commy/l")),
	} {
		wantErrno(t, what, err, unix.EACCES, unix.EPERM, unix.EEXIST, unix.ENOTEMPTY)
	}
	if got := a.Read("t/s/v"); got != "needle" {
		t.Errorf("the value is %q", got)
	}
}

// TestS3_Text: every way of reading gives the whole text.
func TestS3_Text(t *testing.T) {
	t.Parallel()
	testenv.Need(t, "python3", "node", "less", "busybox", "perl")
	h := NewHost(t)
	m := h.Mount("--timeout", "3s", "--events", "modify,create", "--log-level", "debug")
	m.Mkdir("t")
	m.Mkdir("t/s")
	m.Write("t/s/v", "1")
	s := m.facts("status")
	for k, want := range map[string]string{"connected": "yes", "stale_since": "-", "server_pid": "", "services": "1", "services_loaded": "1",
		"mount": m.Dir, "mount_pid": strconv.Itoa(m.Pid()), "timeout": "3s", "limit_value_bytes": "1048576", "read_only": "no"} {
		if got, ok := s[k]; !ok || want != "" && got != want {
			t.Errorf("status: %s %q, want %q", k, got, want)
		}
	}
	if !strings.HasPrefix(s["access"], "local") || len(s["store"]) != 32 {
		t.Errorf("status: %v", s)
	}
	if got, want := m.Read(".commy/services"), "t/s mapped\n"; got != want {
		t.Errorf("services: %q, want %q", got, want)
	}
	config := m.Read(".commy/config")
	for _, want := range []string{"timeout: 3s # --timeout\n", "events: modify,create # --events\n", "umask: 022 # default\n", "state-dir: " + h.State() + " #"} {
		if !strings.Contains(config, want) {
			t.Errorf("no %q in %s", want, config)
		}
	}
	if log := m.Read(".commy/log"); !strings.Contains(log, "msg=connected server="+h.Socket()) {
		t.Errorf("log: %s", log)
	}
	path := m.Path(".commy/config")
	for _, script := range []string{
		`cat "$1"`, `busybox cat "$1"`, `cat < "$1" | cat`, `grep '' "$1"`, `tail -n +1 "$1"`, `tail -c 100000 "$1"`, `head -c 100000 "$1"`, `less "$1" | cat`, `sed '' "$1"`,
		`dd if="$1" bs=7 status=none`, `cp "$1" "$2" && cat "$2"`, `cat "$1" > "$2" && cat "$2"`, `busybox cp "$1" "$2" && cat "$2"`,
		`perl -e 'open F, $ARGV[0]; print <F>' "$1"`,
		`python3 -c 'import sys; sys.stdout.write(open(sys.argv[1]).read())' "$1"`,
		`python3 -c 'import sys, pathlib; sys.stdout.write(pathlib.Path(sys.argv[1]).read_text())' "$1"`,
		`python3 -c 'import mmap, sys; f = open(sys.argv[1]); sys.stdout.write(mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ, flags=mmap.MAP_PRIVATE)[:].decode().rstrip("\0"))' "$1"`,
		`node -e 'process.stdout.write(require("fs").readFileSync(process.argv[1]))' "$1"`,
		`node -e 'require("fs").createReadStream(process.argv[1]).pipe(process.stdout)' "$1"`,
	} {
		if r := h.Shell(script, path, h.path("copy")); r.Code != 0 || r.Stdout != config {
			t.Errorf("%s: %v, want %q", script, r, config)
		}
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != config {
		t.Errorf("os.ReadFile: %q, %v", data, err)
	}
	// A descriptor has a snapshot, and a fresh one at offset 0.
	f, err := os.Open(m.Path(".commy/stats"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, 1<<16)
	n, _ := f.ReadAt(buf, 0)
	first := string(buf[:n])
	m.Write("t/s/v", "2")
	n, _ = f.ReadAt(buf, 10)
	if got := string(buf[:n]); got != first[10:] {
		t.Error("the snapshot has changed")
	}
	n, _ = f.ReadAt(buf, 0)
	if got := string(buf[:n]); got == first {
		t.Error("a read at offset 0 takes no new snapshot")
	}
	if m.stat("requests_write_count") != 2 || m.stat("written_bytes") != 2 || m.stat("requests_write_ns") == 0 {
		t.Errorf("stats: %v", m.facts("stats"))
	}
}

// TestS3_Offline: status is read without a server, and says since when there is none.
func TestS3_Offline(t *testing.T) {
	t.Parallel()
	h := NewHost(t)
	srv := h.Serve()
	m := h.Mount("--server", h.Socket())
	m.Mkdir("t")
	srv.Stop()
	testenv.Eventually(t, slower(10*time.Second), func() error {
		began := time.Now()
		s := m.facts("status")
		if d := time.Since(began); d > slower(time.Second) {
			return fmt.Errorf("read in %v", d)
		}
		since, err := time.Parse(time.RFC3339Nano, s["stale_since"])
		if s["connected"] != "no" || err != nil || time.Since(since) > time.Minute || s["stale_reason"] == "" {
			return fmt.Errorf("status %v, %w", s, err)
		}
		return nil
	})
}

// TestS3_ByID: a link leads to what has an inode number, and follows its name.
func TestS3_ByID(t *testing.T) {
	t.Parallel()
	h, a, b := twoMounts(t)
	a.Write("t/s/v", "1")
	b.WaitValue("t/s/v", "1")
	link := fmt.Sprintf(".commy/by-id/%d", a.Inode("t/s/v"))
	want := func(m *Mount, path, value string) {
		t.Helper()
		testenv.Eventually(t, slower(10*time.Second), func() error {
			to, err := os.Readlink(m.Path(link))
			if err != nil || to != "../../"+path {
				return fmt.Errorf("leads to %q, %w, want %q", to, err, path)
			}
			if got := m.Read(link); got != value {
				return fmt.Errorf("has %q, want %q", got, value)
			}
			return nil
		})
	}
	want(a, "t/s/v", "1")
	a.Mkdir("t/s/dir")
	if err := os.Rename(a.Path("t/s/v"), a.Path("t/s/dir/w")); err != nil {
		t.Fatal(err)
	}
	want(a, "t/s/dir/w", "1")
	want(b, "t/s/dir/w", "1")
	b.Write(link, "2")
	want(a, "t/s/dir/w", "2")
	h.MustShell(`echo 3 > "$1"; test -L "$1"; test "$(stat -Lc %i "$1")" = "$2"`, a.Path(link), filepath.Base(link))
	want(b, "t/s/dir/w", "3\n")
	for _, name := range []string{"t", "t/s", "t/s/dir"} {
		if got, err := os.Readlink(a.Path(fmt.Sprintf(".commy/by-id/%d", a.Inode(name)))); got != "../../"+name || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for _, bad := range []string{"0", "01", "x", "-1", "999999", "18446744073709551615", "9223372036854775808"} {
		if _, err := os.Lstat(a.Path(".commy/by-id/" + bad)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if err := os.Remove(a.Path("t/s/dir/w")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(a.Path(link)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of what is removed: %v", err)
	}
}

// TestS3_Rights: with --allow-other everybody sees how the mount is, and only its owner what is in it.
func TestS3_Rights(t *testing.T) {
	t.Parallel()
	testenv.Root(t)
	testenv.Need(t, "setpriv")
	h := NewHost(t)
	if err := os.Chmod(h.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	m := h.Mount("--allow-other")
	m.Mkdir("t")
	m.Mkdir("t/s")
	m.Write("t/s/v", "secret")
	id := m.Inode("t/s/v")
	as := func(script string) Result {
		return h.Shell(`exec setpriv --reuid 65534 --regid 65534 --clear-groups sh -c "$1" sh "$2" "$3"`, script, m.Dir, strconv.FormatUint(id, 10))
	}
	for _, name := range []string{"status", "stats"} {
		r := as(`cat "$1/.commy/` + name + `"`)
		if r.Code != 0 || r.Stdout == "" {
			t.Errorf("%s: %v", name, r)
		}
		if strings.Contains(r.Stdout, "t/s") || strings.Contains(r.Stdout, "secret") {
			t.Errorf("%s tells of names: %v", name, r)
		}
	}
	for _, name := range []string{"events", "events?path=t", "log", "config", "services", "by-id/$2"} {
		if r := as(`cat "$1/.commy/` + name + `"`); r.Code == 0 || !strings.Contains(r.Stderr, "Permission denied") {
			t.Errorf("%s: %v", name, r)
		}
	}
	if r := as(`readlink "$1/.commy/by-id/$2"`); r.Code == 0 || r.Stdout != "" {
		t.Errorf("readlink: %v", r)
	}
}

// TestS3_Locks: what this mount's processes have locked, and what they wait for, which is not taken for requests that hang.
func TestS3_Locks(t *testing.T) {
	t.Parallel()
	testenv.Need(t, "flock", "perl")
	h := NewHost(t)
	m := h.Mount("--timeout", "500ms")
	m.Mkdir("t")
	m.Mkdir("t/s")
	m.Write("t/s/v", "1")
	if got := m.Read(".commy/locks"); got != "" {
		t.Errorf("locks: %q", got)
	}
	holder := h.StartCommand("perl", "-e", `$| = 1; open F, "<", $ARGV[0]; flock F, 2; print "has it\n"; sleep 1000`, m.Path("t/s/v"))
	holder.WaitLine(slower(10*time.Second), "has")
	waiter := h.StartCommand("flock", "--shared", m.Path("t/s/v"), "true")
	want := fmt.Sprintf("held flock exclusive 0-end pid %d perl id %d t/s/v\nwaits flock shared 0-end pid %d flock id %[2]d t/s/v\n",
		holder.Pid(), m.Inode("t/s/v"), waiter.Pid())
	testenv.Eventually(t, slower(10*time.Second), func() error {
		if got := m.Read(".commy/locks"); got != want || m.stat("requests_blocked") != 1 {
			return fmt.Errorf("locks: %q, want %q", got, want)
		}
		return nil
	})
	if r := h.Run("doctor"); !strings.Contains(r.Stdout, "ok    mount        "+m.Dir+" responds\n") {
		t.Errorf("doctor: %v", r)
	}
	holder.Kill()
	if code := waiter.Wait(slower(10 * time.Second)); code != 0 {
		t.Errorf("exit code %d: %s", code, waiter.logs())
	}
}
