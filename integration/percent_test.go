package integration

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
)

// TestS1_Percent uses names with a '%' at each level as a shell does: they are names like any others, also where an escape
// would look alike, and commands take them as they are shown.
func TestS1_Percent(t *testing.T) {
	t.Parallel()
	h := NewHost(t)
	a, b := h.Mount(), h.Mount()
	all := []string{"%", "%%", "%2", "%25", "%252E", "%41", "%2e", "%2F", "a%2Fb", "%empty", "%2E", "%00", "100%", "50% off"}
	slices.Sort(all)
	wantList := func(m *Mount, dir string) {
		t.Helper()
		testenv.Eventually(t, slower(10*time.Second), func() error {
			if got := m.List(dir); !slices.Equal(got, all) {
				return fmt.Errorf("names in %q:\n%q, want\n%q", dir, got, all)
			}
			return nil
		})
	}
	h.MustShell(`cd "$1" && mkdir % && mv % %% && mkdir %/%2F -p && echo v > %/%2F/% && cat %/%2F/% && rm -r % %%`, a.Dir)
	for _, level := range []struct{ above, below string }{{"", "s"}, {"t/", "d"}} {
		for _, name := range all {
			a.Mkdir(level.above + name + "/" + level.below)
			move(t, a.Path(level.above+name), a.Path(level.above+name)+".moved")
			move(t, a.Path(level.above+name)+".moved", a.Path(level.above+name))
		}
		wantList(b, level.above)
		h.Must("ls", level.above+"%/"+level.below)
		for _, name := range all {
			b.WaitFor(level.above + name + "/" + level.below)
			for _, dir := range []string{name + "/" + level.below, name} {
				if err := syscall.Rmdir(b.Path(level.above + dir)); err != nil {
					t.Errorf("rmdir %q: %v", level.above+dir, err)
				}
			}
			a.WaitGone(level.above + name)
		}
	}
	for _, dir := range []string{"t/s", "t/s/%"} {
		a.Mkdir(dir)
		get := []string{"get"}
		for _, name := range all {
			path := dir + "/" + name
			get = append(get, path)
			a.Write(path, name+";")
			b.WaitValue(path, name+";")
			move(t, b.Path(path), b.Path(path)+".moved")
			move(t, b.Path(path)+".moved", b.Path(path))
		}
		wantList(b, dir)
		if got, want := h.Must(get...), strings.Join(all, ";")+";"; got != want {
			t.Errorf("get: %q, want %q", got, want)
		}
		h.Must("set", dir+"/%", "set")
		a.WaitValue(dir+"/%", "set")
		h.Must("rm", dir+"/%")
		a.WaitGone(dir + "/%")
		for _, name := range all[1:] {
			if err := os.Remove(b.Path(dir + "/" + name)); err != nil {
				t.Error(err)
			}
		}
		if left := b.List(dir); len(left) > 0 {
			t.Errorf("left in %s: %q", dir, left)
		}
	}
}

func move(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Error(err)
	}
}

// TestS1_EmptyComponent: only other programs can make one, and a mount and commands show it under a name of its own.
func TestS1_EmptyComponent(t *testing.T) {
	h := NewHost(t)
	m := h.Mount()
	h.Must("set", "t/s/d/%empty/v", "below nothing")
	m.WaitValue("t/s/d/%empty/v", "below nothing")
	h.MustShell(`cd "$1" && echo plain > %25empty && echo top > ../%empty && mv %empty/v %empty/w`, m.Path("t/s/d"))
	for path, want := range map[string]string{"t/s/d/%empty/w": "below nothing", "t/s/d/%25empty": "plain\n", "t/s/%empty": "top\n"} {
		if got := h.Must("get", path); got != want {
			t.Errorf("get %s: %q, want %q", path, got, want)
		}
	}
	h.MustShell(`cd "$1" && rm -r %empty && ls -A`, m.Path("t/s/d"))
	if got := m.List("t/s/d"); !slices.Equal(got, []string{"%25empty"}) {
		t.Errorf("left: %q", got)
	}
}
