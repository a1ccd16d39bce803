package integration

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/testenv"
)

// cutOff takes the cable of the server's machine out, and returns once the other mount has noticed.
func (r *remote) cutOff(far *Mount, known string) {
	far.t.Helper()
	r.cable.Unplug()
	testenv.Eventually(far.t, slower(30*time.Second), func() error {
		if far.Xattr(known, "user.commy.stale") == "0" {
			return fmt.Errorf("the loss of the connection is not known")
		}
		return nil
	})
}

// changes are the events of names that one watch has had, in order.
func (w *rawWatch) changes(of string) (got []string) {
	for _, e := range w.all() {
		if e.of != of {
			continue
		}
		switch e.mask {
		case "CREATE", "DELETE", "MOVED_FROM", "MOVED_TO", "DELETE_SELF", "IGNORED":
			got = append(got, e.mask+" "+e.file)
		}
	}
	return got
}

// TestS13_AcrossAway: what another mount did to a directory while this one had no connection is told as it would have been: who is in
// it, or watches it, stays, though it has gone to another service and its old name is another's by now.
func TestS13_AcrossAway(t *testing.T) {
	t.Parallel()
	testenv.Need(t, "bash")
	r := newRemote(t)
	near := r.server.Mount()
	far := r.client.Mount(r.args("--timeout", shortTimeout.String())...)
	for _, dir := range []string{"t/s", "other/r"} {
		near.Mkdir(dir)
		far.WaitFor(dir)
	}
	furnish("t/s/d", "value", near, far)
	inode := far.Inode("t/s/d")
	d := far.dwells("t/s/d")
	defer d.leave()
	w := far.watchRaw(t, "old t/s", "new other/r", "dir t/s/d", "in t/s/d/in", "v t/s/d/in/v")
	r.cutOff(far, "t/s/d/in/v")
	if err := unix.Rename(near.Path("t/s/d"), near.Path("other/r/e")); err != nil {
		t.Fatal(err)
	}
	near.Mkdir("t/s/d/in")
	near.Write("t/s/d/in/v", "another")
	r.cable.Plug()
	far.WaitValue("t/s/d/in/v", "another")
	d.isIn("other/r/e")
	if got := far.Inode("other/r/e"); got != inode || far.Inode("t/s/d") == inode {
		t.Errorf("inode %d is %d now", inode, got)
	}
	near.WaitValue("other/r/e/in/v", d.writes())
	near.Write("other/r/e/in/v", "by the other")
	w.has(0, "old CREATE d")
	w.has(0, "v CLOSE_WRITE")
	d.reads("by the other")
	for of, want := range map[string][]string{"old": {"MOVED_FROM d", "CREATE d"}, "new": {"MOVED_TO e"}, "dir": nil, "v": nil} {
		if got := w.changes(of); !slices.Equal(got, want) {
			t.Errorf("events of %s: %q, want %q", of, got, want)
		}
	}
}
