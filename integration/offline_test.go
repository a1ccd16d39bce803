package integration

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
)

// away is a mount with an offline queue on a machine of its own, and one beside the server.
type away struct {
	*remote
	near, far *Mount
	dir       string // of far
}

// shortTimeout is that of mounts which lose their server.
const shortTimeout = time.Second

func newAway(t *testing.T, args ...string) *away {
	t.Helper()
	a := &away{remote: newRemote(t)}
	a.near = a.server.Mount()
	a.near.Mkdir("t/s")
	a.dir = a.client.NewDir()
	a.mount(args...)
	return a
}

func (a *away) mount(args ...string) {
	a.client.t.Helper()
	a.far = a.client.MountOn(a.dir, append(a.args(mortal, "--offline", "queue", "--timeout", shortTimeout.String()), args...)...)
}

// queueState is the state of the far mount's queue, by its own word.
type queueState struct {
	Entries, Variables, Aside, Damaged int
	Bytes                              int64
}

func (a *away) queue() (s queueState) {
	a.client.t.Helper()
	text := a.far.Xattr("", "user.commy.offline")
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		a.client.t.Fatalf("%q: %v", text, err)
	}
	return s
}

// drained waits until all is replayed or set aside.
func (a *away) drained() {
	a.client.t.Helper()
	testenv.Eventually(a.client.t, slower(30*time.Second), func() error {
		if q := a.queue(); q.Entries > 0 {
			return fmt.Errorf("queue: %+v", q)
		}
		return nil
	})
}

// cutOff takes the cable out, and waits until the far mount knows it.
func (a *away) cutOff() {
	a.client.t.Helper()
	a.cable.Unplug()
	testenv.Eventually(a.client.t, slower(20*time.Second), func() error {
		if a.far.Xattr("t/s/v", "user.commy.stale") == "0" {
			return fmt.Errorf("not known to be offline")
		}
		return nil
	})
}

// reachable waits until the far machine reaches the server: the network takes a moment.
func (a *away) reachable() {
	a.client.t.Helper()
	testenv.Eventually(a.client.t, slower(20*time.Second), func() error {
		if res := a.client.Run(append([]string{"get", "t/s/v"}, a.args()...)...); res.Code != 0 {
			return fmt.Errorf("%v", res)
		}
		return nil
	})
}

// aside is what was set aside.
type aside struct {
	ID, Path, Reason string
	Size             int64
	Edits            int
}

func (a *away) asides() (list []aside) {
	a.client.t.Helper()
	for line := range strings.Lines(a.client.Must("offline", "list", "--output", "json")) {
		var q struct{ List []aside }
		if err := json.Unmarshal([]byte(line), &q); err != nil {
			a.client.t.Fatalf("%q: %v", line, err)
		}
		list = append(list, q.List...)
	}
	return list
}

// TestS19_OfflineQueue: what is written while the cable is out is shown here, and is there when it is in, in order, once.
func TestS19_OfflineQueue(t *testing.T) {
	t.Parallel()
	a := newAway(t)
	for i := range 10 {
		a.near.Write(fmt.Sprintf("t/s/v%d", i), "before\n")
	}
	a.near.Write("t/s/v", "before\n")
	a.near.Write("t/s/log", "first\n")
	a.near.Write("t/s/other", "other\n")
	a.far.WaitValue("t/s/other", "other\n")
	version, logVersion := a.near.Version("t/s/v3"), a.near.Version("t/s/log")
	a.cutOff()

	in := a.far.Inotify()
	start := time.Now()
	res := a.client.Shell(`
cd "$1/t/s"
for i in $(seq 1000); do
  echo "$i" > "v$((i % 10))"
  echo "$i" >> log
done
echo new > made; echo more >> made; echo start >> appended
printf XY | dd of=v bs=1 seek=2 conv=notrunc status=none
chmod 600 v1`, a.dir)
	if res.Code != 0 {
		t.Fatalf("offline: %v", res)
	}
	took := time.Since(start)
	t.Logf("2006 writes offline in %v: %v each, with the shell", took, took/2006)
	var lines strings.Builder
	lines.WriteString("first\n")
	for i := range 1000 {
		fmt.Fprintln(&lines, i+1)
	}
	check := func(m *Mount) {
		t.Helper()
		for i := range 10 {
			m.WaitValue(fmt.Sprintf("t/s/v%d", i), fmt.Sprintf("%d\n", 990+(i+9)%10+1))
		}
		m.WaitValue("t/s/log", lines.String())
		m.WaitValue("t/s/made", "new\nmore\n")
		m.WaitValue("t/s/appended", "start\n")
		m.WaitValue("t/s/v", "beXYre\n")
		m.WaitValue("t/s/other", "other\n")
		if fi, err := os.Stat(m.Path("t/s/v1")); err != nil || fi.Mode().Perm() != 0o600 || fi.Size() != 4 {
			t.Errorf("v1 is %v, %v", fi, err)
		}
	}
	check(a.far)
	in.Expect(0, "MODIFY t/s/v3", "CLOSE_WRITE t/s/v3", "CREATE t/s/made", "CLOSE_WRITE t/s/made")
	if got := a.far.Xattr("t/s/v3", "user.commy.queued"); got != "100" {
		t.Errorf("%s edits of v3 are queued, want 100", got)
	}
	if q := a.queue(); q.Entries != 2006 || q.Variables != 14 {
		t.Errorf("queue: %+v", q)
	}
	if got := a.far.Xattr("t/s/v3", "user.commy.version"); got != fmt.Sprint(version) {
		t.Errorf("version %s, want the server's %d", got, version)
	}
	for _, script := range []string{`rm other`, `mv other x`, `mkdir d`, `mv v y`, `rm made`, `set -C; echo x > excl`} {
		if res := a.client.Shell(`cd "$1/t/s"; `+script, a.dir); res.Code == 0 || !strings.Contains(res.Stderr, "I/O error") && !strings.Contains(res.Stderr, "Input/output error") {
			t.Errorf("%s: want EIO: %v", script, res)
		}
	}
	res = a.client.Run(append([]string{"status", "--timeout", "1s"}, a.args()...)...)
	if res.Code != 5 || !strings.Contains(res.Stdout, "2006 edits of 14 variables") {
		t.Errorf("status: %v", res)
	}
	if got := a.near.Read("t/s/v3"); got != "before\n" {
		t.Errorf("the other mount has %q", got)
	}

	a.cable.Plug()
	back := time.Now()
	a.drained()
	t.Logf("replayed %v after the cable was in", time.Since(back))
	check(a.near)
	check(a.far)
	if got := a.near.Version("t/s/v3"); got != version+100 {
		t.Errorf("version %d, want %d", got, version+100)
	}
	if got := a.near.Version("t/s/log"); got != logVersion+1000 {
		t.Errorf("version of the log %d, want %d", got, logVersion+1000)
	}
	if q := a.queue(); q.Aside != 0 || q.Damaged != 0 {
		t.Errorf("queue: %+v", q)
	}
	a.client.MustShell(`cd "$1/t/s"; echo after > v3; echo after > made; mv made renamed; rm other`, a.dir)
	a.near.WaitValue("t/s/v3", "after\n")
	a.near.WaitValue("t/s/renamed", "after\n")
}

// TestS19_OfflineConflict: what somebody else has written meanwhile stays, ours is set aside and can be had. Appends never conflict.
func TestS19_OfflineConflict(t *testing.T) {
	t.Parallel()
	a := newAway(t)
	for _, v := range []string{"v", "w", "x", "free"} {
		a.near.Write("t/s/"+v, "0123456789")
	}
	a.near.Write("t/s/log", "first\n")
	a.far.WaitValue("t/s/log", "first\n")
	a.cutOff()
	res := a.client.Shell(`
cd "$1/t/s"
echo one > v; echo two > v; echo three >> v
printf AB | dd of=w bs=1 seek=2 conv=notrunc status=none; echo + >> w
echo ours > both; echo here >> log; echo free > free; chmod 640 x; echo only > x`, a.dir)
	if res.Code != 0 {
		t.Fatal(res)
	}
	for _, v := range []string{"v", "w", "both", "x"} {
		a.near.Write("t/s/"+v, "theirs of "+v+"\n")
	}
	a.near.h.MustShell(`echo there >> "$1"`, a.near.Path("t/s/log"))
	a.cable.Plug()
	a.drained()
	for _, m := range []*Mount{a.near, a.far} {
		m.WaitValue("t/s/v", "theirs of v\nthree\n")
		m.WaitValue("t/s/w", "theirs of w\n+\n")
		m.WaitValue("t/s/both", "theirs of both\n")
		m.WaitValue("t/s/x", "theirs of x\n")
		m.WaitValue("t/s/log", "first\nthere\nhere\n")
		m.WaitValue("t/s/free", "free\n")
	}
	want := map[string]string{"t/s/v": "two\nthree\n", "t/s/w": "01AB456789+\n", "t/s/both": "ours\n", "t/s/x": "only\n"}
	list := a.asides()
	if len(list) != len(want) || a.queue().Aside != len(want) {
		t.Errorf("set aside: %+v, %+v", list, a.queue())
	}
	for _, x := range list {
		if got := a.client.Must("offline", "show", x.ID); got != want[x.Path] {
			t.Errorf("%+v: %q, want %q", x, got, want[x.Path])
		}
		if !strings.Contains(x.Reason, "somebody else") || !strings.Contains(a.far.stderr.String(), x.Path) {
			t.Errorf("%+v is not told:\n%s", x, a.far.stderr.String())
		}
	}
	text := a.client.Must("offline", "list")
	if strings.Count(text, "set aside ") != len(want) || !strings.Contains(text, a.dir) || !strings.Contains(text, "in use") {
		t.Errorf("list:\n%s", text)
	}
	if text := a.client.Must(append([]string{"status"}, a.args()...)...); !strings.Contains(text, a.dir+", "+a.serve.URL+": empty, 4 set aside") {
		t.Errorf("status:\n%s", text)
	}
	if text := a.far.Read(".commy/status"); !strings.Contains(text, "offline_queue_edits 0\n") || !strings.Contains(text, "offline_set_aside 4\n") {
		t.Errorf(".commy/status:\n%s", text)
	}
	a.client.Must(append([]string{"offline", "apply", list[0].ID}, a.args()...)...)
	a.near.WaitValue(list[0].Path, want[list[0].Path])
	a.client.Must("offline", "drop", list[1].ID, list[2].ID)
	if left := a.asides(); len(left) != 1 || left[0].ID != list[3].ID {
		t.Errorf("left: %+v", left)
	}
	wantError(t, a.client.Run("offline", "show", list[0].ID), 3, "nothing was set aside")
	wantError(t, a.client.Run("offline", "drop", "../../etc/1"), 2, "must be a number")
	a.client.MustShell(`echo after > "$1"`, a.far.Path("t/s/v"))
	a.near.WaitValue("t/s/v", "after\n")
}

// TestS19_OfflineSudden: the write that finds out takes no longer than the timeout, and the next ones no time. Those that were sent
// into the void are there once.
func TestS19_OfflineSudden(t *testing.T) {
	for _, sync := range []string{"close", "always", "never"} {
		t.Run(sync, func(t *testing.T) { testSudden(t, sync) })
	}
}

func testSudden(t *testing.T, sync string) {
	t.Parallel()
	a := newAway(t, "--sync", sync)
	for _, v := range []string{"v", "w", "log", "log2"} {
		a.near.Write("t/s/"+v, "")
	}
	a.far.WaitValue("t/s/log2", "")
	lines := ""
	for round, first := range []string{`echo "$2" >> log`, `echo "$2" > v`, `echo "$2" > "made$2"`} {
		a.cable.Unplug()
		text := fmt.Sprint(round)
		if res := a.client.Shell(`cd "$1/t/s"; `+first, a.dir, text); res.Code != 0 || res.Took > shortTimeout+slower(time.Second) {
			t.Errorf("%s: %v, took %v", first, res, res.Took)
		}
		if res := a.client.Shell(`cd "$1/t/s"; echo "$2" > w; echo "$2" >> log2`, a.dir, text); res.Code != 0 || sync != "never" && res.Took > slower(shortTimeout/2) {
			t.Errorf("after %s: %v, took %v", first, res, res.Took)
		}
		a.cable.Plug()
		lines += text + "\n"
		a.near.WaitValue("t/s/w", text+"\n")
		a.near.WaitValue("t/s/log2", lines)
		a.drained()
	}
	a.near.WaitValue("t/s/log", "0\n")
	a.near.WaitValue("t/s/v", "1\n")
	a.near.WaitValue("t/s/made2", "2\n")
	if list := a.asides(); len(list) != 0 {
		t.Errorf("set aside: %+v", list)
	}
}

// TestS19_OfflineFull: a write that the queue has no room for fails at once, with the errno of a limit, and what is queued stays.
func TestS19_OfflineFull(t *testing.T) {
	t.Parallel()
	a := newAway(t, "--offline-entries", "64", "--offline-bytes", "1000000")
	a.near.Write("t/s/v", "before\n")
	a.near.Write("t/s/log", "")
	a.far.WaitValue("t/s/v", "before\n")
	a.cutOff()
	res := a.client.ShellBy("bash", `cd "$1/t/s"; for i in $(seq 100); do echo "$i" > v || { echo "full at $i"; exit 1; }; done`, a.dir)
	if res.Code != 1 || !strings.Contains(res.Stderr, "Disk quota exceeded") {
		t.Fatalf("want EDQUOT: %v", res)
	}
	var full int
	if _, err := fmt.Sscanf(res.Stdout, "full at %d", &full); err != nil || full < 50 || full > 64 {
		t.Errorf("%v", res)
	}
	if got := a.far.Read("t/s/v"); got != fmt.Sprintf("%d\n", full-1) {
		t.Errorf("value %q", got)
	}
	a.cable.Plug()
	a.drained()
	a.near.WaitValue("t/s/v", fmt.Sprintf("%d\n", full-1))
	a.cutOff()
	if res := a.client.Shell(`head -c 1000000 /dev/zero > "$1"`, a.far.Path("t/s/v")); res.Code == 0 || !strings.Contains(res.Stderr, "quota") {
		t.Errorf("more bytes than the queue holds: %v", res)
	}
	a.client.MustShell(`echo small > "$1"`, a.far.Path("t/s/v"))
	a.cable.Plug()
	a.drained()
	a.near.WaitValue("t/s/v", "small\n")
}

// TestS19_OfflineDiskFull: the same for the disk of the state directory. What is queued is replayed from a full disk.
func TestS19_OfflineDiskFull(t *testing.T) {
	t.Parallel()
	a := &away{remote: newRemote(t)}
	a.client.SmallDisk("1m")
	a.near = a.server.Mount()
	a.near.Mkdir("t/s")
	a.near.Write("t/s/v", "before\n")
	a.dir = a.client.NewDir()
	a.mount()
	a.far.WaitValue("t/s/v", "before\n")
	a.cutOff()
	res := a.client.ShellBy("bash", `cd "$1/t/s"; for i in $(seq 2000); do { echo "$i"; head -c 4000 /dev/zero; } > v || { echo "full at $i"; exit 1; }; done`, a.dir)
	var full int
	if _, err := fmt.Sscanf(res.Stdout, "full at %d", &full); err != nil || res.Code != 1 || !strings.Contains(res.Stderr, "No space left") {
		t.Fatalf("want ENOSPC: %v", res)
	}
	_ = os.WriteFile(a.client.State()+"/other", make([]byte, 1<<20), 0o600) // what is left
	a.cable.Plug()
	a.drained()
	testenv.Eventually(t, slower(10*time.Second), func() error {
		got, want := a.near.Read("t/s/v"), fmt.Sprintf("%d\n", full-1)
		if !strings.HasPrefix(got, want) {
			return fmt.Errorf("value %s, want it to begin with %q", quote(got), want)
		}
		return nil
	})
	if err := os.Remove(a.client.State() + "/other"); err != nil {
		t.Fatal(err)
	}
	a.cutOff()
	a.client.MustShell(`echo again > "$1"`, a.far.Path("t/s/v"))
	a.cable.Plug()
	a.drained()
	a.near.WaitValue("t/s/v", "again\n")
}

// TestS19_OfflineFlapping: the cable is in for a moment and out again, over and over, while many write. All appends are there once,
// those of each writer in their order.
func TestS19_OfflineFlapping(t *testing.T) {
	t.Parallel()
	a := newAway(t)
	const writers, each = 4, 150
	a.near.Write("t/s/v", "before\n")
	a.near.Write("t/s/log", "")
	for w := range writers {
		a.near.Write(fmt.Sprintf("t/s/v%d", w), "")
	}
	a.far.WaitFor(fmt.Sprintf("t/s/v%d", writers-1)) // what it does not know of it takes for new
	var procs []*Proc
	for w := range writers {
		procs = append(procs, a.client.StartCommand("dash", "-ec", `cd "$1/t/s"
for i in $(seq "$3"); do echo "$2-$i" >> log; echo "$i" >> "log$2"; echo "$i" > "v$2"; sleep 0.02; done`, "dash", a.dir, fmt.Sprint(w), fmt.Sprint(each)))
	}
	running := func() bool {
		for _, p := range procs {
			if !p.ended() {
				return true
			}
		}
		return false
	}
	flaps := 0
	for ; running() && flaps < 40; flaps++ {
		a.cable.Unplug()
		time.Sleep(time.Duration(300+flaps%5*400) * time.Millisecond)
		a.cable.Plug()
		time.Sleep(time.Duration(100+flaps%7*200) * time.Millisecond)
	}
	for _, p := range procs {
		if code := p.Wait(slower(time.Minute)); code != 0 {
			t.Errorf("a writer has failed: %s", p.logs())
		}
	}
	a.drained()
	t.Logf("%d times out", flaps)
	for w := range writers {
		a.near.WaitValue(fmt.Sprintf("t/s/log%d", w), seq(each))
		a.near.WaitValue(fmt.Sprintf("t/s/v%d", w), fmt.Sprintf("%d\n", each))
	}
	last := map[string]int{}
	lines := strings.Fields(a.near.Read("t/s/log"))
	for _, line := range lines {
		var n int
		w, rest, _ := strings.Cut(line, "-")
		if _, err := fmt.Sscan(rest, &n); err != nil || n != last[w]+1 {
			t.Fatalf("%q after %d of writer %s", line, last[w], w)
		}
		last[w] = n
	}
	if len(lines) != writers*each {
		t.Errorf("%d lines, want %d", len(lines), writers*each)
	}
	if list := a.asides(); len(list) != 0 {
		t.Errorf("set aside: %+v", list)
	}
}

// TestS19_OfflineEvents: the stream of changes tells of what is queued when it is replayed, with the server's version, and of what is
// set aside never.
func TestS19_OfflineEvents(t *testing.T) {
	t.Parallel()
	a := newAway(t)
	a.near.Write("t/s/v", "before")
	a.near.Write("t/s/w", "before")
	a.far.WaitValue("t/s/w", "before")
	s := a.far.Stream("events?path=t%2Fs")
	a.cutOff()
	a.client.MustShell(`cd "$1/t/s"; echo one > v; echo two > v; echo ours > w`, a.dir)
	a.near.Write("t/s/w", "theirs\n")
	a.cable.Plug()
	a.drained()
	a.near.WaitValue("t/s/v", "two\n")
	a.far.WaitValue("t/s/w", "theirs\n")
	testenv.Eventually(t, slower(10*time.Second), func() error {
		last := map[string]streamed{}
		for _, c := range parseStream(t, s.stdout.Lines()) {
			want := map[string]string{"t/s/v": "two\n", "t/s/w": "theirs\n"}[c.Path]
			if got, err := base64.StdEncoding.DecodeString(c.Value); err != nil || string(got) != want {
				t.Fatalf("%s is told to be %q, %v", c.Path, got, err)
			}
			last[c.Path] = c
		}
		for _, v := range []string{"t/s/v", "t/s/w"} {
			if got, want := last[v].Version, a.near.Version(v); got != want {
				return fmt.Errorf("%s has version %d, want %d", v, got, want)
			}
		}
		return nil
	})
}

// TestS19_OfflineLocks: what is written under a lock is not queued: when it is replayed others can have the lock. Once the lock is
// gone the queue works.
func TestS19_OfflineLocks(t *testing.T) {
	t.Parallel()
	a := newAway(t)
	a.near.Write("t/s/v", "before\n")
	a.near.Write("t/s/w", "before\n")
	a.far.WaitValue("t/s/w", "before\n")
	p := a.client.StartCommand("dash", "-ec", `exec 9< "$1/t/s/v"; flock 9; echo locked; exec sleep 60`, "dash", a.dir)
	p.WaitLine(slower(10*time.Second), "locked")
	a.cutOff()
	for _, script := range []string{`echo x > v`, `echo x >> v`, `echo x > w`, `echo x > made`} {
		if res := a.client.Shell(`cd "$1/t/s"; `+script, a.dir); res.Code == 0 {
			t.Errorf("%s under a lock: %v", script, res)
		}
	}
	if q := a.queue(); q.Entries != 0 {
		t.Errorf("queue: %+v", q)
	}
	testenv.Eventually(t, slower(30*time.Second), func() error { // the lock is lost
		if res := a.client.Shell(`echo queued > "$1"`, a.far.Path("t/s/w")); res.Code != 0 {
			return fmt.Errorf("%v", res)
		}
		return nil
	})
	if res := a.client.Shell(`flock -n "$1" true`, a.far.Path("t/s/w")); res.Code == 0 {
		t.Errorf("a lock offline, over what is queued: %v", res)
	}
	a.cable.Plug()
	a.drained()
	a.near.WaitValue("t/s/w", "queued\n")
	a.near.WaitValue("t/s/v", "before\n")
	p.Kill()
	testenv.Eventually(t, slower(20*time.Second), func() error {
		if res := a.client.Shell(`flock -n "$1" sh -c 'echo locked > "$1"' sh "$1"`, a.far.Path("t/s/w")); res.Code != 0 {
			return fmt.Errorf("%v", res)
		}
		return nil
	})
	a.near.WaitValue("t/s/w", "locked\n")
}
