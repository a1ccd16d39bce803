package integration

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
)

// TestS6_StaleNames: a mount that has not heard yet that a name has changed acts on what the name stands for now, never on
// what it stood for. SIGSTOP widens what is a moment otherwise.
func TestS6_StaleNames(t *testing.T) {
	h, a, b := twoMounts(t)
	held := func(t *testing.T, elsewhere, here string) {
		t.Helper()
		b.Signal(syscall.SIGSTOP)
		h.MustShell(elsewhere, a.Path("t/s"))
		p := h.StartCommand("dash", "-c", here, "dash", b.Path("t/s"))
		// The command is in the kernel's hands once it waits for the mount.
		testenv.Eventually(t, slower(10*time.Second), func() error {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/wchan", p.cmd.Process.Pid))
			if err == nil && !strings.Contains(string(stat), "request") && !strings.Contains(string(stat), "wait") {
				return fmt.Errorf("the command is in %q", stat)
			}
			return err
		})
		b.Signal(syscall.SIGCONT)
		p.Wait(10 * time.Second)
	}
	same := func(t *testing.T, want ...string) {
		t.Helper()
		testenv.Eventually(t, slower(10*time.Second), func() error {
			for _, m := range []*Mount{a, b} {
				if got := tree(m.Path("t/s")); !slices.Equal(got, want) {
					return fmt.Errorf("%s has %q, want %q", m.Dir, got, want)
				}
			}
			return nil
		})
	}
	t.Run("rename", func(t *testing.T) {
		a.Write("t/s/x", "first")
		b.WaitValue("t/s/x", "first")
		held(t, `mv "$1/x" "$1/y"; printf second > "$1/x"`, `mv "$1/x" "$1/z" || mv "$1/x" "$1/z"`)
		same(t, "y=first", "z=second")
		b.Write("t/s/z", "third")
		same(t, "y=first", "z=third")
	})
	t.Run("unlink", func(t *testing.T) {
		h.MustShell(`rm "$1"/*; printf first > "$1/x"`, a.Path("t/s"))
		b.WaitValue("t/s/x", "first")
		// Twice: when the name changes again while the kernel looks it up, the answer is ESTALE, and nothing is done.
		held(t, `mv "$1/x" "$1/y"; printf second > "$1/x"`, `rm -f "$1/x" || rm -f "$1/x"`)
		same(t, "y=first")
	})
	t.Run("rmdir", func(t *testing.T) {
		h.MustShell(`rm "$1"/*; mkdir "$1/d"`, a.Path("t/s"))
		b.WaitFor("t/s/d")
		held(t, `mv "$1/d" "$1/e"; mkdir "$1/d"; printf v > "$1/e/v"`, `rmdir "$1/d" || rmdir "$1/d"`)
		same(t, "e/", "e/v=v")
		b.Write("t/s/e/w", "w") // the directory is alive on both
		same(t, "e/", "e/v=v", "e/w=w")
	})
	t.Run("reused name", func(t *testing.T) {
		h.MustShell(`rm -r "$1"/*`, a.Path("t/s"))
		for i := range 200 {
			name, moved := fmt.Sprintf("t/s/n%d", i), a.Path(fmt.Sprintf("t/s/m%d", i))
			a.Write(name, "old")
			if got := b.Read(name); got != "old" {
				t.Fatalf("new file: %q", got)
			}
			if err := os.Rename(a.Path(name), moved); err != nil {
				t.Fatal(err)
			}
			a.Write(name, "new")
			if got := b.Read(name); got != "new" {
				t.Fatalf("round %d: %q", i, got)
			}
		}
	})
}

// TestS6_RemovedElsewhere: a file that goes away under a descriptor, or just before it is written anew, is what it is in
// any file system.
func TestS6_RemovedElsewhere(t *testing.T) {
	_, a, b := twoMounts(t)
	for name, remover := range map[string]*Mount{"here": a, "elsewhere": b} {
		t.Run("open while removed "+name, func(t *testing.T) {
			for i := range 50 {
				a.Write("t/s/v", "value")
				f, err := os.Open(a.Path("t/s/v"))
				if err != nil {
					t.Fatal(err)
				}
				if err := os.Remove(remover.Path("t/s/v")); err != nil {
					t.Fatal(err)
				}
				buf := make([]byte, 100)
				n, _ := f.ReadAt(buf, 0)
				st, err := f.Stat()
				if string(buf[:n]) != "value" || err != nil || st.Size() != 5 {
					t.Fatalf("round %d: read %q, stat %v %v", i, buf[:n], st, err)
				}
				f.Close()
			}
		})
	}
	t.Run("written anew", func(t *testing.T) {
		for i := range 100 {
			a.Write("t/s/v", "old")
			if got := b.Read("t/s/v"); got != "old" { // b's kernel has the name
				t.Fatalf("round %d: %q", i, got)
			}
			if err := os.Remove(a.Path("t/s/v")); err != nil {
				t.Fatal(err)
			}
			b.Write("t/s/v", "new")
			if got := a.Read("t/s/v"); got != "new" {
				t.Fatalf("round %d: %q", i, got)
			}
		}
	})
	t.Run("a directory takes a draft's name", func(t *testing.T) {
		for i := range 20 {
			name := fmt.Sprintf("t/s/pn%d", i)
			f, err := os.OpenFile(a.Path(name), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
			if err != nil {
				t.Fatal(err)
			}
			b.Mkdir(name)
			f.Close()
			a.Write("t/s/other", name) // meanwhile the last close is carried out, in most rounds
			if err := os.Remove(b.Path(name)); err != nil {
				t.Fatal(err)
			}
		}
		testenv.Eventually(t, slower(10*time.Second), func() error {
			// The last close is carried out after close has returned: the file can have been made once the directory had
			// gone, and then it is there for everybody. What only this mount shows was left behind.
			here, there := a.List("t/s"), b.List("t/s")
			if !slices.Equal(here, there) {
				return fmt.Errorf("here %v, there %v", here, there)
			}
			return nil
		})
	})
}

// TestS6_NextServer: what the server that took a killed one's place has acknowledged is known on the other mount at once,
// whether that has noticed yet or not.
func TestS6_NextServer(t *testing.T) {
	h, a, b := twoMounts(t)
	h.crashed = true
	for i := range 8 {
		old, name, dir := fmt.Sprintf("t/s/old%d", i), fmt.Sprintf("t/s/new%d", i), fmt.Sprintf("t/s/dir%d", i)
		b.Write(old, "old")
		a.WaitValue(old, "old")
		h.KillServer(h.Status().Server.Pid)
		if i%2 == 1 {
			a.Signal(syscall.SIGSTOP) // it hears of the end after the others have gone on
		}
		b.Write(name, "new")
		if err := errors.Join(os.Mkdir(b.Path(dir), 0o755), os.Rename(b.Path(old), b.Path(dir+"/moved"))); err != nil {
			t.Error(err)
		}
		if i%2 == 1 {
			a.Signal(syscall.SIGCONT)
		}
		if got := a.Read(name); got != "new" {
			t.Errorf("round %d: %q", i, got)
		}
		if got := a.Read(dir + "/moved"); got != "old" {
			t.Errorf("round %d: %q", i, got)
		}
		if _, err := os.ReadFile(a.Path(old)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("round %d: the old name: %v", i, err)
		}
	}
}

// TestS6_TreesAgree: however directories and files are made, removed and renamed through several mounts at once, in the
// end all show the same tree, and every directory of it can be used.
func TestS6_TreesAgree(t *testing.T) {
	h, a, b := twoMounts(t)
	c := h.Mount()
	c.WaitFor("t/s")
	h.Inotify(b.Path("t/s")) // holds nodes, so that a dead one would stay dead
	mounts := []*Mount{a, b, c}
	names := []string{"a", "b", "c", "a/a", "a/b", "b/a", "b/b", "c/x"}
	end := time.Now().Add(4 * time.Second)
	var wg sync.WaitGroup
	for i, m := range mounts {
		for j := range 2 {
			rng := rand.New(rand.NewPCG(uint64(i), uint64(j)))
			wg.Go(func() {
				for time.Now().Before(end) {
					p, q := m.Path("t/s/"+names[rng.IntN(len(names))]), m.Path("t/s/"+names[rng.IntN(len(names))])
					switch rng.IntN(8) { // most of these fail: what matters is what is left
					case 0, 1, 2:
						_ = os.Mkdir(p, 0o755)
					case 3:
						_ = syscall.Rmdir(p)
					case 4, 5:
						_ = os.Rename(p, q)
					case 6:
						_ = os.WriteFile(p, []byte("v"), 0o644)
					case 7:
						_ = syscall.Unlink(p)
					}
				}
			})
		}
	}
	wg.Wait()
	testenv.Eventually(t, slower(20*time.Second), func() error {
		want := tree(a.Path("t/s"))
		for _, m := range mounts[1:] {
			if got := tree(m.Path("t/s")); !slices.Equal(got, want) {
				return fmt.Errorf("%d entries on %s, %d on %s; first: %s", len(got), m.Dir, len(want), a.Dir, firstDifference(a, m, got, want))
			}
		}
		return nil
	})
	for _, m := range mounts {
		err := filepath.WalkDir(m.Path("t/s"), func(path string, d iofs.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				return err
			}
			if err := os.Mkdir(path+"/probe", 0o755); err != nil {
				return err
			}
			return os.Remove(path + "/probe")
		})
		if err != nil {
			t.Errorf("a directory that cannot be used: %v", err)
		}
	}
}

// firstDifference describes where two mounts begin to differ.
func firstDifference(a, m *Mount, got, want []string) string {
	for i, w := range want {
		if i < len(got) && got[i] == w {
			continue
		}
		dir := filepath.Dir("t/s/" + strings.TrimSuffix(w, "/"))
		var sa, sm syscall.Stat_t
		ea, em := syscall.Stat(a.Path(dir), &sa), syscall.Stat(m.Path(dir), &sm)
		la, _ := os.ReadDir(a.Path(dir))
		lm, err := os.ReadDir(m.Path(dir))
		return fmt.Sprintf("%s: in %s, inodes %d (%v) and %d (%v), %d and %d entries (%v), mkdir: %v", w, dir, sa.Ino, ea, sm.Ino, em,
			len(la), len(lm), err, os.Mkdir(m.Path(dir)+"/probe", 0o755))
	}
	return "more than there should be"
}

// tree lists what is below a directory: files with their values, directories with a slash.
func tree(dir string) []string {
	var out []string
	err := filepath.WalkDir(dir, func(path string, d iofs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel := strings.TrimPrefix(path, dir+"/")
		if d.IsDir() {
			out = append(out, rel+"/")
			return nil
		}
		value, err := os.ReadFile(path)
		out = append(out, rel+"="+string(value))
		return err
	})
	if err != nil {
		out = append(out, err.Error())
	}
	return out
}
