package integration

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/testenv"
)

// across are two mounts with the directory t/s/d, and the service other/r, to which tests rename it.
func across(t *testing.T, args ...string) (h *Host, a, b *Mount) {
	t.Helper()
	h, a, b = twoMounts(t, args...)
	a.Mkdir("other/r")
	b.WaitFor("other/r")
	furnish("t/s/d", "value", a, b)
	return h, a, b
}

// moves renames a directory and waits until the other mount has it.
func (m *Mount) moves(from, to string, other *Mount) {
	m.t.Helper()
	if err := unix.Rename(m.Path(from), m.Path(to)); err != nil {
		m.t.Fatalf("%s to %s: %v", from, to, err)
	}
	other.WaitFor(to)
	other.WaitGone(from)
}

// TestS13_AcrossUncommitted: what was written and is not committed when the directory goes to another service, here or by another
// mount, is committed there: values that are gathered, files that are being made, an editor's.
func TestS13_AcrossUncommitted(t *testing.T) {
	_, a, b := across(t)
	at, to := "t/s/d", "other/r/d"
	for i, by := range []*Mount{a, b} {
		gathers := a.open(t, at+"/in/v", unix.O_WRONLY|unix.O_TRUNC)
		makes := a.open(t, at+"/in", unix.O_RDONLY|unix.O_DIRECTORY)
		draft, err := unix.Openat(makes.fd, "draft", unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		edits := a.open(t, at+"/in/deep/w", unix.O_RDWR)
		swap, err := os.Create(a.Path(at + "/in/.v.swp"))
		if err != nil {
			t.Fatal(err)
		}
		value := fmt.Sprint("value ", i)
		for _, fd := range []int{gathers.fd, draft, edits.fd, int(swap.Fd())} {
			if _, err := unix.Write(fd, []byte(value)); err != nil {
				t.Fatal(err)
			}
		}
		if err := unix.Rename(a.Path(at+"/in/deep/w"), a.Path(at+"/in/deep/w~")); err != nil { // a backup
			t.Fatal(err)
		}
		if by == a {
			a.moves(at, to, b)
		} else {
			b.moves(at, to, a)
		}
		if err := os.WriteFile(a.Path(to+"/in/deep/w"), []byte("saved"), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, fd := range []int{gathers.fd, draft, edits.fd} {
			if err := unix.Fsync(fd); err != nil {
				t.Errorf("fsync: %v", err)
			}
		}
		for _, m := range []*Mount{a, b} {
			m.WaitValue(to+"/in/v", value)
			m.WaitValue(to+"/in/draft", value)
			m.WaitValue(to+"/in/deep/w", "saved")
		}
		if got := a.Read(to + "/in/.v.swp"); got != value {
			t.Errorf("a file of the mount: %q", got)
		}
		if err := errors.Join(unix.Rename(a.Path(to+"/in/.v.swp"), a.Path(to+"/in/v")), swap.Close(), unix.Unlink(a.Path(to+"/in/draft")),
			unix.Unlink(a.Path(to+"/in/deep/w~")), unix.Close(draft)); err != nil {
			t.Error(err)
		}
		b.WaitValue(to+"/in/v", value)
		b.WaitGone(to + "/in/draft")
		at, to = to, at
	}
}

// TestS13_AcrossLocks: a lock stays with its variable, also on the way to another service, and who waits for it gets it.
func TestS13_AcrossLocks(t *testing.T) {
	testenv.Need(t, "flock", "dash")
	h, a, b := across(t)
	holder := h.hold(a.Path("t/s/d/in/v"))
	waits := h.StartCommand("dash", "-uc", `exec 9<>"$1"; echo begun; flock 9; echo got; printf mine >&9; flock -u 9; echo over; sleep 1000`, "dash", b.Path("t/s/d/in/v"))
	waits.WaitLine(readyBound, "begun")
	h.waitLocks(1, 1)
	b.moves("t/s/d", "other/r/d", a)
	h.waitLocks(1, 1)
	if r := h.Shell(`flock -n "$1" true`, b.Path("other/r/d/in/v")); r.Code != 1 {
		t.Errorf("a second lock under the new name: %v", r)
	}
	for _, l := range h.Locks("other/r/d/in/v") {
		if l.Path != "other/r/d/in/v" {
			t.Errorf("a lock of %q", l.Path)
		}
	}
	holder.Kill()
	waits.WaitLine(readyBound, "got")
	waits.WaitLine(readyBound, "over")
	h.waitLocks(0, 0)
	if got := a.Read("other/r/d/in/v"); !strings.HasPrefix(got, "mine") {
		t.Errorf("written under the lock: %q", got)
	}
	for _, m := range []*Mount{a, b} {
		h.MustShell(`flock -n "$1" true`, m.Path("other/r/d/in/v"))
		h.waitLocks(0, 0) // the end of a lock at close is not waited for
	}
	waits.Kill()
}

// TestS13_AcrossPoll: who polls a file is woken by changes that come after it has gone to another service.
func TestS13_AcrossPoll(t *testing.T) {
	testenv.Need(t, "python3")
	_, a, b := across(t)
	p := b.polling(`
fd = os.open(path, os.O_RDONLY)
p = select.poll()
p.register(fd, select.POLLPRI)
last = os.pread(fd, 100, 0)
print("ready")
while last != b"end":
    if not p.poll(20000):
        print("not woken")
        break
    last = os.pread(fd, 100, 0)
    print("read", last.decode())
`, "t/s/d/in/v")
	a.moves("t/s/d", "other/r/d", b)
	for _, value := range []string{"one", "two", "end"} {
		a.Write("other/r/d/in/v", value)
		p.WaitLine(slower(10*time.Second), "read "+value)
	}
	p.Wait(runBound)
}

// TestS13_AcrossConflict: where conflicts fail, a rename to another service is none, and what others change there is.
func TestS13_AcrossConflict(t *testing.T) {
	_, a, b := across(t, "-o", "conflict=fail")
	a.Write("other/r/above", "to make versions differ")
	for i, name := range []string{"replaces", "edits"} {
		at, to := "t/s/d", "other/r/d"
		if i == 1 {
			at, to = to, at
		}
		flags := []int{unix.O_WRONLY | unix.O_TRUNC, unix.O_RDWR}[i]
		good := a.open(t, at+"/in/v", flags)
		bad := a.open(t, at+"/in/deep/w", flags)
		b.moves(at, to, a)
		theirs := fmt.Sprint("theirs ", i)
		b.other(to+"/in/deep/w", theirs, a)
		write := func(d *Descriptor) error {
			_, err := unix.Pwrite(d.fd, []byte("mine"), 0)
			return errors.Join(err, unix.Fsync(d.fd))
		}
		if err := write(good); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := write(bad); !errors.Is(err, syscall.ESTALE) {
			t.Errorf("%s what others have changed: %v", name, err)
		}
		if got := b.Read(to + "/in/v"); !strings.HasPrefix(got, "mine") {
			t.Errorf("%s: %q", name, got)
		}
		if got := b.Read(to + "/in/deep/w"); got != theirs {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// TestS13_AcrossCached: a cached variable stays so on the way to another service, and follows what is written there, also if the
// pattern has only one of its names.
func TestS13_AcrossCached(t *testing.T) {
	for _, pattern := range []string{"**", "t/s/**"} {
		t.Run(pattern, func(t *testing.T) {
			h, a, b := across(t, "--cache", pattern)
			value := func(n int) string { return fmt.Sprintf("value %06d", n) }
			a.Write("t/s/d/in/c", value(0)) // one whose size does not change
			b.WaitValue("t/s/d/in/c", value(0))
			var open []*Descriptor
			for _, m := range []*Mount{a, b} {
				open = append(open, m.open(t, "t/s/d/in/c", unix.O_RDONLY))
			}
			for _, d := range open {
				d.want(value(0), "before")
				if !d.cached() {
					t.Error("not cached")
				}
			}
			at, to := "t/s/d", "other/r/d"
			n := 0
			for i := range 6 {
				by, other := []*Mount{a, b}[i%2], []*Mount{b, a}[i%2]
				if err := unix.Rename(by.Path(at), by.Path(to)); err != nil {
					t.Fatal(err)
				}
				at, to = to, at
				for range 20 { // at once, while the mounts hear of the rename
					n++
					by.Write(at+"/in/c", value(n))
					for j, d := range open {
						d.want(value(n), fmt.Sprint(at, " descriptor ", j, " round ", i))
					}
				}
				other.WaitFor(at)
				n++
				other.Write(at+"/in/c", value(n))
				for j, d := range open {
					d.want(value(n), fmt.Sprint(at, " by the other; descriptor ", j, " round ", i))
				}
			}
			if cut := append(h.cutOff(a), h.cutOff(b)...); len(cut) > 0 {
				t.Errorf("a mount was cut off %d times", len(cut))
			}
		})
	}
}
