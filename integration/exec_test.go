package integration

import (
	"fmt"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/testenv"
)

// execScript opens argv[1] close-on-exec in one of the ways that have something to commit at close, and has a child run
// another program. It prints the child's pid.
const execScript = `
import fcntl, os, sys
path, how = sys.argv[1], sys.argv[2]
flags = {"made": os.O_CREAT | os.O_TRUNC, "replaced": os.O_TRUNC, "emptied": 0, "edited": 0, "appended": os.O_APPEND}[how]
fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | flags, 0o644)
if how == "emptied":
    os.ftruncate(fd, 0)
for i in range(3):
    os.write(fd, b"new")
pid = os.fork()
if pid == 0:
    os.execv(sys.argv[3], sys.argv[3:])
print("pid %d" % pid, flush=True)
os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))`

// wantEnd wants a process to end well, and frees it if it hangs.
func (m *Mount) wantEnd(p *Proc) {
	m.t.Helper()
	select {
	case <-p.done:
	case <-time.After(slower(10 * time.Second)):
		m.t.Errorf("hangs: %v", p)
		_ = unix.Unmount(m.Dir, unix.MNT_FORCE)
	}
	if code := p.Wait(10 * time.Second); code != 0 {
		m.t.Errorf("exit code %d: %s", code, p.logs())
	}
}

// TestS19_Exec: execve closes files, and their FLUSH comes while the flags of the caller cannot be read. What had not been
// published is published then.
func TestS19_Exec(t *testing.T) {
	testenv.Need(t, "python3", "vim")
	h, a, b := twoMounts(t)
	for _, how := range []string{"made", "replaced", "emptied", "edited", "appended"} {
		want := "newnewnew"
		if how != "made" {
			a.Write("t/s/"+how, "old")
		}
		if how == "appended" {
			want = "old" + want
		}
		a.wantEnd(h.StartCommand("python3", "-c", execScript, a.Path("t/s/"+how), how, "/bin/true"))
		if t.Failed() {
			return
		}
		b.WaitValue("t/s/"+how, want)
	}
	// A program on the mount is read by the exec itself.
	a.Write("t/s/script", "#!/bin/sh\nexit 0\n")
	a.wantEnd(h.StartCommand("python3", "-c", execScript, a.Path("t/s/replaced"), "replaced", "/bin/sh", a.Path("t/s/script")))

	a.Write("t/s/edited", "old\n")
	a.wantEnd(h.StartCommand("vim", "-u", "NONE", "-es", "-c", "%s/old/vim/", "-c", "w", "-c", "!true", "-c", "s/vim/vim again/",
		"-c", "w !cat >/dev/null", "-c", "wq", a.Path("t/s/edited")))
	b.WaitValue("t/s/edited", "vim again\n")
}

// TestS19_StatOfWriterInExec: while the FLUSH of an exec waits for the server, others ask for the size of the file, and so
// whose value that is.
func TestS19_StatOfWriterInExec(t *testing.T) {
	testenv.Need(t, "python3")
	h, a, b := twoMounts(t)
	a.Write("t/s/v", "old")
	const script = `
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
os.write(fd, b"newest")
pid = os.fork()
if pid == 0:
    signal.sigwait({signal.SIGUSR1})
    os.execv("/bin/true", ["true"])
print("pid %d" % pid, flush=True)
os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))`
	p := h.StartCommand("python3", "-c", script, a.Path("t/s/v"))
	child, err := strconv.Atoi(p.WaitLine(runBound, "pid "))
	if err != nil {
		t.Fatal(err)
	}
	server := h.Status().Server.Pid
	for _, err := range []error{syscall.Kill(server, syscall.SIGSTOP), syscall.Kill(child, syscall.SIGUSR1)} {
		if err != nil {
			t.Error(err)
		}
	}
	err = testenv.Poll(slower(5*time.Second), func() error {
		// It has the new memory already, and not yet the program.
		if line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", child)); err != nil || len(line) > 0 {
			return fmt.Errorf("not inside execve: %q, %v", line, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if r := h.Shell(`stat -c %s "$1"`, a.Path("t/s/v")); r.Stdout != "3\n" || r.Took > 4*time.Second {
		t.Errorf("after %v: %v", r.Took, r)
	}
	if err := syscall.Kill(server, syscall.SIGCONT); err != nil {
		t.Error(err)
	}
	a.wantEnd(p)
	b.WaitValue("t/s/v", "newest")
}
