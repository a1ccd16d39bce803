package integration

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
)

// TestS20_Kill9Mount: the end of one mount is nobody else's business, and its directory can be used again.
func TestS20_Kill9Mount(t *testing.T) {
	h, a, b := twoMounts(t, mortal)
	a.Write("t/s/v", "1")
	b.WaitValue("t/s/v", "1")
	server := h.Status().Server.Pid
	held, err := os.Open(b.Path("t/s/v"))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()

	h.crashed = true
	a.Kill()
	buf := make([]byte, 10)
	if n, err := held.ReadAt(buf, 0); string(buf[:n]) != "1" {
		t.Errorf("a held descriptor of the other mount: %q %v", buf[:n], err)
	}
	b.Write("t/s/v", "2")
	if got := h.Status().Server.Pid; got != server {
		t.Errorf("the server changed from %d to %d", server, got)
	}
	// The dead mount is in the way of nobody: mounting there again clears it.
	again := h.MountOn(a.Dir, mortal)
	if got := again.Read("t/s/v"); got != "2" {
		t.Errorf("mounted again: %q", got)
	}
	if n := len(mountsBelow(a.Dir)); n != 1 {
		t.Errorf("%d mounts on %s, want 1", n, a.Dir)
	}
	again.KillHard()
	if n := len(mountsBelow(a.Dir)); n != 0 {
		t.Errorf("%d mounts left on %s", n, a.Dir)
	}
	b.Write("t/s/v", "3")
}

// TestS20_Kill9Server kills the server again and again under a stream of appends from two mounts: what was
// acknowledged is there, nothing is there twice, and nobody has to mount again.
func TestS20_Kill9Server(t *testing.T) {
	const kills = 5
	h, a, b := twoMounts(t)
	h.crashed = true
	a.Write("t/s/log", "")
	b.WaitFor("t/s/log")
	held, err := os.Open(a.Path("t/s/log"))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()

	// Each line is appended by a shell, in a descriptor of its own; a line that was taken is noted beside.
	const writer = `
		target=$1 name=$2 stop=$3 n=0
		while [ ! -e "$stop" ]; do
			n=$((n + 1))
			if (echo "$name-$n" >> "$target"); then echo "ok $name-$n"; else echo "no $name-$n"; fi
		done`
	stop := h.path("stop")
	var writers []*Proc
	for i, m := range []*Mount{a, b, a, b} {
		writers = append(writers, h.StartCommand("dash", "-uc", writer, "dash", m.Path("t/s/log"), fmt.Sprint("w", i), stop))
	}
	acknowledged := func() (n int) {
		for _, w := range writers {
			n += strings.Count(w.stdout.String(), "ok ")
		}
		return n
	}
	progress := func(from int) {
		t.Helper()
		testenv.Eventually(t, readyBound, func() error {
			if n := acknowledged(); n < from+100 {
				return fmt.Errorf("%d appends acknowledged, wanted %d", n, from+100)
			}
			return nil
		})
	}
	pids := map[int]bool{}
	for range kills {
		progress(acknowledged())
		pid := h.Status().Server.Pid
		if pids[pid] {
			t.Errorf("server %d again", pid)
		}
		pids[pid] = true
		killed := time.Now()
		before := acknowledged()
		h.KillServer(pid)
		testenv.Eventually(t, readyBound, func() error {
			if acknowledged() <= before+4 { // four may have been on their way
				return fmt.Errorf("no append acknowledged since the kill")
			}
			return nil
		})
		took := time.Since(killed)
		t.Logf("appends acknowledged again %v after kill -9 of the server", took.Round(time.Millisecond))
		if limit := slower(2 * time.Second); took > limit {
			t.Errorf("next server took %v, more than %v", took, limit)
		}
	}
	progress(acknowledged())
	if err := os.WriteFile(stop, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, w := range writers {
		w.Wait(runBound)
	}

	count := map[string]int{}
	log := a.Read("t/s/log")
	for line := range strings.Lines(log) {
		count[strings.TrimSuffix(line, "\n")]++
	}
	lost, twice, refused, total := 0, 0, 0, 0
	for _, w := range writers {
		for _, line := range w.stdout.Lines() {
			answer, entry, _ := strings.Cut(line, " ")
			total++
			switch n := count[entry]; {
			case n > 1:
				twice++
			case answer == "ok" && n == 0:
				lost++
			}
			if answer == "no" {
				refused++
			}
			delete(count, entry)
		}
	}
	if lost > 0 || twice > 0 || len(count) > 0 {
		t.Errorf("of %d appends %d lost, %d there more than once; %d lines that nobody wrote", total, lost, twice, len(count))
	}
	t.Logf("%d appends, %d refused, %d kills", total, refused, kills)
	if refused > 0 {
		t.Errorf("%d appends were refused although the next server came within the bound", refused)
	}
	if got := h.Must("get", "t/s/log"); got != log {
		t.Errorf("the server has %d bytes, the mount showed %d", len(got), len(log))
	}
	b.WaitValue("t/s/log", log)
	buf := make([]byte, len(log)+1)
	if n, _ := held.ReadAt(buf, 0); string(buf[:n]) != log {
		t.Errorf("a descriptor held all the time: %d bytes, want %d", n, len(log))
	}
	for _, m := range []*Mount{a, b} {
		if m.ended() {
			t.Errorf("a mount has ended: %s", m.logs())
		}
	}
}

// TestS20_Kill9Everything: after kill -9 of every process at once, all that was acknowledged is there, and the same.
func TestS20_Kill9Everything(t *testing.T) {
	t.Parallel()
	h, a, b := twoMounts(t)
	h.crashed = true
	want := map[string]string{}
	for i := range 200 {
		name := fmt.Sprintf("t/s%d/dir/v%d", i%3, i)
		a.Mkdir(fmt.Sprintf("t/s%d/dir", i%3))
		want[name] = sealed(32+i*97, uint32(i))
		a.Write(name, want[name])
	}
	b.WaitFor("t/s1/dir/v199")
	if err := os.Remove(b.Path("t/s1/dir/v199")); err != nil {
		t.Fatal(err)
	}
	delete(want, "t/s1/dir/v199")
	if err := os.Rename(b.Path("t/s0/dir"), b.Path("t/s0/renamed")); err != nil {
		t.Fatal(err)
	}
	type state struct{ ino, version uint64 }
	states := map[string]state{}
	renamed := map[string]string{}
	for name, v := range want {
		name = strings.Replace(name, "t/s0/dir/", "t/s0/renamed/", 1)
		renamed[name] = v
		b.WaitFor(name)
		states[name] = state{b.Inode(name), b.Version(name)}
	}
	want = renamed
	if len(want) != 199 {
		t.Fatalf("%d variables, want 199", len(want))
	}

	for round := range 2 {
		for _, sig := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} { // or the guards would start mounts anew
			for _, p := range processes(h.dir) {
				_ = syscall.Kill(p.pid, sig)
			}
		}
		a.Wait(10 * time.Second)
		b.Wait(10 * time.Second)
		testenv.Eventually(t, 10*time.Second, func() error {
			if left := processes(h.dir); len(left) > 0 {
				return fmt.Errorf("left: %v", left)
			}
			return nil
		})
		a, b = h.MountOn(a.Dir), h.MountOn(b.Dir)
		for name, v := range want {
			if got := a.Read(name); got != v {
				t.Errorf("round %d: %s: %s, want %s", round, name, quote(got), quote(v))
			}
			if got := (state{b.Inode(name), b.Version(name)}); got != states[name] {
				t.Errorf("round %d: %s: inode number and version %v, want %v", round, name, got, states[name])
			}
		}
		if _, err := os.Stat(a.Path("t/s1/dir/v199")); err == nil {
			t.Error("a removed variable is back")
		}
		// And it goes on: versions too.
		a.Write("t/s1/dir/v1", fmt.Sprint("round ", round))
		want["t/s1/dir/v1"] = fmt.Sprint("round ", round)
		s := states["t/s1/dir/v1"]
		s.version++
		states["t/s1/dir/v1"] = s
		if got := a.Version("t/s1/dir/v1"); got != s.version {
			t.Errorf("version %d after a restart and a change, want %d", got, s.version)
		}
	}
}
