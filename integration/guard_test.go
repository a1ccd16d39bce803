package integration

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
	"golang.org/x/sys/unix"
)

// guards returns the guards of the host's mounts.
func (h *Host) guards() (found []process) {
	for _, p := range processes(h.dir) {
		if strings.HasPrefix(p.cmdline, "commyfs guard ") {
			found = append(found, p)
		}
	}
	return found
}

// wantGuards waits until there are so many guards.
func (h *Host) wantGuards(n int) []process {
	h.t.Helper()
	var found []process
	testenv.Eventually(h.t, slower(5*time.Second), func() error {
		if found = h.guards(); len(found) != n {
			return fmt.Errorf("guards %v, want %d", found, n)
		}
		return nil
	})
	return found
}

// stuck tells of a process that it has not ended, with what its threads wait for.
func stuck(pid int) error {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil
	}
	text := fmt.Sprintf("process %d:", pid)
	for _, t := range tasks {
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/stat", pid, t.Name()))
		stack, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/stack", pid, t.Name()))
		_, state, _ := strings.Cut(string(stat), ") ")
		text += fmt.Sprintf("\n%s %.1s %.300s", t.Name(), state, stack)
	}
	return errors.New(text)
}

// uninterruptible reports whether a process is in state D.
func uninterruptible(pid int) bool {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(state, "D")
}

// wantDead wants a mount that was killed to be there still, and to answer with an error: if it were not, scripts would
// write into the directory below. It asks by a process of its own, which may hang, started by the words of prefix.
func (h *Host) wantDead(dir string, prefix ...string) {
	h.t.Helper()
	// What asks while the connection is aborted gets another error.
	words := append(prefix, "sh", "-c", `stat "$1" 2>/dev/null; stat "$1"`, "sh", dir)
	p := h.StartCommand(words[0], words[1:]...)
	select {
	case <-p.done:
		if !strings.Contains(p.stderr.String(), "Transport endpoint is not connected") {
			h.t.Errorf("stat of a mount that was killed: %s", p.logs())
		}
	case <-time.After(slower(5 * time.Second)):
		h.t.Errorf("%s hangs: %v", dir, stuck(p.Pid()))
		_ = unix.Unmount(dir, unix.MNT_FORCE)
	}
}

// TestS20_Kill9UnderChurn kills a mount again and again while its names change from here and from elsewhere. Sooner or
// later its announcing thread waits for a directory's lock then, which neither it nor the lock's holder can be killed in.
func TestS20_Kill9UnderChurn(t *testing.T) {
	testenv.Need(t, "python3")
	const (
		rounds = 25
		most   = 25 * time.Second
	)
	h, a, b := twoMounts(t, mortal)
	h.crashed = true
	a.Mkdir("t/s/d")
	b.WaitFor("t/s/d")
	const user = `
import os, sys, time
how, d, me = sys.argv[1], sys.argv[2], os.getpid()
i = 0
while True:
    i += 1
    try:
        if how == "create":
            f = "%s/x%d.%d" % (d, me, i % 5)
            os.close(os.open(f, os.O_CREAT | os.O_EXCL | os.O_WRONLY)); os.unlink(f)
        elif how == "mkdir":
            f = "%s/d%d" % (d, me)
            os.mkdir(f); os.rmdir(f)
        else:
            open(d + "/r", "w").write(str(i))
            os.rename(d + "/r", d + "/r2"); os.rename(d + "/r2", d + "/r3"); os.unlink(d + "/r3")
    except OSError:
        time.sleep(0.002)`
	var users, usersOfA []*Proc
	for _, how := range []string{"create", "mkdir", "rename"} {
		for _, m := range []*Mount{a, b} {
			users = append(users, h.StartCommand("python3", "-c", user, how, m.Path("t/s/d")))
		}
		usersOfA = append(usersOfA, users[len(users)-2])
	}
	defer func() {
		for _, u := range users {
			u.Kill()
		}
	}()
	start, n, hung := time.Now(), 0, 0
	for ; n < rounds && time.Since(start) < most; n++ {
		time.Sleep(300*time.Millisecond + rand.N(500*time.Millisecond))
		a.Signal(syscall.SIGKILL)
		err := testenv.Poll(slower(5*time.Second), func() error { return stuck(a.Pid()) })
		if err == nil {
			err = testenv.Poll(slower(5*time.Second), func() error {
				for _, u := range usersOfA {
					if uninterruptible(u.Pid()) {
						return stuck(u.Pid())
					}
				}
				return nil
			})
		}
		if err != nil {
			hung++
			t.Errorf("round %d: %v", n, err)
			_ = unix.Unmount(a.Dir, unix.MNT_FORCE)
			a.Wait(10 * time.Second)
		} else {
			a.Wait(10 * time.Second)
			h.wantDead(a.Dir)
		}
		a = h.MountOn(a.Dir, mortal)
	}
	t.Logf("killed %d times, hung %d times", n, hung)
	if n < 5 {
		t.Errorf("only %d rounds in %v", n, most)
	}
	h.wantGuards(2)
}

// TestS20_GuardAborts: a mount that was killed is dead even if something keeps its /dev/fuse open.
func TestS20_GuardAborts(t *testing.T) {
	check := func(t *testing.T, h *Host, dir string, prefix ...string) {
		t.Helper()
		h.crashed = true
		mount := func() *Proc {
			t.Helper()
			words := append(prefix, binary, "mount", mortal, dir)
			m := h.StartCommand(words[0], words[1:]...)
			m.WaitLine(readyBound, "mounted ")
			h.wantGuards(1)
			return m
		}
		m := mount()
		keep := stealFuse(t, m.Pid())
		m.Kill()
		h.wantDead(dir, prefix...)
		h.wantGuards(0)
		unix.Close(keep)
		m = mount()
		m.Signal(syscall.SIGTERM)
		if code := m.Wait(slower(10 * time.Second)); code != 0 {
			t.Errorf("exit code %d: %s", code, m.logs())
		}
		h.wantGuards(0)
	}
	t.Run("root", func(t *testing.T) {
		h := NewHost(t)
		check(t, h, h.NewDir())
	})
	t.Run("network namespace", func(t *testing.T) {
		h := NewHost(t)
		check(t, h, h.NewDir(), "unshare", "--net")
	})
	t.Run("user", func(t *testing.T) {
		testenv.Need(t, "unshare", "nsenter", "setpriv", "fusermount3")
		h := NewHost(t)
		// In a mount namespace that has fusectl, as every machine with systemd.
		holder := h.StartCommand("unshare", "--mount", "sh", "-ec",
			"mount -t fusectl none /sys/fs/fuse/connections; echo ready; exec sleep 1000")
		holder.WaitLine(runBound, "rea")
		h.BelongsTo(nobody)
		dir := h.NewDir()
		h.uid = 0 // nsenter needs it
		id := strconv.Itoa(nobody)
		check(t, h, dir, "nsenter", fmt.Sprintf("--mount=/proc/%d/ns/mnt", holder.Pid()),
			"setpriv", "--reuid", id, "--regid", id, "--clear-groups")
	})
}

// stealFuse takes a duplicate of the descriptor of /dev/fuse from a mount.
func stealFuse(t *testing.T, pid int) int {
	t.Helper()
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range fds {
		if link, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, e.Name())); link != "/dev/fuse" {
			continue
		}
		n, err := strconv.Atoi(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		fd, err := unix.PidfdGetfd(pidfd, n, 0)
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	t.Fatalf("process %d has no /dev/fuse open", pid)
	return -1
}

// TestGuard_Life: the guard is there as long as its mount, holds nothing of it, and is needed by nobody.
func TestGuard_Life(t *testing.T) {
	h := NewHost(t)
	dir := h.NewDir()
	if got := strings.TrimSpace(h.MustShell(`x=$("$1" mount "$2" --daemon); echo "$x"`, binary, dir)); got != "mounted "+dir {
		t.Errorf("printed %q", got)
	}
	h.wantGuards(1)
	h.Must("umount", dir)
	h.wantGuards(0)

	m := h.MountOn(dir)
	g := h.wantGuards(1)[0]
	testenv.Eventually(t, slower(5*time.Second), func() error { // killall of our name is not to hit it
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", g.pid))
		if err == nil && string(comm) != "commy-guard\n" {
			err = fmt.Errorf("the guard's name is %q", comm)
		}
		return err
	})
	// What it has it needs to start the mount anew, and nothing keeps the mount busy.
	stderr, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/2", m.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", g.pid))
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, e := range fds {
		link, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", g.pid, e.Name()))
		if err != nil {
			continue
		}
		count[link]++
		n, _ := strconv.Atoi(e.Name())
		if n < 3 && link != os.DevNull || strings.HasPrefix(link, "pipe:") && link != stderr || strings.HasPrefix(link, dir) {
			t.Errorf("the guard holds %s as descriptor %d", link, n)
		}
	}
	if count["/dev/fuse"] != 1 || count[stderr] != 1 {
		t.Errorf("the guard holds %v", count)
	}
	if cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", g.pid)); cwd != "/" {
		t.Errorf("the guard's working directory: %q, %v", cwd, err)
	}
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGPIPE} {
		if err := syscall.Kill(g.pid, sig); err != nil {
			t.Fatal(err)
		}
	}
	m.Mkdir("t/s")
	m.Write("t/s/v", "1")
	if got := h.wantGuards(1)[0]; got.pid != g.pid {
		t.Errorf("guard %v, was %v", got, g)
	}

	// It is started again, unless it is killed too often in a while: then the mount goes on without.
	next := func(not, n int) (pid int) {
		t.Helper()
		testenv.Eventually(t, slower(5*time.Second), func() error {
			found := h.guards()
			if len(found) != n || n > 0 && found[0].pid == not {
				return fmt.Errorf("guards %v, want %d that are not %d", found, n, not)
			}
			if n > 0 {
				pid = found[0].pid
			}
			return nil
		})
		return pid
	}
	last := g.pid
	const starts = 5
	for range starts - 1 {
		process{pid: last}.kill()
		last = next(last, 1)
	}
	process{pid: last}.kill()
	next(last, 0)
	if got := m.Read("t/s/v"); got != "1" {
		t.Errorf("read %q", got)
	}
	m.Unmount()
	if n := strings.Count(m.stderr.String(), "the guard process exited"); n != starts {
		t.Errorf("%d warnings, want %d: %s", n, starts, m.logs())
	}
}

// TestUmount_LazyOfHanging: users of a mount that hangs get an error, those of one that does not keep what they have.
func TestUmount_LazyOfHanging(t *testing.T) {
	h, a, b := twoMounts(t)
	a.Write("t/s/v", "1")
	held, err := os.Open(a.Path("t/s/v"))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if r := h.Run("umount", "--lazy", a.Dir); r.Code != 0 || r.Stdout+r.Stderr != "" {
		t.Errorf("a mount that answers: %v", r)
	}
	buf := make([]byte, 10)
	if n, _ := held.ReadAt(buf, 0); string(buf[:n]) != "1" {
		t.Errorf("after a lazy unmount: %q", buf[:n])
	}
	held.Close()
	if code := a.Wait(slower(10 * time.Second)); code != 0 {
		t.Errorf("exit code %d", code)
	}

	// One whose processes were all killed, but which something keeps alive.
	h.crashed = true
	c := h.Mount()
	keep := stealFuse(t, c.Pid())
	guard := process{}
	for _, g := range h.wantGuards(2) {
		if strings.Contains(g.cmdline, " "+c.Dir+" ") {
			guard = g
		}
	}
	if err := syscall.Kill(guard.pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	c.Kill()
	guard.kill()
	if r := h.Run("umount", "--lazy", c.Dir); r.Code != 0 || !strings.Contains(r.Stderr, c.Dir+" did not respond") {
		t.Errorf("a mount that was killed with its guard: %v", r)
	}
	unix.Close(keep)

	b.Signal(syscall.SIGSTOP)
	user := h.StartCommand("mkdir", b.Path("t/s/d"))
	testenv.Eventually(t, 5*time.Second, func() error {
		if wchan, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stack", user.Pid())); !strings.Contains(string(wchan), "fuse") {
			return fmt.Errorf("does not wait for the mount: %s", wchan)
		}
		return nil
	})
	if r := h.Run("umount", b.Dir); r.Code == 0 || !strings.Contains(r.Stderr, "--lazy") || len(mountsBelow(b.Dir)) == 0 {
		t.Errorf("a mount that hangs and is in use: %v", r)
	}
	r := h.Run("umount", "--lazy", b.Dir)
	if r.Code != 0 || !strings.Contains(r.Stderr, b.Dir+" did not respond") || r.Took > slower(10*time.Second) {
		t.Errorf("a mount that hangs, after %v: %v", r.Took, r)
	}
	if code := user.Wait(5 * time.Second); code == 0 {
		t.Error("a user of a mount that hangs had success")
	}
	if left := mountsBelow(b.Dir); len(left) > 0 {
		t.Errorf("still mounted: %v", left)
	}
	b.Signal(syscall.SIGCONT)
	if code := b.Wait(slower(10 * time.Second)); code != 0 {
		t.Errorf("exit code %d", code)
	}
	h.wantGuards(0)
}
