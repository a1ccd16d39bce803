package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/testenv"
)

// TestS23_GivesUp: a mount whose process dies again and again stays dead, and the next one clears it.
func TestS23_GivesUp(t *testing.T) {
	h := NewHost(t)
	a := h.Mount("--restarts=2")
	a.Mkdir("t/s")
	a.Write("t/s/v", "1")
	for range 2 {
		h.kill9(a.Dir)
		h.guardOf(a.Dir)
	}
	pid := h.serving(a.Dir)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	h.gone(pid)
	h.wantDead(a.Dir)
	h.wantGuards(0)
	if text := a.stderr.String(); !strings.Contains(text, "died 3 times in 10s: given up") {
		t.Errorf("the log does not say so: %s", text)
	}
	b := h.MountOn(a.Dir)
	if got := b.Read("t/s/v"); got != "1" {
		t.Errorf("read %q", got)
	}
}

// TestS23_Ends: a mount that has come back is ended as any other, and does not come back from that.
func TestS23_Ends(t *testing.T) {
	h := NewHost(t)
	for _, how := range []string{"SIGTERM", "umount", "guard"} {
		t.Run(how, func(t *testing.T) {
			a := h.Mount(often)
			h.kill9(a.Dir)
			guard := h.guardOf(a.Dir)
			pid := h.serving(a.Dir)
			switch how {
			case "SIGTERM":
				if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
			case "umount":
				h.Must("umount", a.Dir)
			case "guard": // who kills both has a dead mount
				for _, p := range []int{guard, pid} {
					stopped(t, p)
				}
				for _, p := range []int{guard, pid} {
					if err := syscall.Kill(p, syscall.SIGKILL); err != nil {
						t.Fatal(err)
					}
				}
				h.gone(pid)
				h.wantDead(a.Dir)
				h.Must("umount", a.Dir)
			}
			h.gone(pid)
			h.wantGuards(0)
			if left := mountsBelow(a.Dir); len(left) > 0 {
				t.Errorf("still mounted: %v", left)
			}
		})
	}
}

// TestS23_UnmountedMeanwhile: a mount that was unmounted, or detached, while its process was dead does not come back.
func TestS23_UnmountedMeanwhile(t *testing.T) {
	h := NewHost(t)
	for _, flags := range []int{0, unix.MNT_DETACH} {
		a := h.Mount(often)
		var held *os.File
		if flags != 0 {
			var err error
			if held, err = os.Open(a.Dir); err != nil {
				t.Fatal(err)
			}
		}
		guard, pid := h.guardOf(a.Dir), h.serving(a.Dir)
		stopped(t, guard)
		h.crashed = true
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		a.Wait(10 * time.Second)
		if err := unix.Unmount(a.Dir, flags); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(guard, syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		h.wantGuards(0)
		if pid := h.serving(a.Dir); pid != 0 {
			t.Errorf("process %d serves what was unmounted", pid)
		}
		if held != nil {
			if _, err := held.Readdirnames(1); err == nil {
				t.Error("what was detached answers")
			}
			held.Close()
		}
	}
}

// TestS23_SameProgram: the program, the environment and the working directory of the mount's start may all have changed.
func TestS23_SameProgram(t *testing.T) {
	h := NewHost(t)
	program := h.path("commyfs")
	text, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, text, 0o755); err != nil {
		t.Fatal(err)
	}
	where := h.path("here")
	if err := os.Mkdir(where, 0o755); err != nil {
		t.Fatal(err)
	}
	dir := h.NewDir()
	cmd := h.command(program, "mount", "../"+filepath.Base(dir), "-o", "umask=077,restarts=8", "--state-dir", "../state", "--runtime-dir", "../run")
	cmd.Dir = where
	m := startProc(t, cmd)
	h.started = append(h.started, m)
	m.WaitLine(readyBound, "mounted ")
	h.MustShell(`mkdir -p "$1/t/s"; echo 1 > "$1/t/s/v"`, dir)
	for _, path := range []string{program, where} {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	pid := 0
	for range 2 {
		guard := h.guardHolding(dir)
		m.Signal(syscall.SIGKILL)
		if pid != 0 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		h.crashed = true
		testenv.Eventually(t, slower(20*time.Second), func() error {
			if g := h.guardHolding(dir); g == 0 || g == guard {
				return fmt.Errorf("guard %d, was %d", g, guard)
			}
			return nil
		})
		pid = parentOf(h.guardHolding(dir))
		if got := strings.TrimSpace(h.MustShell(`stat -c %a "$1/t/s/v"; cat "$1/t/s/v"`, dir)); got != "600\n1" {
			t.Errorf("mode and value: %q", got)
		}
		if exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); exe != program+" (deleted)" {
			t.Errorf("the program is %s", exe)
		}
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, slower(10*time.Second), func() error {
		if exists(pid) || h.guardHolding(dir) != 0 {
			return fmt.Errorf("%d has not ended", pid)
		}
		return nil
	})
}

// guardHolding is the guard of a mount, whatever program it is; 0: none.
func (h *Host) guardHolding(dir string) int {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		cmdline, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if strings.HasPrefix(string(cmdline), "commyfs\x00guard\x00"+dir+"\x00") {
			pid, _ := strconv.Atoi(e.Name())
			return pid
		}
	}
	return 0
}

func parentOf(pid int) int {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(stat), ") ")
	f := strings.Fields(rest)
	if len(f) < 2 {
		return 0
	}
	parent, _ := strconv.Atoi(f[1])
	return parent
}

// TestS23_Daemon: in the background it goes on with its log, and status tells.
func TestS23_Daemon(t *testing.T) {
	h := NewHost(t)
	dir := h.NewDir()
	h.Must("mount", dir, "--daemon", "--temporary", "defaults", "--temporary", "*.part,odd", often)
	if r := h.Run("status"); strings.Contains(r.Stdout, "restarted") {
		t.Errorf("status: %s", r.Stdout)
	}
	h.kill9(dir)
	h.guardOf(dir)
	if r := h.Run("status"); !strings.Contains(r.Stdout, "restarted 1 time, last ") {
		t.Errorf("status: %v", r)
	}
	buf := make([]byte, 4096)
	n, err := unix.Getxattr(dir, "user.commy.temporary", buf)
	if err != nil || !strings.HasSuffix(string(buf[:n]), ",*.part,odd") {
		t.Errorf("temporary files are %q, %v", buf[:n], err)
	}
	testenv.Eventually(t, slower(5*time.Second), func() error {
		logged := ""
		for _, text := range h.logFiles() {
			logged += text
		}
		if !strings.Contains(logged, "the mount goes on") || !strings.Contains(logged, "level=INFO msg=connected") {
			return fmt.Errorf("the log does not say so: %s", logged)
		}
		return nil
	})
	h.Must("umount", dir)
	h.wantGuards(0)
}

// TestS23_User: a mount of another user than root goes on too.
func TestS23_User(t *testing.T) {
	testenv.Need(t, "setpriv", "fusermount3")
	h := NewHost(t)
	h.BelongsTo(nobody)
	a := h.Mount(often)
	h.MustShell(`mkdir -p "$1/t/s"; echo 1 > "$1/t/s/v"`, a.Dir)
	sh := h.shellIn(h.path("home"))
	sh.do("cd " + a.Path("t/s") + "; exec 7<> v")
	want := "1\n"
	for i := range 3 {
		pid, guard := h.serving(a.Dir), h.guardOf(a.Dir)
		h.crashed = true
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if got := sh.do("cat v; echo " + strconv.Itoa(i+2) + " >&7"); got != want {
			t.Errorf("the shell says %q, want %q", got, want)
		}
		want = want[:2*i] + strconv.Itoa(i+2) + "\n" // where the descriptor is
		testenv.Eventually(t, slower(10*time.Second), func() error {
			if g := h.guardOf(a.Dir); g == guard {
				return fmt.Errorf("guard %d", g)
			}
			return nil
		})
	}
	if got := h.MustShell(`cat "$1"`, a.Path("t/s/v")); got != want {
		t.Errorf("the value is %q, want %q", got, want)
	}
	sh.end()
	h.MustShell(`"$1" umount "$2"`, binary, a.Dir)
}

// TestS23_Anew: what cannot be taken over is mounted anew: the numbers of nodes mean something else in another store.
func TestS23_Anew(t *testing.T) {
	h := NewHost(t)
	a := h.Mount(often)
	a.Mkdir("t/s")
	held, err := os.Open(a.Path("t/s"))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	guard, pid := h.guardOf(a.Dir), h.serving(a.Dir)
	stopped(t, guard)
	h.crashed = true
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	a.Wait(10 * time.Second)
	for _, p := range processes(h.dir) {
		if strings.Contains(p.cmdline, " serve ") {
			p.kill()
			h.gone(p.pid)
		}
	}
	if err := os.RemoveAll(filepath.Join(h.State(), "store")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(guard, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, slower(20*time.Second), func() error {
		if g := h.guardOf(a.Dir); g == guard {
			return fmt.Errorf("guard %d", g)
		}
		return nil
	})
	if names := a.List(""); len(names) != 0 {
		t.Errorf("the new store has %q", names)
	}
	if _, err := held.Readdirnames(1); err == nil {
		t.Error("a descriptor of before is good")
	}
	if text := a.stderr.String(); !strings.Contains(text, "made anew") {
		t.Errorf("the log does not say so: %s", text)
	}
	a.Mkdir("t/s")
	h.kill9(a.Dir)
}

// TestS23_Memory: a mapping of a service's memory goes on without a process that serves it, and with the next.
func TestS23_Memory(t *testing.T) {
	h := NewHost(t)
	a, b := h.Mount(often), h.Mount()
	h.bare("64K", "text --offset 4096 --size 100 --type text")
	a.WaitFor("t/b/text")
	b.WaitFor("t/b/text")
	m, err := mapFile(t, a.Path("t/b/"+memFile), os.O_RDWR, unix.PROT_READ|unix.PROT_WRITE)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(a.Path("t/b/"+memFile), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range 3 {
		text := fmt.Sprint("stored", i)
		h.kill9(a.Dir)
		copy(m[4096:], text)
		for _, x := range []*Mount{a, b} {
			x.WaitValue("t/b/text", text)
		}
		buf := make([]byte, len(text))
		if _, err := f.ReadAt(buf, 4096); err != nil || string(buf) != text {
			t.Errorf("read %q, %v", buf, err)
		}
		if _, err := f.WriteAt([]byte("written"), 4096); err != nil {
			t.Error(err)
		}
		b.WaitValue("t/b/text", "written")
		h.guardOf(a.Dir)
	}
	if err := unix.Munmap(m); err != nil {
		t.Error(err)
	}
	f.Close()
	h.Must("umount", a.Dir)
}

// TestS23_LocksAndPollers: a lock is lost with the process, and others get it; who polls is woken by what comes after.
func TestS23_LocksAndPollers(t *testing.T) {
	testenv.Need(t, "python3", "flock")
	h := NewHost(t)
	a, b := h.Mount(often), h.Mount()
	a.Mkdir("t/s")
	a.Write("t/s/v", "1")
	a.Write("t/s/l", "1")
	b.WaitFor("t/s/l")
	const poller = `
import select, sys, os
f = os.open(sys.argv[1], os.O_RDONLY)
os.read(f, 100)
p = select.poll()
p.register(f, select.POLLPRI)
print("ready", flush=True)
while True:
    p.poll()
    print("woken", os.pread(f, 100, 0).decode(), flush=True)`
	p := h.StartCommand("python3", "-uc", poller, a.Path("t/s/v"))
	p.WaitLine(runBound, "rea")
	const holder = `
import fcntl, sys, os
f = os.open(sys.argv[1], os.O_RDWR)
fcntl.flock(f, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.readline()
try:
    os.pwrite(f, b"stolen", 0)
    os.fsync(f)
    print("written", flush=True)
except OSError as e:
    print("refused", e.errno, flush=True)`
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := h.command("python3", "-uc", holder, a.Path("t/s/l"))
	cmd.Stdin = r
	l := startProc(t, cmd)
	h.started = append(h.started, l)
	_ = r.Close()
	l.WaitLine(runBound, "lock")
	if res := h.Run("status"); res.Code != 0 {
		t.Fatal(res)
	}
	// Who has no lock any more, or never had one, has nothing to lose.
	a.Write("t/s/free", "1")
	const free = `
import fcntl, sys, os
d = sys.argv[1]
f, g = (os.open(d + "/" + n, os.O_RDWR) for n in ("free", "l"))
fcntl.flock(f, fcntl.LOCK_EX)
fcntl.flock(f, fcntl.LOCK_UN)
fcntl.lockf(f, fcntl.LOCK_EX)
fcntl.lockf(f, fcntl.LOCK_UN)
try:
    fcntl.flock(g, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("free", flush=True)
sys.stdin.readline()
os.pwrite(f, b"2", 0)
os.fsync(f)
print("written", flush=True)`
	fr, fw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd = h.command("python3", "-uc", free, a.Path("t/s"))
	cmd.Stdin = fr
	fl := startProc(t, cmd)
	h.started = append(h.started, fl)
	_ = fr.Close()
	fl.WaitLine(runBound, "free")
	h.kill9(a.Dir)
	if _, err := fw.WriteString("\n"); err != nil {
		t.Fatal(err)
	}
	_ = fw.Close()
	fl.WaitLine(runBound, "written")
	fl.Wait(runBound)
	h.MustShell(`flock -w 20 "$1" true`, b.Path("t/s/l"))
	if _, err := w.WriteString("\n"); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	l.WaitLine(runBound, "refused")
	l.Wait(runBound)
	if got := b.Read("t/s/l"); got != "1" {
		t.Errorf("who had lost the lock has written %q", got)
	}
	b.Write("t/s/v", "2")
	p.WaitLine(runBound, "woken 2")
	p.Signal(syscall.SIGTERM)
	p.Wait(runBound)
}
