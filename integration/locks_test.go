package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/testenv"
)

// lockLine is a line of `commyfs locks --output json`.
type lockLine struct {
	Path, Kind, Mode, State, Program, Host, Mount string
	Pid                                           int
	Start, End                                    *uint64
	Deleted                                       bool
}

// Locks is what `commyfs locks` says.
func (h *Host) Locks(path ...string) (list []lockLine) {
	h.t.Helper()
	out := h.Must(append([]string{"locks", "--output", "json"}, path...)...)
	for line := range strings.Lines(out) {
		var l lockLine
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			h.t.Fatalf("locks: %v\n%s", err, out)
		}
		list = append(list, l)
	}
	return list
}

// waitLocks waits until so many locks are held and waited for.
func (h *Host) waitLocks(held, waiting int) {
	h.t.Helper()
	testenv.Eventually(h.t, readyBound, func() error {
		n := map[string]int{}
		list := h.Locks()
		for _, l := range list {
			n[l.State]++
		}
		if n["held"] != held || n["waiting"] != waiting {
			return fmt.Errorf("%d held and %d waiting, want %d and %d: %+v", n["held"], n["waiting"], held, waiting, list)
		}
		return nil
	})
}

// hold starts a process that has a flock of a file until it is killed.
func (h *Host) hold(file string, flags ...string) *Proc {
	h.t.Helper()
	p := h.StartCommand("dash", "-uc", `exec 9<>"$1"; flock $2 9; echo locked; exec sleep 1000`, "dash", file, strings.Join(flags, " "))
	p.WaitLine(readyBound, "locked")
	return p
}

// increments adds one to a variable again and again by way of mounts, all at the same time.
func increments(t *testing.T, h []*Host, mounts []*Mount, each int) time.Duration {
	t.Helper()
	const script = `for i in $(seq "$2"); do flock "$1" sh -c 'echo $(($(cat "$1") + 1)) > "$1"' sh "$1" || exit; done`
	began := time.Now()
	var wg sync.WaitGroup
	for i, m := range mounts {
		wg.Go(func() {
			if r := h[i].Shell(script, m.Path("t/s/v"), strconv.Itoa(each)); r.Code != 0 || r.Stderr != "" {
				t.Error(r)
			}
		})
	}
	wg.Wait()
	return time.Since(began)
}

// TestS15_Increments: mounts on three hosts lose no increment. COMMYFS_TEST_INCREMENTS sets how many each of the eight makes.
func TestS15_Increments(t *testing.T) {
	t.Parallel()
	testenv.Need(t, "flock")
	each := 8
	if n, err := strconv.Atoi(os.Getenv("COMMYFS_TEST_INCREMENTS")); err == nil {
		each = n
	}
	r := newRemote(t)
	third := NewHost(t)
	third.netns = Beside(t, r.cable).Name
	var hosts []*Host
	var mounts []*Mount
	for _, sync := range []string{"close", "never", "always"} {
		hosts, mounts = append(hosts, r.server), append(mounts, r.server.Mount("--sync", sync))
	}
	for range 3 {
		hosts, mounts = append(hosts, r.client), append(mounts, r.client.Mount(r.args()...))
	}
	for _, f := range []*string{&r.key, &r.serve.CA} {
		b, err := os.ReadFile(*f)
		if err != nil {
			t.Fatal(err)
		}
		*f = third.path("copy" + strconv.Itoa(len(*f)))
		if err := os.WriteFile(*f, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		hosts, mounts = append(hosts, third), append(mounts, third.Mount(r.args()...))
	}
	mounts[0].Mkdir("t/s")
	mounts[0].Write("t/s/v", "0\n")
	for _, m := range mounts {
		m.WaitValue("t/s/v", "0\n")
	}
	took := increments(t, hosts, mounts, each)
	want := len(mounts) * each
	t.Logf("%d increments in %v", want, took)
	// With --sync never the last one can be on its way, but not for who has the lock.
	if got := strings.TrimSpace(r.server.MustShell(`flock "$1" cat "$1"`, mounts[0].Path("t/s/v"))); got != strconv.Itoa(want) {
		t.Errorf("%s, want %d", got, want)
	}
	mounts[7].WaitValue("t/s/v", fmt.Sprintln(want))
}

// TestS15_Order: who asks first gets it first, whichever mount it asks.
func TestS15_Order(t *testing.T) {
	t.Parallel()
	testenv.Need(t, "flock")
	h, a, b := twoMounts(t)
	a.Write("t/s/v", "")
	b.WaitFor("t/s/v")
	holder := h.hold(a.Path("t/s/v"))
	const waiters = 64
	var procs []*Proc
	order := h.path("order")
	for i := range waiters {
		m := []*Mount{a, b}[i%2]
		procs = append(procs, h.StartCommand("flock", m.Path("t/s/v"), "sh", "-c", fmt.Sprintf("echo %d >> %s", i, order)))
		h.waitLocks(1, i+1)
	}
	holder.Kill()
	for _, p := range procs {
		if code := p.Wait(readyBound); code != 0 {
			t.Errorf("%v: exit code %d", p, code)
		}
	}
	got, err := os.ReadFile(order)
	if err != nil {
		t.Fatal(err)
	}
	want := ""
	for i := range waiters {
		want += fmt.Sprintln(i)
	}
	if string(got) != want {
		t.Errorf("order %q", strings.Fields(string(got)))
	}
	h.waitLocks(0, 0)
}

// TestS15_Kill9 kills who has the lock, its mount, and the server.
func TestS15_Kill9(t *testing.T) {
	t.Parallel()
	testenv.Need(t, "flock")
	h, a, b := twoMounts(t, mortal)
	a.Write("t/s/v", "0")
	b.WaitFor("t/s/v")
	next := func(kill func(), within time.Duration) {
		t.Helper()
		w := h.StartCommand("flock", b.Path("t/s/v"), "echo", "got")
		h.waitLocks(1, 1)
		began := time.Now()
		kill()
		w.WaitLine(readyBound, "go")
		took := time.Since(began)
		if w.Wait(readyBound); took > slower(within) {
			t.Errorf("the next has it after %v, want %v", took, within)
		}
		t.Logf("the next has it after %v", took)
	}
	holder := h.hold(a.Path("t/s/v"))
	next(holder.Kill, time.Second)

	holder = h.hold(a.Path("t/s/v"))
	h.crashed = true
	h.KillServer(h.Status().Server.Pid)
	// The next server gives the lock back first.
	if r := h.Shell(`flock -n "$1" true`, b.Path("t/s/v")); r.Code == 0 {
		t.Error("the server that was killed has taken the lock with it")
	}
	if got := h.Locks(); len(got) != 1 || got[0].State != "held" || got[0].Mount != a.Dir {
		t.Errorf("locks of the next server: %+v", got)
	}
	next(holder.Kill, time.Second)

	holder = h.hold(a.Path("t/s/v"))
	next(a.Kill, 2*time.Second)
	holder.Kill()
	h.MountOn(a.Dir).Unmount() // clears it
}

// TestS15_Cut: who is not heard of loses the lock after the time that the documents say, and does not write any more.
func TestS15_Cut(t *testing.T) {
	t.Parallel()
	testenv.Need(t, "flock")
	r := newRemote(t)
	near, far := r.server.Mount(), r.client.Mount(r.args()...)
	near.Mkdir("t/s")
	near.Write("t/s/v", "0")
	far.WaitValue("t/s/v", "0")
	const holds = `exec 9<>"$1"; flock 9; echo locked; while [ ! -e "$2" ]; do sleep 0.05; done
		echo late >&9 || echo "failed by its own descriptor"
		echo late > "$1" || echo "failed by another"
		flock -u 9 || echo "had none to unlock"
		flock 9 || exit 1
		echo again >&9 && flock -u 9 && echo "wrote with a new lock"`
	cue := r.client.path("cue")
	holder := r.client.StartCommand("dash", "-uc", holds, "dash", far.Path("t/s/v"), cue)
	holder.WaitLine(readyBound, "locked")
	w := r.server.StartCommand("dash", "-c", `flock "$1" sh -c 'echo got; echo near > "$1"' sh "$1"`, "dash", near.Path("t/s/v"))
	r.server.waitLocks(1, 1)
	r.cable.Unplug()
	began := time.Now()
	w.WaitLine(readyBound+20*time.Second, "go")
	took := time.Since(began)
	t.Logf("the next has it after %v", took)
	if took < 5*time.Second || took > slower(13*time.Second) {
		t.Errorf("the next has it after %v", took)
	}
	w.Wait(readyBound)
	r.cable.Plug()
	far.WaitValue("t/s/v", "near\n")
	if err := os.WriteFile(cue, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	holder.WaitLine(readyBound, "failed by its own")
	holder.WaitLine(readyBound, "failed by another")
	holder.WaitLine(readyBound, "had none to unloc")
	holder.WaitLine(readyBound, "wrote with a new loc")
	holder.Wait(readyBound)
	near.WaitValue("t/s/v", "again\n")
	if r := r.client.Shell(`echo after > "$1"`, far.Path("t/s/v")); r.Code != 0 { // it is closed
		t.Error(r)
	}
}

// TestS15_Stopped: a mount that was stopped for too long finds its lock lost, and what was to be written is not, nor is what was
// gathered under the lock for another file.
func TestS15_Stopped(t *testing.T) {
	t.Parallel()
	testenv.Need(t, "flock", "python3")
	h, a, b := twoMounts(t)
	a.Write("t/s/v", "0")
	a.Write("t/s/other", "0")
	b.WaitFor("t/s/v")
	b.WaitFor("t/s/other")
	const holds = `
import fcntl, os, sys
name, cue, other = sys.argv[1:]
held = os.open(name, os.O_RDWR)
fcntl.flock(held, fcntl.LOCK_EX)
gathers = os.open(other, os.O_WRONLY | os.O_TRUNC)
os.write(gathers, b"gathered")
print("locked", flush=True)
open(cue).read()
for late in lambda: os.write(held, b"late"), lambda: os.close(gathers):
    try:
        late()
    except OSError as e:
        print("failed", e.errno, flush=True)
os.close(held)
with open(name, "w") as f:
    f.write("after")
print("closed", flush=True)
`
	cue := h.path("cue")
	if err := unix.Mkfifo(cue, 0o600); err != nil {
		t.Fatal(err)
	}
	holder := h.StartCommand("python3", "-c", holds, a.Path("t/s/v"), cue, a.Path("t/s/other"))
	holder.WaitLine(readyBound, "locke")
	w := h.StartCommand("dash", "-c", `flock "$1" sh -c 'echo got; echo next > "$1"; echo next > "$2"' sh "$1" "$2"`, "dash",
		b.Path("t/s/v"), b.Path("t/s/other"))
	h.waitLocks(1, 1)
	a.Signal(syscall.SIGSTOP)
	if err := os.WriteFile(cue, []byte("go\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.WaitLine(readyBound+20*time.Second, "go")
	w.Wait(readyBound)
	a.Signal(syscall.SIGCONT)
	holder.WaitLine(readyBound, "failed 5")
	holder.WaitLine(readyBound, "failed 5")
	holder.WaitLine(readyBound, "close")
	holder.Wait(readyBound)
	for _, m := range []*Mount{a, b} {
		m.WaitValue("t/s/v", "after")
		m.WaitValue("t/s/other", "next\n")
	}
}

// TestS15_Interrupted: a signal ends the waiting, and others do not wait for who was interrupted.
func TestS15_Interrupted(t *testing.T) {
	t.Parallel()
	testenv.Need(t, "flock", "python3")
	h, a, b := twoMounts(t)
	a.Write("t/s/v", "")
	b.WaitFor("t/s/v")
	holder := h.hold(a.Path("t/s/v"), "-s")
	const waits = `
import fcntl, signal, sys
def no(*_): raise InterruptedError
signal.signal(signal.SIGALRM, no)
f = open(sys.argv[1], "r+")
signal.setitimer(signal.ITIMER_REAL, 0.5)
try:
    fcntl.flock(f, fcntl.LOCK_EX)
    print("locked")
except InterruptedError:
    print("interrupted")
`
	p := h.StartCommand("python3", "-uc", waits, b.Path("t/s/v"))
	p.WaitLine(readyBound, "interrupte")
	p.Wait(readyBound)
	h.waitLocks(1, 0)
	w := h.StartCommand("flock", b.Path("t/s/v"), "true")
	h.waitLocks(1, 1)
	shared := h.StartCommand("flock", "-s", a.Path("t/s/v"), "echo", "shared")
	h.waitLocks(1, 2)
	w.Signal(syscall.SIGKILL)
	w.Wait(readyBound)
	shared.WaitLine(readyBound, "share") // it waits behind nobody now
	shared.Wait(readyBound)
	holder.Kill()
	h.waitLocks(0, 0)
}

// TestS15_Fcntl runs fcntl locks of ranges by processes on two mounts.
func TestS15_Fcntl(t *testing.T) {
	t.Parallel()
	testenv.Need(t, "python3")
	h, a, b := twoMounts(t)
	a.Write("t/s/v", strings.Repeat("x", 100))
	a.Write("t/s/w", "x")
	b.WaitFor("t/s/w")
	if r := runCmd(t, h.command("python3", "-c", fcntlScript, a.Path("t/s"), b.Path("t/s"))); r.Code != 0 {
		t.Error(r)
	}
	h.waitLocks(0, 0)
}

const fcntlScript = `
import errno, fcntl, os, struct, sys, threading, time
A, B = sys.argv[1:]
RD, WR, UN = fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK
OFD_SETLK, OFD_SETLKW, OFD_GETLK = 37, 38, 36

def lk(typ, start, length): return struct.pack("hhqqi4x", typ, 0, start, length, 0)
def set(fd, typ, start=0, length=0, cmd=fcntl.F_SETLK):
    try:
        fcntl.fcntl(fd, cmd, lk(typ, start, length))
        return 0
    except OSError as e:
        return e.errno
def get(fd, typ, start=0, length=0, cmd=fcntl.F_GETLK):
    typ, _, start, length, pid = struct.unpack("hhqqi4x", fcntl.fcntl(fd, cmd, lk(typ, start, length)))
    return typ, start, length, pid
def want(what, got, expect):
    if got != expect: sys.exit(f"{what}: {got}, want {expect}")

class Child:
    """A process on the other mount that does what it is told."""
    def __init__(self, dir):
        self.r, w = os.pipe(); r, self.w = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.r); os.close(self.w)
            fds = {}
            for line in os.fdopen(r):
                op, name, *args = line.split()
                args = [int(x) for x in args]
                if op == "open": fds[name] = os.open(dir + "/" + name, args[0]); res = 0
                elif op == "close": os.close(fds.pop(name)); res = 0
                elif op == "set": res = set(fds[name], *args)
                elif op == "get": res = get(fds[name], *args)
                os.write(w, (repr(res) + "\n").encode())
            os._exit(0)
        os.close(w); os.close(r)
        self.f = os.fdopen(self.r)
    def send(self, *args): os.write(self.w, (" ".join(str(x) for x in args) + "\n").encode())
    def get(self): return eval(self.f.readline())
    def __call__(self, *args): self.send(*args); return self.get()
    def end(self): os.close(self.w); os.waitpid(self.pid, 0)

c = Child(B)
fd = os.open(A + "/v", os.O_RDWR)
c("open", "v", os.O_RDWR)
want("lock", set(fd, WR, 10, 10), 0)
want("held by a", c("set", "v", RD, 15, 1), errno.EAGAIN)
want("beside", c("set", "v", WR, 20, 10), 0)
want("test", c("get", "v", WR, 0, 0), (WR, 10, 10, os.getpid()))
want("test of what is free", c("get", "v", WR, 0, 10)[0], UN)
want("test of its own", get(fd, WR, 10, 10)[0], UN)
want("cut", set(fd, UN, 12, 3), 0)
want("what is cut out", c("set", "v", WR, 12, 3), 0)
want("what is left", c("set", "v", RD, 10, 1), errno.EAGAIN)
want("shared", set(fd, RD, 10, 2), 0)
want("two readers", c("set", "v", RD, 10, 2), 0)
want("an upgrade beside a reader", set(fd, WR, 10, 2), errno.EAGAIN)

# Any close of the file gives up all of the process's locks, as POSIX has it.
other = os.open(A + "/v", os.O_RDWR)
os.close(other)
want("after a close", c("set", "v", WR, 0, 0), 0)
c("close", "v")
want("after the other's close", set(fd, WR), 0)

# Two that wait for each other.
c("open", "v", os.O_RDWR); c("open", "w", os.O_RDWR)
fw = os.open(A + "/w", os.O_RDWR)
want("w", c("set", "w", WR), 0)
c.send("set", "v", WR, 0, 0, fcntl.F_SETLKW)
for _ in range(100):
    res = set(fw, WR, 0, 0, fcntl.F_SETLK)
    want("held by the child", res, errno.EAGAIN)
    time.sleep(0.005)
want("deadlock", set(fw, WR, 0, 0, fcntl.F_SETLKW), errno.EDEADLK)
want("unlock", set(fd, UN), 0)
want("the child has it", c.get(), 0)
c("close", "v"); c("close", "w")

# A file description's locks are its own, and end with its last close.
one, two = os.open(A + "/v", os.O_RDWR), os.open(A + "/v", os.O_RDWR)
want("ofd", set(one, WR, 0, 5, OFD_SETLK), 0)
want("ofd by another", set(two, WR, 0, 5, OFD_SETLK), errno.EAGAIN)
want("ofd against a process", set(fd, WR, 0, 5), errno.EAGAIN)
c("open", "v", os.O_RDWR)
want("ofd on the other mount", c("set", "v", WR, 0, 5, OFD_SETLK), errno.EAGAIN)
want("ofd test", c("get", "v", WR, 0, 5, OFD_GETLK)[:3], (WR, 0, 5))
os.close(two)
want("ofd after a close", c("set", "v", WR, 0, 5, OFD_SETLK), errno.EAGAIN)
dup = os.dup(one)
os.close(one)
want("ofd after the close of a copy", c("set", "v", WR, 0, 5, OFD_SETLK), errno.EAGAIN)
os.close(dup)
for _ in range(200):
    res = c("set", "v", WR, 0, 5, OFD_SETLK)
    if res == 0: break
    time.sleep(0.005)
want("ofd after its last close", res, 0)
c("close", "v")

# Two descriptions that wait for each other are no deadlock: others can unlock.
x, y = os.open(A + "/v", os.O_RDWR), os.open(A + "/v", os.O_RDWR)
for _ in range(200):
    res = set(x, WR, 0, 1, OFD_SETLK)
    if res == 0: break
    time.sleep(0.005)
want("x", res, 0)
want("y", set(y, WR, 1, 1, OFD_SETLK), 0)
got = []
t = threading.Thread(target=lambda: got.append(set(x, WR, 1, 1, OFD_SETLKW)))
t.start()
time.sleep(0.2)
u = threading.Thread(target=lambda: got.append(set(y, WR, 0, 1, OFD_SETLKW)))
u.start()
time.sleep(0.2)
want("waiting", got, [])
set(x, UN, 0, 1, OFD_SETLK)
u.join()
set(y, UN, 0, 2, OFD_SETLK)
t.join()
want("both", got, [0, 0])
os.close(x); os.close(y)

# A descriptor that only reads: its locks end with it, though it sends no FLUSH.
ro = os.open(A + "/w", os.O_RDONLY)
want("read lock", set(ro, RD), 0)
c("open", "w", os.O_RDWR)
want("a reader there", c("set", "w", WR), errno.EAGAIN)
os.close(ro)
for _ in range(200):
    res = c("set", "w", WR)
    if res == 0: break
    time.sleep(0.005)
want("after the reader's close", res, 0)

# A read behind offset 0 sees what was written under the lock before.
want("unlock", c("set", "w", UN), 0)
fv = os.open(A + "/v", os.O_RDWR)
os.pread(fv, 100, 0)
c("open", "v", os.O_RDWR)
pid = os.fork()
if pid == 0:
    f = os.open(B + "/v", os.O_RDWR)
    set(f, WR, 0, 0, fcntl.F_SETLKW)
    os.pwrite(f, b"new", 50)
    os._exit(0)
os.waitpid(pid, 0)
want("lock", set(fv, RD, 0, 0, fcntl.F_SETLKW), 0)
want("what is read at 50", os.pread(fv, 3, 50), b"new")
c.end()
`

// TestS15_NewFiles: a file that does not exist yet can be locked by all.
// TestS15_Reopened: who closes a file, opens it again and locks it has the lock. The kernel tells the mount of the close, and does
// not wait for it.
func TestS15_Reopened(t *testing.T) {
	t.Parallel()
	m := NewHost(t).Mount()
	m.Mkdir("t/s")
	m.Write("t/s/v", "1")
	looker := m.open(t, "t/s/v", unix.O_RDWR)
	for i := range 2000 {
		fd, err := unix.Open(m.Path("t/s/v"), unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.FcntlFlock(uintptr(fd), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
			t.Fatal(err)
		}
		l := unix.Flock_t{Type: unix.F_WRLCK}
		if err := unix.FcntlFlock(uintptr(looker.fd), unix.F_OFD_GETLK, &l); err != nil {
			t.Fatal(err)
		}
		if err := unix.Close(fd); err != nil {
			t.Fatal(err)
		}
		if l.Type != unix.F_WRLCK {
			t.Fatalf("the lock is gone, after %d times", i)
		}
	}
}

func TestS15_NewFiles(t *testing.T) {
	t.Parallel()
	testenv.Need(t, "flock")
	h, a, b := twoMounts(t)
	a.Mkdir("t/new")
	b.WaitFor("t/new")
	if r := h.Shell(`flock "$1/lock" flock -n "$2/lock" true`, a.Path("t/new"), b.Path("t/new")); r.Code != 1 || r.Stderr != "" {
		t.Errorf("both have a lock of a new file: %v", r)
	}
	h.waitLocks(0, 0)
	// One that is removed meanwhile is locked by its number, and the next one is another.
	out := h.MustShell(`exec 8> "$1/gone"; flock 8; rm "$2/gone"; exec 9> "$2/gone"; flock -n 9 && echo another; flock -u 8; flock 8 && echo still`,
		a.Path("t/new"), b.Path("t/new"))
	if out != "another\nstill\n" {
		t.Errorf("removed: %q", out)
	}
	// Files of one mount have locks of their own.
	out = h.MustShell(`cd "$1"; exec 8> .v.swp 9< .v.swp; flock 8; flock -n 9 || echo held; flock -u 8; flock -n 9 && echo free`, a.Path("t/new"))
	if out != "held\nfree\n" {
		t.Errorf("private: %q", out)
	}
	// flock -n again and again: a close is not over when the next one asks.
	h.MustShell(`for i in $(seq 30); do flock -n "$1/lock" true; done`, a.Path("t/new"))
	if r := h.Shell(`flock -n "$1" true`, a.Path("t/new")); r.Code != 0 { // the kernel's own
		t.Errorf("a directory: %v", r)
	}
	ro := h.Mount("--read-only")
	if r := h.Shell(`flock -s -n "$1" true && ! flock -n "$1" true`, ro.Path("t/new/lock")); r.Code != 0 {
		t.Errorf("on a mount that does not write: %v", r)
	}
}

// TestS15_Sqlite: two mounts write to one database.
func TestS15_Sqlite(t *testing.T) {
	t.Parallel()
	testenv.Need(t, "sqlite3")
	h, a, b := twoMounts(t)
	a.Mkdir("t/db")
	b.WaitFor("t/db")
	h.MustShell(`sqlite3 "$1/x.db" 'pragma journal_mode=delete; create table t(id integer primary key, w text)'`, a.Path("t/db"))
	var wg sync.WaitGroup
	for _, m := range []*Mount{a, b} {
		wg.Go(func() {
			r := h.Shell(`for i in $(seq 40); do sqlite3 -cmd '.timeout 60000' "$1/x.db" "insert into t(w) values('$1 $i')"; done`, m.Path("t/db"))
			if r.Code != 0 || r.Stderr != "" {
				t.Error(r)
			}
		})
	}
	wg.Wait()
	for _, m := range []*Mount{a, b} {
		if out := h.MustShell(`sqlite3 "$1/x.db" 'select count(*) from t; pragma integrity_check'`, m.Path("t/db")); out != "80\nok\n" {
			t.Errorf("%s: %q", m.Dir, out)
		}
	}
}

// TestS15_Git: git on two mounts at once, with its own lock files, loses no commit and breaks nothing.
func TestS15_Git(t *testing.T) {
	t.Parallel()
	testenv.Need(t, "git")
	h, a, b := twoMounts(t)
	a.Mkdir("t/repo")
	b.WaitFor("t/repo")
	h.MustShell(`cd "$1"; git init -q -b main .; git config user.name x; git config user.email x@x; git config gc.auto 0
		git commit -q --allow-empty -m first`, a.Path("t/repo"))
	const each = 6
	var wg sync.WaitGroup
	for i, m := range []*Mount{a, b} {
		wg.Go(func() {
			// Whoever finds the lock file or the branch taken tries again, as with any shared repository.
			r := h.Shell(`cd "$1"; n=0; tries=0; while [ $n -lt $3 ] && [ $tries -lt 500 ]; do tries=$((tries + 1))
				if git commit -q --allow-empty -m "$2-$n" 2> "$4"; then n=$((n + 1)); else grep -qE "lock|cannot update|unable to|failed|but expected" "$4" || { cat "$4" >&2; exit 1; }; fi
				done; [ $n -eq $3 ]`, m.Path("t/repo"), fmt.Sprint("m", i), strconv.Itoa(each), h.path(fmt.Sprint("err", i)))
			if r.Code != 0 {
				t.Error(r)
			}
		})
	}
	wg.Wait()
	for _, m := range []*Mount{a, b} {
		out := h.MustShell(`cd "$1"; git fsck --strict 2>&1 | grep -v ^dangling || true; git log --format=%s | grep -c ^m`, m.Path("t/repo"))
		if strings.TrimSpace(out) != strconv.Itoa(2*each) {
			t.Errorf("%s: %q", m.Dir, out)
		}
	}
}
