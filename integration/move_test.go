package integration

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
	"golang.org/x/sys/unix"
)

// TestS13_MoveDirectory: a directory goes to another service in one step, with all that is in it: inode numbers, values, modes,
// times and open descriptors, on all mounts. What is too much for one step is EXDEV, and mv copies it.
func TestS13_MoveDirectory(t *testing.T) {
	h, a, b := twoMounts(t)
	values := map[string]string{"x": "value x", "sub/y": "value y", "sub/deep/z": "value z"}
	for name, value := range values {
		a.Mkdir("t/s/d/sub/deep")
		a.Write("t/s/d/"+name, value)
		b.WaitValue("t/s/d/"+name, value)
	}
	a.Mkdir("t/s2")
	a.Write("t/s2/before", "there")
	b.WaitValue("t/s2/before", "there")
	h.MustShell(`chmod 750 "$1/t/s/d/sub"; touch -d "2020-02-02 02:02:02" "$1/t/s/d/sub/y" "$1/t/s/d/sub" "$1/t/s/d"`, a.Dir)
	state := func(m *Mount, dir string) (list []string) {
		t.Helper()
		for _, name := range []string{"", "/x", "/sub", "/sub/y", "/sub/deep", "/sub/deep/z"} {
			var st unix.Stat_t
			if err := unix.Lstat(m.Path(dir+name), &st); err != nil {
				return append(list, err.Error())
			}
			list = append(list, fmt.Sprintf("%s ino=%d mode=%o mtime=%d size=%d", name, st.Ino, st.Mode, st.Mtim.Nano(), st.Size))
		}
		return list
	}
	same := func(dir, gone string, want []string) {
		t.Helper()
		for _, m := range []*Mount{a, b} {
			testenv.Eventually(t, slower(10*time.Second), func() error {
				if got := state(m, dir); fmt.Sprint(got) != fmt.Sprint(want) {
					return fmt.Errorf("%s in %s is\n%q, want\n%q", dir, m.Dir, got, want)
				}
				if _, err := os.Lstat(m.Path(gone)); !errors.Is(err, os.ErrNotExist) {
					return fmt.Errorf("%s in %s: %v", gone, m.Dir, err)
				}
				return nil
			})
			for name, value := range values {
				m.WaitValue(dir+"/"+name, value)
			}
		}
	}
	before := state(a, "t/s/d")
	testenv.Eventually(t, slower(10*time.Second), func() error { // b has heard of the times
		if got := state(b, "t/s/d"); fmt.Sprint(got) != fmt.Sprint(before) {
			return fmt.Errorf("%q, want %q", got, before)
		}
		return nil
	})
	reader, err := os.Open(b.Path("t/s/d/sub/y"))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	writer, err := os.OpenFile(b.Path("t/s/d/x"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()

	h.MustShell(`mv "$1/t/s/d" "$1/t/s2/e"`, a.Dir)
	same("t/s2/e", "t/s/d", before)

	if _, err := writer.WriteAt([]byte("VALUE"), 0); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	a.WaitValue("t/s2/e/x", "VALUE x")
	b.WaitValue("t/s2/e/x", "VALUE x")
	a.Write("t/s2/e/sub/y", "written there")
	testenv.Eventually(t, slower(10*time.Second), func() error {
		got := make([]byte, 100)
		if n, _ := reader.ReadAt(got, 0); string(got[:n]) != "written there" {
			return fmt.Errorf("the descriptor reads %q", got[:n])
		}
		return nil
	})
	for _, m := range []*Mount{a, b} { // what happens there now is announced
		in := h.Inotify(m.Path("t/s2/e"))
		other := map[*Mount]*Mount{a: b, b: a}[m]
		other.Write("t/s2/e/sub/deep/z", "by the other "+m.Dir)
		in.Expect(0, "MODIFY sub/deep/z", "CLOSE_WRITE sub/deep/z")
		in.Kill()
	}

	b.Write("t/s/v", "a variable")
	a.WaitValue("t/s/v", "a variable")
	dir, variable := a.Inode("t/s2/e"), a.Inode("t/s/v")
	if err := b.exchange("t/s/v", "t/s2/e"); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*Mount{a, b} {
		m.WaitValue("t/s2/e", "a variable")
		m.WaitValue("t/s/v/sub/y", "written there")
		if d, v := m.Inode("t/s/v"), m.Inode("t/s2/e"); d != dir || v != variable {
			t.Errorf("%s: inodes %d and %d, want %d and %d", m.Dir, d, v, dir, variable)
		}
	}

	h.MustShell(`mkdir "$1/t/s/many"; for i in $(seq 1001); do echo > "$1/t/s/many/$i"; done`, a.Dir)
	if err := os.Rename(a.Path("t/s/many"), a.Path("t/s2/many")); !errors.Is(err, syscall.EXDEV) {
		t.Errorf("1,001 variables: %v", err)
	}
	if got := len(a.List("t/s/many")); got != 1001 {
		t.Errorf("%d variables are left", got)
	}
	if err := os.Rename(a.Path("t/s/v"), a.Path("t/s2/e/x")); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("below a variable: %v", err)
	}
}
