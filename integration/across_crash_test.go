package integration

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/testenv"
)

// killedBetween has something happen while nobody serves a mount.
func (h *Host) killedBetween(t *testing.T, m *Mount, meanwhile func()) {
	t.Helper()
	guard, pid := h.guardOf(m.Dir), h.serving(m.Dir)
	stopped(t, guard)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	h.crashed = true
	for exists(pid) {
		time.Sleep(time.Millisecond)
	}
	meanwhile()
	if err := syscall.Kill(guard, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// TestS13_AcrossWhileKilled: who has a mount next tells of the renames between services that came while nobody had it, once each, and
// what is open, watched or somebody's working directory goes along.
func TestS13_AcrossWhileKilled(t *testing.T) {
	t.Parallel()
	testenv.Need(t, "bash")
	h := NewHost(t)
	a, b := h.Mount(often), h.Mount()
	a.Mkdir("t/r")
	b.WaitFor("t/r")
	furnish("t/s/d", "value", a, b)
	furnish("u/q/x", "x", a, b)
	d := a.dwells("t/s/d")
	defer d.leave()
	rename := func(from, to string) {
		t.Helper()
		if err := unix.Rename(b.Path(from), b.Path(to)); err != nil {
			t.Fatalf("%s to %s: %v", from, to, err)
		}
	}
	inode := a.Inode("t/s/d/in/v")
	for i, c := range []struct {
		name      string
		at, to    string
		meanwhile func()
		want      []string // of old, the directory that it was in, and new
	}{
		{"once", "t/s/d", "t/r/e", func() { rename("t/s/d", "t/r/e") }, []string{"old MOVED_FROM d", "new MOVED_TO e", "dir MOVE_SELF"}},
		{"its name is made again", "t/r/e", "t/s/d", func() { rename("t/r/e", "t/s/d"); b.Mkdir("t/r/e") },
			[]string{"old MOVED_FROM e", "new MOVED_TO d", "dir MOVE_SELF", "old CREATE e"}},
		{"with a change below", "t/s/d", "t/r/f", func() { rename("t/s/d", "t/r/f"); b.Mkdir("t/r/f/in/later") },
			[]string{"old MOVED_FROM d", "new MOVED_TO f", "dir MOVE_SELF"}},
		{"to a service that was not looked at", "t/r/f", "t/fresh/f", func() { b.Mkdir("t/fresh"); rename("t/r/f", "t/fresh/f") }, []string{"old MOVED_FROM f", "dir MOVE_SELF"}},
		{"twice", "t/fresh/f", "u/q/d", func() { rename("t/fresh/f", "t/s/g"); rename("t/s/g", "u/q/d") }, nil},
		{"exchanged", "u/q/d", "t/s/y", func() {
			rename("u/q/x", "t/s/y")
			if err := b.exchange("t/s/y", "u/q/d"); err != nil {
				t.Fatal(err)
			}
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			old, _, _ := cutLast(c.at)
			into, _, _ := cutLast(c.to)
			list := []string{"dir " + c.at, "in " + c.at + "/in", "v " + c.at + "/in/v", "old " + old}
			if into != "t/fresh" {
				list = append(list, "new "+into)
			}
			raw := a.watchRaw(t, list...)
			h.killedBetween(t, a, c.meanwhile)
			a.WaitValue(c.to+"/in/v", b.Read(c.to+"/in/v"))
			d.isIn(c.to)
			if got := a.Inode(c.to + "/in/v"); got != inode {
				t.Errorf("inode %d, was %d", got, inode)
			}
			value := d.writes()
			b.WaitValue(c.to+"/in/v", value)
			b.Write(c.to+"/in/v", "by the other")
			d.reads("by the other")
			raw.has(0, "v CLOSE_WRITE")
			for _, want := range c.want {
				raw.has(0, want)
			}
			mark := raw.mark()
			h.kill9(a.Dir)
			b.Write(c.to+"/in/v", fmt.Sprint("last ", i))
			d.reads(fmt.Sprint("last ", i))
			testenv.Eventually(t, slower(10*time.Second), func() error {
				for _, e := range raw.all()[mark:] {
					if e.String() == "v CLOSE_WRITE" {
						return nil
					}
				}
				return errors.New("no event below")
			})
			for n, e := range raw.all() {
				if n >= mark && strings.HasPrefix(e.mask, "MOVE") {
					t.Errorf("told again: %v", e)
				}
				if e.mask == "DELETE_SELF" || e.mask == "IGNORED" {
					t.Errorf("event %v, number %d of %v", e, n, raw.all())
				}
			}
		})
		if t.Failed() {
			return
		}
	}
}

// TestS13_AcrossKill9: mounts and servers that are killed while a directory goes from one service to the other and back lose nothing.
func TestS13_AcrossKill9(t *testing.T) {
	t.Parallel()
	for _, victim := range []string{"mount", "server"} {
		t.Run(victim, func(t *testing.T) {
			const rounds, kills = 120, 6
			h := NewHost(t)
			a, b := h.Mount(often), h.Mount(often)
			h.crashed = true
			c := commute(t, a, b)
			places := []string{"t/s/d", "t/r/e"}
			at, again := 0, 0
			for i := range rounds {
				if i%(rounds/kills) == rounds/kills/2 {
					if victim == "mount" {
						h.kill9(c.mounts[i/20%2].Dir)
					} else {
						h.KillServer(h.Status().Server.Pid)
					}
				}
				by := c.mounts[i/3%2]
				for {
					err := unix.Rename(by.Path(places[at]), by.Path(places[1-at]))
					if err == nil {
						break
					}
					if again++; again > 50*rounds || t.Failed() {
						t.Fatalf("rename %d on %s: %v", i, by.Dir, err)
					}
					time.Sleep(time.Millisecond)
					if there(by.Path(places[1-at])) && !there(by.Path(places[at])) {
						break // it was carried out, whatever the answer
					}
				}
				at = 1 - at
			}
			t.Logf("%d renames were tried again", again)
			c.arrive(places[at])
		})
	}
}

// there reports whether there is something under a path; what cannot be told counts as there.
func there(path string) bool {
	var st unix.Stat_t
	return !errors.Is(unix.Lstat(path, &st), unix.ENOENT)
}
