package integration

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
)

// TestS16_RemoteEvents: what is done on one mount raises on another what a local change would.
func TestS16_RemoteEvents(t *testing.T) {
	h, a, b := twoMounts(t)
	in := b.Inotify()

	// A new directory is watched by inotifywait some time after its event: wait for an event from inside it.
	watched := func(dir string) {
		t.Helper()
		mark := in.Mark()
		n := 0
		testenv.Eventually(t, slower(10*time.Second), func() error {
			n++
			h.Must("set", dir+"/probe", strconv.Itoa(n))
			for _, e := range in.Events()[mark:] {
				if e.Path == dir+"/probe" {
					return nil
				}
			}
			return fmt.Errorf("no event from inside %s: %v", dir, in.Events()[mark:])
		})
		if err := os.Remove(a.Path(dir + "/probe")); err != nil {
			t.Fatal(err)
		}
		in.Expect(mark, "DELETE "+dir+"/probe")
	}

	for _, c := range []struct {
		name string
		do   string // $1 is the mount
		want []string
	}{
		{"create", `echo 1 > "$1/t/s/v"`, []string{"CREATE t/s/v", "MODIFY t/s/v", "CLOSE_WRITE t/s/v"}},
		{"change", `echo 2 > "$1/t/s/v"`, []string{"MODIFY t/s/v", "CLOSE_WRITE t/s/v"}},
		{"append", `echo 3 >> "$1/t/s/v"`, []string{"MODIFY t/s/v", "CLOSE_WRITE t/s/v"}},
		{"truncate", `truncate -s 1 "$1/t/s/v"`, []string{"MODIFY t/s/v", "CLOSE_WRITE t/s/v"}},
		{"empty", `: > "$1/t/s/v"`, []string{"MODIFY t/s/v", "CLOSE_WRITE t/s/v"}},
		{"exclusive create", `set -C; echo x > "$1/t/s/lock"`, []string{"CREATE t/s/lock", "CLOSE_WRITE t/s/lock"}},
		{"rename", `mv "$1/t/s/v" "$1/t/s/w"`, []string{"MOVED_FROM t/s/v", "MOVED_TO t/s/w"}},
		{"remove", `rm "$1/t/s/w"`, []string{"DELETE t/s/w"}},
		{"mkdir", `mkdir "$1/t/s/d"`, []string{"CREATE,ISDIR t/s/d"}},
		{"rename a directory", `mv "$1/t/s/d" "$1/t/s/e"`, []string{"MOVED_FROM,ISDIR t/s/d", "MOVED_TO,ISDIR t/s/e"}},
		{"rmdir", `rmdir "$1/t/s/e"`, []string{"DELETE,ISDIR t/s/e"}},
		{"service", `mkdir "$1/t/s2"`, []string{"CREATE,ISDIR t/s2"}},
		{"rename a service", `mv "$1/t/s2" "$1/t/s3"`, []string{"MOVED_FROM,ISDIR t/s2", "MOVED_TO,ISDIR t/s3"}},
		{"remove a service", `rmdir "$1/t/s3"`, []string{"DELETE,ISDIR t/s3"}},
		{"tenant", `mkdir "$1/u"`, []string{"CREATE,ISDIR u"}},
		{"rename a tenant", `mv "$1/u" "$1/u2"`, []string{"MOVED_FROM,ISDIR u", "MOVED_TO,ISDIR u2"}},
		{"remove a tenant", `rmdir "$1/u2"`, []string{"DELETE,ISDIR u2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			mark := in.Mark()
			h.MustShell(c.do, a.Dir)
			in.Expect(mark, c.want...)
		})
	}

	t.Run("without a mount", func(t *testing.T) {
		mark := in.Mark()
		h.Must("set", "t/s/cli", "1")
		in.Expect(mark, "CREATE t/s/cli", "CLOSE_WRITE t/s/cli")
		h.Must("set", "t/s/cli", "2")
		in.Expect(mark, "CREATE t/s/cli", "CLOSE_WRITE t/s/cli", "MODIFY t/s/cli", "CLOSE_WRITE t/s/cli")
		h.Must("rm", "t/s/cli")
		in.Expect(mark, "DELETE t/s/cli")
	})

	t.Run("in a new directory", func(t *testing.T) {
		a.Mkdir("t/s/new")
		watched("t/s/new")
		mark := in.Mark()
		a.Write("t/s/new/v", "1")
		in.Expect(mark, "CREATE t/s/new/v", "CLOSE_WRITE t/s/new/v")
		h.MustShell(`mv "$1/t/s/new/v" "$1/t/s/v"`, a.Dir)
		in.Expect(mark, "MOVED_FROM t/s/new/v", "MOVED_TO t/s/v")
		if err := os.RemoveAll(a.Path("t/s/new")); err != nil {
			t.Fatal(err)
		}
		in.Expect(mark, "DELETE,ISDIR t/s/new")
	})
}

// TestS16_ValueBeforeEvent: who is woken by an event reads the new value, on the other mount and, by the event that is
// raised after the commit, on the writing one.
func TestS16_ValueBeforeEvent(t *testing.T) {
	const rounds = 300
	h, a, b := twoMounts(t)
	a.Mkdir("t/s")
	b.waitMode("t/s", 0o755)
	onB, onA := h.Inotify(b.Path("t/s")), h.Inotify(a.Path("t/s"))
	a.Write("t/s/v", "0")
	began := map[*Inotify]int{}
	for _, in := range []*Inotify{onA, onB} {
		in.Expect(0, "CREATE v", "CLOSE_WRITE v")
		began[in] = in.Mark()
	}
	newest := func(in *Inotify, m *Mount, mark int, bit, want string, first bool) {
		t.Helper()
		testenv.Eventually(t, slower(10*time.Second), func() error {
			events := in.Events()
			if len(events) <= mark {
				return fmt.Errorf("no event for value %s", want)
			}
			got := m.Read("t/s/v")
			if first && got != want {
				t.Fatalf("woken by %v, read %q, want %q", events[mark], got, want)
			}
			if got != want || bit != "" && !events[len(events)-1].has(bit) {
				return fmt.Errorf("value %q, want %q; events %v", got, want, events[mark:])
			}
			return nil
		})
	}
	for i := 1; i <= rounds; i++ {
		want := strconv.Itoa(i)
		markA, markB := onA.Mark(), onB.Mark()
		a.Write("t/s/v", want)
		newest(onB, b, markB, "CLOSE_WRITE", want, true)
		// Raised again after the commit; the kernel's own CLOSE_WRITE may come before or after it.
		newest(onA, a, markA, "", want, false)
		// On both, before the next round: the last event of this one.
		onB.Expect(markB, "MODIFY v", "CLOSE_WRITE v")
		onA.Expect(markA, "MODIFY v", "CLOSE_WRITE v")
	}
	for in, from := range began {
		for _, e := range in.Events()[from:] {
			if e.has("CREATE") || e.has("DELETE") || e.has("DELETE_SELF") {
				t.Errorf("a change of a value raised %v", e)
			}
		}
	}
}

// TestS16_WatchesSurvive: a watch on the file itself goes on through every kind of change of its value.
func TestS16_WatchesSurvive(t *testing.T) {
	t.Parallel()
	h, a, b := twoMounts(t)
	a.Write("t/s/v", "first")
	b.WaitValue("t/s/v", "first")
	in := h.Inotify(b.Path("t/s/v"))
	for i, script := range []string{
		`echo 1 > "$1"`, `echo 2 >> "$1"`, `: > "$1"`, `cp /etc/passwd "$1"`, `truncate -s 3 "$1"`,
		`sed -i s/o/0/g "$1"`, `echo new > "$1.new"; mv "$1.new" "$1"`, `echo last > "$1"`,
	} {
		mark := in.Mark()
		h.MustShell(script, a.Path("t/s/v"))
		in.Expect(mark, "CLOSE_WRITE ")
		for _, e := range in.Events() {
			if e.has("DELETE_SELF") {
				t.Fatalf("step %d, %s: %v", i, script, in.Events())
			}
		}
	}
	if got := b.Read("t/s/v"); got != "last\n" {
		t.Errorf("value %q", got)
	}
}
