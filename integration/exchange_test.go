package integration

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
	"golang.org/x/sys/unix"
)

// exchange is what `mv --exchange` does.
func (m *Mount) exchange(a, b string) error {
	return unix.Renameat2(unix.AT_FDCWD, m.Path(a), unix.AT_FDCWD, m.Path(b), unix.RENAME_EXCHANGE)
}

// TestS13_Exchange: two files or directories get each other's name, on all mounts and with their inode numbers, all that is
// in them, and the descriptors that are open on them; who watches gets two pairs of events.
func TestS13_Exchange(t *testing.T) {
	h, a, b := twoMounts(t)
	mounts := []*Mount{a, b}
	for name, value := range map[string]string{"t/s/v": "one", "t/s/w": "two", "t/s/d/x": "d x", "t/s/d/sub/y": "d y", "t/s/e/x": "e x", "t/s/e/z": "e z", "t/s2/v": "s2 v"} {
		a.Mkdir(name[:len(name)-2])
		a.Write(name, value)
		b.WaitValue(name, value)
	}
	same := func(name string, ino uint64, value string) {
		t.Helper()
		for _, m := range mounts {
			testenv.Eventually(t, slower(10*time.Second), func() error {
				var st unix.Stat_t
				if err := unix.Lstat(m.Path(name), &st); err != nil || st.Ino != ino {
					return fmt.Errorf("%s in %s: inode %d, want %d, %v", name, m.Dir, st.Ino, ino, err)
				}
				if value == "" {
					return nil
				}
				got, err := os.ReadFile(m.Path(name))
				if err == nil && string(got) != value {
					err = fmt.Errorf("%s in %s: %q, want %q", name, m.Dir, got, value)
				}
				return err
			})
		}
	}
	for _, c := range []struct {
		name, from, to   string
		fromWas, toWas   string // values, "" for directories
		fromMask, toMask string
		nowFrom, nowTo   []string // something below, and its value
		throughTheOther  bool
	}{
		{name: "variables", from: "t/s/v", to: "t/s/w", fromWas: "one", toWas: "two"},
		{name: "and back, from the other mount", from: "t/s/v", to: "t/s/w", fromWas: "two", toWas: "one", throughTheOther: true},
		{name: "directories", from: "t/s/d", to: "t/s/e", fromMask: ",ISDIR", toMask: ",ISDIR",
			nowFrom: []string{"z", "e z", "x", "e x"}, nowTo: []string{"sub/y", "d y", "x", "d x"}},
		{name: "a variable and a directory", from: "t/s/v", to: "t/s/d", fromWas: "one", toMask: ",ISDIR", nowFrom: []string{"z", "e z"}},
		{name: "back", from: "t/s/v", to: "t/s/d", fromMask: ",ISDIR", toWas: "one", nowTo: []string{"z", "e z"}},
		{name: "in different directories", from: "t/s/v", to: "t/s/d/x", fromWas: "one", toWas: "e x"},
		{name: "services", from: "t/s", to: "t/s2", fromMask: ",ISDIR", toMask: ",ISDIR", nowFrom: []string{"v", "s2 v"}, nowTo: []string{"w", "two"}},
		{name: "services, back", from: "t/s", to: "t/s2", fromMask: ",ISDIR", toMask: ",ISDIR", nowFrom: []string{"w", "two"}, nowTo: []string{"v", "s2 v"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			by := a
			if c.throughTheOther {
				by = b
			}
			from, to := a.Inode(c.from), a.Inode(c.to)
			var open [2]*os.File
			for i, name := range []string{c.from, c.to} {
				f, err := os.Open(b.Path(name))
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				open[i] = f
			}
			watchers := []*Inotify{a.Inotify(), b.Inotify()} // new ones: inotifywait keeps the paths itself, and knows no exchange
			if err := by.exchange(c.from, c.to); err != nil {
				t.Fatal(err)
			}
			same(c.to, from, c.fromWas)
			same(c.from, to, c.toWas)
			for _, below := range []struct {
				dir  string
				list []string
			}{{c.from, c.nowFrom}, {c.to, c.nowTo}} {
				for i := 0; i < len(below.list); i += 2 {
					for _, m := range mounts {
						m.WaitValue(below.dir+"/"+below.list[i], below.list[i+1])
					}
				}
			}
			for i, value := range []string{c.fromWas, c.toWas} {
				if value == "" {
					continue
				}
				got := make([]byte, 100)
				n, _ := open[i].ReadAt(got, 0)
				if string(got[:n]) != value {
					t.Errorf("the descriptor of what was %q reads %q", value, got[:n])
				}
			}
			for i, in := range watchers {
				in.Expect(0, "MOVED_FROM"+c.fromMask+" "+c.from, "MOVED_TO"+c.fromMask+" "+c.to,
					"MOVED_FROM"+c.toMask+" "+c.to, "MOVED_TO"+c.toMask+" "+c.from)
				for _, e := range in.Events() {
					if e.has("CREATE") || e.has("DELETE") || e.has("DELETE_SELF") || i == 1 && e.has("MODIFY") {
						t.Errorf("event %v", e) // the writing mount raises MODIFY again for what was written before
					}
				}
				in.Kill()
			}
		})
	}

	t.Run("writers go on", func(t *testing.T) {
		f, err := os.OpenFile(a.Path("t/s/v"), os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := b.exchange("t/s/v", "t/s/w"); err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte("E"), 0); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		b.WaitValue("t/s/w", "E x")
		b.WaitValue("t/s/v", "two")
	})
	t.Run("across services", func(t *testing.T) {
		one, other := a.Inode("t/s/v"), a.Inode("t/s2/v")
		f, err := os.Open(b.Path("t/s/v"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		versions := []uint64{a.Version("t/s/v"), a.Version("t/s2/v")}
		if err := a.exchange("t/s/v", "t/s2/v"); err != nil {
			t.Fatal(err)
		}
		same("t/s2/v", one, "two")
		same("t/s/v", other, "s2 v")
		for i, name := range []string{"t/s/v", "t/s2/v"} {
			if got := a.Version(name); got <= versions[i] {
				t.Errorf("%s went from version %d to %d", name, versions[i], got)
			}
		}
		b.Write("t/s2/v", "later")
		got := make([]byte, 10)
		testenv.Eventually(t, slower(10*time.Second), func() error {
			if n, _ := f.ReadAt(got, 0); string(got[:n]) != "later" {
				return fmt.Errorf("the descriptor reads %q", got[:n])
			}
			return nil
		})
	})
	t.Run("refused", func(t *testing.T) {
		a.Write("t/s/only~", "a file of the mount")
		draft, err := os.Create(a.Path("t/s/draft"))
		if err != nil {
			t.Fatal(err)
		}
		defer draft.Close()
		h.Must("create", "t/bare", "--size", "4096")
		h.Must("register", "t/bare", "r", "--offset", "0", "--type", "i32")
		h.Must("register", "t/bare", "q", "--offset", "4", "--type", "i32")
		b.WaitFor("t/bare/q")
		h.Must("set", "t/bare/r", "7")
		for _, c := range []struct {
			from, to string
			want     error
		}{
			{"t/s/v", "t/s/nothing", syscall.ENOENT},
			{"t/s/nothing", "t/s/v", syscall.ENOENT},
			{"t/s/e", "t/s/e/sub", syscall.EINVAL},
			{"t/s/e/sub", "t/s/e", syscall.EINVAL},
			{"t/s/e", "t/s2", syscall.EXDEV},
			{"t/s2", "t", syscall.EINVAL}, // by the kernel: the one is in the other
			{"t/s/v", "t/s/only~", syscall.EINVAL},
			{"t/s/only~", "t/s/v", syscall.EINVAL},
			{"t/s/v", "t/s/draft", syscall.EBUSY},
			{"t/s/v", "t/bare/r", syscall.EXDEV},
			{"t/bare/r", "t/bare/q", nil},
		} {
			if err := a.exchange(c.from, c.to); !errors.Is(err, c.want) {
				t.Errorf("exchange of %s and %s: %v, want %v", c.from, c.to, err, c.want)
			}
		}
		if got := a.Read("t/bare/q"); got != "7" && got != "7\n" {
			t.Errorf("a registered variable reads %q under its new name", got)
		}
		err = unix.Renameat2(unix.AT_FDCWD, a.Path("t/s/v"), unix.AT_FDCWD, a.Path("t/s/w"), unix.RENAME_EXCHANGE|unix.RENAME_NOREPLACE)
		if !errors.Is(err, syscall.EINVAL) {
			t.Errorf("both flags: %v", err)
		}
		if got := a.Read("t/s/v"); got != "s2 v" {
			t.Errorf("afterwards: %q", got)
		}
	})
}

// TestS13_NoReplaceIsTheServers: of several mounts that rename to a name that must be free one gets it.
func TestS13_NoReplaceIsTheServers(t *testing.T) {
	const rounds = 60
	_, a, b := twoMounts(t)
	a.Mkdir("t/s")
	b.WaitFor("t/s")
	var won atomic.Int32
	for i := range rounds {
		won.Store(0)
		to := fmt.Sprintf("t/s/to%d", i)
		var wg sync.WaitGroup
		for n, m := range []*Mount{a, b} {
			from := fmt.Sprintf("t/s/from%d-%d", i, n)
			m.Write(from, from)
			wg.Go(func() {
				switch err := unix.Renameat2(unix.AT_FDCWD, m.Path(from), unix.AT_FDCWD, m.Path(to), unix.RENAME_NOREPLACE); {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, syscall.EEXIST):
					t.Errorf("%s: %v", from, err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Fatalf("%d of two renames to %s were carried out", won.Load(), to)
		}
	}
	testenv.Eventually(t, slower(10*time.Second), func() error {
		if x, y := a.List("t/s"), b.List("t/s"); len(x) != 2*rounds || !slices.Equal(x, y) {
			return fmt.Errorf("%d and %d files, want %d", len(x), len(y), 2*rounds)
		}
		return nil
	})
}

// TestS13_ExchangeSwitches: a directory that is exchanged for another again and again, as a switch to a new release does, is
// never missing and never a mixture, on either mount.
func TestS13_ExchangeSwitches(t *testing.T) {
	const rounds = 150
	_, a, b := twoMounts(t)
	for _, dir := range []string{"live", "next"} {
		a.Mkdir("t/s/" + dir + "/in")
		for _, name := range []string{"x", "in/y"} {
			a.Write("t/s/"+dir+"/"+name, dir)
			b.WaitValue("t/s/"+dir+"/"+name, dir)
		}
	}
	stop := make(chan struct{})
	var reads atomic.Int64
	var wg sync.WaitGroup
	for _, m := range []*Mount{a, b} {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				// A descriptor on the directory stays with it, whatever it is called.
				dir, err := unix.Open(m.Path("t/s/live"), unix.O_PATH|unix.O_DIRECTORY, 0)
				if err != nil {
					t.Errorf("open in %s: %v", m.Dir, err)
					return
				}
				var got [2]string
				for i, name := range []string{"x", "in/y"} {
					var fd int
					for { // ESTALE says that the name of the directory has just changed
						if fd, err = unix.Openat(dir, name, unix.O_RDONLY, 0); !errors.Is(err, syscall.ESTALE) {
							break
						}
					}
					if err != nil {
						t.Errorf("%s in %s: %v", name, m.Dir, err)
						break
					}
					buf := make([]byte, 16)
					n, _ := unix.Pread(fd, buf, 0)
					got[i] = string(buf[:max(n, 0)])
					unix.Close(fd)
				}
				unix.Close(dir)
				if got[0] != got[1] || got[0] == "" {
					t.Errorf("a mixture in %s: %q", m.Dir, got)
					return
				}
				reads.Add(1)
			}
		})
	}
	for i := range rounds {
		if err := []*Mount{a, b}[i%2].exchange("t/s/live", "t/s/next"); err != nil && !errors.Is(err, syscall.ESTALE) {
			t.Fatal(err)
		}
	}
	close(stop)
	wg.Wait()
	if reads.Load() < rounds {
		t.Errorf("%d reads", reads.Load())
	}
}
