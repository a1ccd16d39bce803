package integration

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/testenv"
)

// A mount that comes back (S23).

// often lets a mount be killed as often as a test likes.
const often = "--restarts=64"

// serving returns the pid of the process that serves a mount, 0 if there is none.
func (h *Host) serving(dir string) int {
	for _, p := range processes(h.dir) {
		words := strings.Fields(p.cmdline)
		if len(words) > 1 && words[1] == "mount" && slices.Contains(words, dir) {
			return p.pid
		}
	}
	return 0
}

// kill9 ends the process of a mount with SIGKILL, and returns how long it took until the next one answered a request.
func (h *Host) kill9(dir string) time.Duration { return h.kill9At(dir, func() {}) }

// kill9At is kill9 with something that happens when the process is gone.
func (h *Host) kill9At(dir string, meanwhile func()) time.Duration {
	h.t.Helper()
	h.crashed = true
	pid := h.serving(dir)
	if pid == 0 {
		h.t.Fatalf("nobody serves %s: %v", dir, processes(h.dir))
	}
	killed := time.Now()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		h.t.Fatal(err)
	}
	for exists(pid) {
		time.Sleep(time.Millisecond)
	}
	meanwhile()
	answered := make(chan error, 1)
	go func() {
		var st unix.Statx_t
		err := unix.EINTR
		// EIO: a thread of the process was handed the request as it died.
		for n := 0; err == unix.EINTR || err == unix.EIO && n < 5; n++ {
			err, _ = unix.Statx(unix.AT_FDCWD, dir, unix.AT_STATX_FORCE_SYNC, unix.STATX_BASIC_STATS, &st).(unix.Errno)
		}
		if err != 0 {
			answered <- err
			return
		}
		answered <- nil
	}()
	select {
	case err := <-answered:
		if err != nil {
			h.t.Fatalf("%s after kill -9 of its process: %v", dir, err)
		}
	case <-time.After(slower(20 * time.Second)):
		h.t.Fatalf("%s hangs after kill -9 of its process", dir)
	}
	return time.Since(killed)
}

// guardOf returns the pid of the guard of a mount, once there is one and no more, which guards the process that serves the mount,
// if one does: for a moment there is only the guard of the process before.
func (h *Host) guardOf(dir string) (pid int) {
	h.t.Helper()
	testenv.Eventually(h.t, slower(10*time.Second), func() error {
		n := 0
		for _, g := range h.guards() {
			if strings.Contains(g.cmdline, " "+dir+" ") {
				n, pid = n+1, g.pid
			}
		}
		if n != 1 {
			return fmt.Errorf("%d guards", n)
		}
		env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if serving := h.serving(dir); serving != 0 && !strings.Contains(string(env), fmt.Sprintf("COMMYFS_MOUNT_GUARD=%d ", serving)) {
			return fmt.Errorf("guard %d does not guard process %d", pid, serving)
		}
		return nil
	})
	return pid
}

// exists reports whether a process has a thread that runs; one that waits for the mount it served is left out.
func exists(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X") && !strings.HasPrefix(state, "D")
}

// session is a shell that runs one line after the other.
type session struct {
	*Proc
	in *os.File
	n  int
}

func (h *Host) shellIn(dir string) *session {
	h.t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		h.t.Fatal(err)
	}
	cmd := h.command("bash")
	cmd.Dir, cmd.Stdin = dir, r
	p := startProc(h.t, cmd)
	h.started = append(h.started, p)
	_ = r.Close()
	return &session{Proc: p, in: w}
}

// do runs a line, and returns what it printed.
func (s *session) do(line string) string {
	s.t.Helper()
	s.n++
	end := fmt.Sprintf("--- %d", s.n)
	from := len(s.stdout.String())
	if _, err := fmt.Fprintf(s.in, "{ %s\n} 2>&1; echo '%s'\n", line, end); err != nil {
		s.t.Fatal(err)
	}
	var out string
	testenv.Eventually(s.t, slower(20*time.Second), func() error {
		text, _, ok := strings.Cut(s.stdout.String()[from:], end+"\n")
		out = text
		if !ok {
			return fmt.Errorf("%q has not ended: %q", line, text)
		}
		return nil
	})
	return out
}

func (s *session) end() {
	_ = s.in.Close()
	s.Wait(runBound)
}

// TestS23_Kill9ComesBack: after kill -9 of its process a mount goes on, and its users with what they have open, where they are,
// and what they watch.
func TestS23_Kill9ComesBack(t *testing.T) {
	testenv.Need(t, "bash", "inotifywait", "tail")
	h := NewHost(t)
	a, b := h.Mount(often), h.Mount()
	a.Mkdir("t/s/dir")
	a.Mkdir("t/other")
	for _, name := range []string{"t/s/v", "t/s/log", "t/s/gone", "t/s/dir/deep", "t/other/x"} {
		a.Write(name, name+"\n")
	}
	b.WaitFor("t/other/x")
	in, of := h.Inotify(a.Path("t/s")), h.Inotify(a.Path("t/s/v"))
	tail := h.StartCommand("tail", "-n", "+1", "-F", a.Path("t/s/log"))
	tail.WaitLine(runBound, "t/s/lo")
	sh := h.shellIn(a.Path("t/s/dir"))
	held, err := os.OpenFile(a.Path("t/s/v"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	orphan, err := os.OpenFile(a.Path("t/s/gone"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer orphan.Close()
	if err := os.Remove(a.Path("t/s/gone")); err != nil {
		t.Fatal(err)
	}
	inode := a.Inode("t/s/v")

	var took []time.Duration
	for i := range 3 {
		from, fromOf := in.Mark(), of.Mark()
		// What changes while nobody serves the mount is heard of.
		guard := h.guardOf(a.Dir)
		pid := h.serving(a.Dir)
		stopped(t, guard)
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		h.crashed = true
		for exists(pid) {
			time.Sleep(time.Millisecond)
		}
		b.Write("t/s/v", fmt.Sprint("in between ", i, "\n"))
		b.Write(fmt.Sprint("t/s/new", i), "1")
		if i > 0 {
			if err := os.Remove(b.Path(fmt.Sprint("t/s/new", i-1))); err != nil {
				t.Fatal(err)
			}
		}
		if err := syscall.Kill(guard, syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		if got := a.Read("t/s/v"); got != fmt.Sprint("in between ", i, "\n") {
			t.Errorf("round %d: read %q", i, got)
		}
		want := []string{"MODIFY v", "CREATE " + fmt.Sprint("new", i)}
		if i > 0 {
			want = append(want, "DELETE "+fmt.Sprint("new", i-1))
		}
		for _, w := range want {
			in.Expect(from, w)
		}
		of.Expect(fromOf, "MODIFY ")
		if pwd := strings.TrimSpace(sh.do("/bin/pwd")); pwd != a.Path("t/s/dir") {
			t.Errorf("round %d: the shell is in %q", i, pwd)
		}
		if got := sh.do("cat deep ../../other/x"); got != "t/s/dir/deep\nt/other/x\n" {
			t.Errorf("round %d: the shell reads %q", i, got)
		}
		text := fmt.Sprint("written ", i, "......\n")
		if _, err := held.WriteAt([]byte(text), 0); err != nil {
			t.Errorf("round %d: write: %v", i, err)
		}
		if err := held.Sync(); err != nil {
			t.Errorf("round %d: fsync: %v", i, err)
		}
		b.WaitValue("t/s/v", text)
		if got := a.Inode("t/s/v"); got != inode {
			t.Errorf("round %d: inode %d, was %d", i, got, inode)
		}
		h.MustShell(`echo "$2" >> "$1"`, b.Path("t/s/log"), fmt.Sprint("line ", i))
		tail.WaitLine(runBound, fmt.Sprint("line ", i))
		if _, err := orphan.ReadAt(make([]byte, 1), 0); err == nil {
			t.Error("what only the process had that died is read")
		}
		took = append(took, h.kill9(a.Dir))
	}
	wantBackSoon(t, took)
	for _, e := range append(in.Events(), of.Events()...) {
		if e.has("DELETE_SELF") || e.has("IGNORED") || e.has("UNMOUNT") {
			t.Errorf("a watch has ended: %v", e)
		}
	}
	if tail.ended() {
		t.Errorf("tail has ended: %s", tail.logs())
	}
	sh.end()
	tail.Signal(syscall.SIGTERM)
	tail.Wait(runBound)
	held.Close()
	orphan.Close()
	h.Must("umount", a.Dir)
	h.wantGuards(1)
}

// stopped stops a process, and waits until it has.
func stopped(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, 10*time.Second, func() error {
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if _, state, _ := strings.Cut(string(stat), ") "); !strings.HasPrefix(state, "T") {
			return fmt.Errorf("process %d: %.60s", pid, stat)
		}
		return nil
	})
}
