package integration

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestS13_RenameLargeTenant: a tenant of any number of services is renamed, and exchanged with another, in one step.
func TestS13_RenameLargeTenant(t *testing.T) {
	t.Parallel()
	const services = 1500
	r := newRemote(t)
	near, far := r.server.Mount(), r.client.Mount(r.args()...)
	for i := range services {
		near.Mkdir(fmt.Sprintf("t/s%d", i))
	}
	mounts := []*Mount{near, far}
	furnish("t/s7/d", "first", mounts...)
	near.Mkdir("u/s7")
	inodes := map[string]uint64{}
	var dwellers []*dweller
	for _, m := range mounts {
		m.WaitFor(fmt.Sprintf("t/s%d", services-1))
		m.WaitFor("u/s7")
		d := m.dwells("t/s7/d")
		defer d.leave()
		dwellers = append(dwellers, d)
	}
	for _, name := range []string{"", "/s7", "/s7/d/in/v", "/s1499"} {
		inodes[name] = near.Inode("t" + name)
	}
	is := func(at string) {
		t.Helper()
		for i, m := range mounts {
			m.WaitValue(at+"/s7/d/in/v", "first")
			dwellers[i].isIn(at + "/s7/d")
			for name, want := range inodes {
				if got := m.Inode(at + name); got != want {
					t.Errorf("%s%s on %s has inode %d, had %d", at, name, m.Dir, got, want)
				}
			}
			if n := len(m.List(at)); n != services {
				t.Errorf("%s has %d entries on %s, want %d", at, n, m.Dir, services)
			}
		}
	}
	at := "t"
	for i, to := range []string{"w", "t", "x"} {
		by := mounts[i%2]
		var raw []*rawWatch
		for _, m := range mounts {
			raw = append(raw, m.watchRaw(t, "root .", "t "+at, "s "+at+"/s7"))
		}
		if err := unix.Rename(by.Path(at), by.Path(to)); err != nil {
			t.Fatal(err)
		}
		is(to)
		for j, m := range mounts {
			if _, err := os.Lstat(m.Path(at)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s is still there on %s: %v", at, m.Dir, err)
			}
			for _, event := range []string{"root MOVED_FROM " + at, "root MOVED_TO " + to, "t MOVE_SELF"} {
				raw[j].has(0, event)
			}
			if events := raw[j].all(); slices.ContainsFunc(events, func(e rawEvent) bool { return e.of == "s" }) {
				t.Errorf("events on %s: %v", m.Dir, events)
			}
		}
		at = to
	}
	near.Mkdir("t/s7") // another tenant, under the name that the first was made with
	near.Write("t/s7/v", "second")
	if err := near.exchange("x", "t"); err != nil {
		t.Fatal(err)
	}
	is("t")
	for _, m := range mounts {
		m.WaitValue("x/s7/v", "second")
	}
	for _, m := range mounts {
		if err := unix.Rename(m.Path("u"), m.Path("t")); !errors.Is(err, syscall.ENOTEMPTY) {
			t.Errorf("onto a full one: %v", err)
		}
	}
}
