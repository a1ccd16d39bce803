package integration

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	commyfs "github.com/commy-project/commyfs"
	"github.com/commy-project/commyfs/internal/testenv"
)

// manyEntries is how many variables there are in what these tests rename: COMMYFS_TEST_ENTRIES=100000 takes a minute.
func manyEntries(t *testing.T) int {
	n, err := strconv.Atoi(os.Getenv("COMMYFS_TEST_ENTRIES"))
	if err != nil {
		return 1500
	}
	t.Log(n, "entries")
	return n
}

// fill makes n variables in a hundred directories below dir of t/s.
func (h *Host) fill(dir string, n int) {
	h.t.Helper()
	c, err := commyfs.Connect(h.t.Context(), commyfs.Options{URLs: []string{h.Socket()}, Timeout: time.Minute})
	if err != nil {
		h.t.Fatal(err)
	}
	defer c.Close()
	s := c.Service("t", "s")
	var ops []commyfs.Op
	for i := range n {
		ops = append(ops, s.OpPut(fmt.Sprintf("%s/d%d/v%d", dir, i%100, i), fmt.Append(nil, i)))
		if len(ops) == 500 || i == n-1 {
			if _, err := c.Txn(h.t.Context(), ops...); err != nil {
				h.t.Fatal(err)
			}
			ops = ops[:0]
		}
	}
}

// TestS13_RenameDirectory: a directory of any size is renamed at once, by whatever program: with its inodes, descriptors and
// watches, and one pair of events on each mount.
func TestS13_RenameDirectory(t *testing.T) {
	testenv.Need(t, "busybox", "rsync", "inotifywait")
	n := manyEntries(t)
	h, a, b := twoMounts(t)
	h.fill("d", n)
	last := fmt.Sprintf("/d%d/v%d", (n-1)%100, n-1)
	b.WaitValue("t/s/d"+last, fmt.Sprint(n-1))
	a.WaitValue("t/s/d"+last, fmt.Sprint(n-1))
	inode, below := a.Inode("t/s/d"), a.Inode("t/s/d/d7/v7")
	if err := os.MkdirAll(a.Path("t/s/in/a"), 0o755); err != nil {
		t.Fatal(err)
	}
	b.WaitFor("t/s/in/a")
	// Watches as inotifywait has them, which keeps the paths itself: it is told of what happens below under the old ones.
	watched := []*Inotify{a.Inotify(), b.Inotify()}
	writer, err := os.OpenFile(b.Path("t/s/d/d7/v7"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	reader, err := os.Open(a.Path("t/s/d/d7/v7"))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	at := "t/s/d"
	for i, c := range []struct{ to, script string }{
		{"t/s/e", `mv "$1" "$2"`},
		{"t/s/empty", `mkdir "$2" && mv -T "$1" "$2"`},
		{"t/s/box", `busybox mv "$1" "$2"`},
		{"t/s/in/a/deep", `mv "$1" "$2"`},
		{"t/s/d", `mv "$1" "$2"`},
		{"t/s/synced", `rsync -a "$1/" "$3/copy/" & mv "$1" "$2"; wait; true`},
		{"t/s/d2", `python3 -c 'import os, sys; os.rename(sys.argv[1], sys.argv[2])' "$1" "$2"`},
	} {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			var marks []int
			for _, in := range watched {
				marks = append(marks, in.Mark())
			}
			by := []*Mount{a, b}[i%2]
			began := time.Now()
			h.MustShell(c.script, by.Path(at), by.Path(c.to), h.NewDir())
			took := time.Since(began)
			for j, m := range []*Mount{a, b} {
				m.WaitValue(c.to+last, fmt.Sprint(n-1))
				if i < 5 { // the names that inotifywait knows are all old by then
					watched[j].Expect(marks[j], "MOVED_FROM,ISDIR "+at, "MOVED_TO,ISDIR "+c.to)
				}
				if m.Inode(c.to) != inode || m.Inode(c.to+"/d7/v7") != below {
					t.Errorf("on %s it is another directory, or holds others", m.Dir)
				}
				if _, err := os.Lstat(m.Path(at)); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%s on %s: %v", at, m.Dir, err)
				}
				for _, e := range watched[j].Events()[marks[j]:] {
					if e.Path != c.to+"/" && strings.Contains(e.Path, "/d") && !e.has("ISDIR") && !e.has("MODIFY") && !e.has("CLOSE_WRITE") {
						t.Errorf("event %v", e)
					}
				}
			}
			t.Logf("%.40s: %v", c.script, took.Round(time.Millisecond))
			at = c.to
			// What is open goes on, and is told of. The watches of the directories below are there.
			for j, in := range watched {
				marks[j] = in.Mark()
			}
			value := fmt.Sprint("value ", i)
			if _, err := writer.WriteAt([]byte(value), 0); err != nil {
				t.Fatal(err)
			}
			if err := writer.Sync(); err != nil {
				t.Fatal(err)
			}
			a.WaitValue(at+"/d7/v7", value)
			got := make([]byte, 100)
			if n, _ := reader.ReadAt(got, 0); string(got[:n]) != value {
				t.Errorf("the descriptor reads %q, want %q", got[:n], value)
			}
			testenv.Eventually(t, slower(10*time.Second), func() error {
				if !slices.ContainsFunc(watched[0].Events()[marks[0]:], func(e Event) bool { return e.has("MODIFY") && strings.HasSuffix(e.Path, "/d7/v7") }) {
					return fmt.Errorf("no event below: %v", watched[0].Events()[marks[0]:])
				}
				return nil
			})
		})
	}
	a.Mkdir("t/s/d") // the old name is free, for something else
	a.Mkdir("t/s/d/d7")
	a.Write("t/s/d/d7/v7", "another")
	b.WaitValue("t/s/d/d7/v7", "another")
	if got := len(strings.Fields(h.Must("ls", "-R", "t/s"))); got < n {
		t.Errorf("%d names are listed, want %d", got, n)
	}
}

// TestS13_RenameBesideReaders: who lists a directory while one in it is renamed sees it once, under its old or its new name.
func TestS13_RenameBesideReaders(t *testing.T) {
	h, a, b := twoMounts(t)
	h.fill("d", manyEntries(t))
	b.WaitFor("t/s/d/d1/v1")
	const rounds = 200
	done := make(chan error, 1)
	go func() {
		var err error
		for i := 0; i < rounds && err == nil; i++ {
			from, to := "t/s/d", "t/s/e"
			if i%2 == 1 {
				from, to = to, from
			}
			err = os.Rename(a.Path(from), a.Path(to))
		}
		done <- err
	}()
	lists, finds, whole := 0, 0, 0
	for going := true; going; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			going = false
		default:
		}
		for _, m := range []*Mount{a, b} {
			names := m.List("t/s")
			if len(names) != 1 || names[0] != "d" && names[0] != "e" {
				t.Fatalf("listed %q on %s", names, m.Dir)
			}
			lists++
			if lists%10 == 0 {
				r := h.Shell(`find "$1" -name 'v*'`, m.Path("t/s"))
				finds++
				if lines := strings.Count(r.Stdout, "\n"); r.Code == 0 && lines != manyEntries(t) {
					t.Fatalf("find has seen %d files: %s", lines, r.Stderr)
				} else if r.Code == 0 {
					whole++
				}
			}
		}
	}
	t.Logf("%d lists, %d times find, of these %d without an error", lists, finds, whole)
	if lists < 20 {
		t.Error("too little has happened")
	}
}

// TestS20_Kill9ServerRenames: however often the server is killed, a directory that is renamed all the time is there once, with
// all that is in it and what was written, and what is made under its old names is something else.
func TestS20_Kill9ServerRenames(t *testing.T) {
	const kills = 6
	n := manyEntries(t)
	h, a, b := twoMounts(t)
	h.crashed = true
	h.fill("d", n)
	b.WaitFor("t/s/d/d1/v1")
	stop := make(chan struct{})
	errs := make(chan error, 2)
	var rounds, wrote atomic.Int64
	at := "d"
	go func() { // renames, makes the old name anew, writes and deletes there
		errs <- func() error {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return nil
				default:
				}
				to := []string{"d", "e", "f", "in"}[(i+1)%4]
				dir := a.Path("t/s/" + to)
				if err := os.RemoveAll(dir); err != nil { // what was made there
					return fmt.Errorf("remove: %w", err)
				}
				if err := os.Rename(a.Path("t/s/"+at), dir); err != nil {
					return fmt.Errorf("rename: %w", err)
				}
				old := a.Path("t/s/" + at)
				at = to
				if err := os.MkdirAll(old+"/d7", 0o755); err != nil {
					return fmt.Errorf("mkdir: %w", err)
				}
				if err := os.WriteFile(old+"/d7/v7", []byte("another"), 0o644); err != nil {
					return err
				}
				if err := os.WriteFile(dir+"/d3/v3", fmt.Append(nil, "round ", i), 0o644); err != nil {
					return err
				}
				rounds.Store(int64(i))
			}
		}()
	}()
	go func() { // writes below, on the other mount, through a descriptor
		errs <- func() error {
			f, err := os.OpenFile(b.Path("t/s/d/d9/v9"), os.O_WRONLY, 0)
			for err != nil { // it is being renamed
				select {
				case <-stop:
					return err
				default:
				}
				for _, name := range []string{"d", "e", "f", "in"} {
					if f, err = os.OpenFile(b.Path("t/s/"+name+"/d9/v9"), os.O_WRONLY, 0); err == nil {
						break
					}
				}
			}
			defer f.Close()
			for {
				select {
				case <-stop:
					return nil
				default:
				}
				if _, err := f.WriteAt(fmt.Appendf(nil, "%08d", wrote.Load()+1), 0); err != nil {
					return err
				}
				if err := f.Sync(); err != nil {
					return err
				}
				wrote.Add(1)
			}
		}()
	}()
	for range kills {
		r, w := rounds.Load(), wrote.Load()
		testenv.Eventually(t, readyBound, func() error {
			if len(errs) == 0 && (rounds.Load() < r+3 || wrote.Load() < w+3) {
				return fmt.Errorf("%d rounds, %d writes", rounds.Load()-r, wrote.Load()-w)
			}
			return nil
		})
		h.KillServer(h.Status().Server.Pid)
	}
	close(stop)
	for range 2 {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d rounds of renames, %d writes, %d kills", rounds.Load(), wrote.Load(), kills)
	want := map[string]string{}
	for i := range n {
		want[fmt.Sprintf("%s/d%d/v%d", at, i%100, i)] = fmt.Sprint(i)
	}
	want[at+"/d3/v3"] = fmt.Sprint("round ", rounds.Load())
	want[at+"/d9/v9"] = fmt.Sprintf("%08d", wrote.Load())
	for _, name := range []string{"d", "e", "f", "in"} {
		if name != at {
			want[name+"/d7/v7"] = "another"
		}
	}
	check := func(what string, list func() (map[string]string, error)) {
		t.Helper()
		testenv.Eventually(t, slower(20*time.Second), func() error {
			got, err := list()
			if err != nil {
				return err
			}
			if len(got) != len(want) {
				return fmt.Errorf("%s: %d variables, want %d", what, len(got), len(want))
			}
			for name, value := range want {
				if got[name] != value {
					return fmt.Errorf("%s: %s is %q, want %q", what, name, got[name], value)
				}
			}
			return nil
		})
	}
	inMount := func(m *Mount) func() (map[string]string, error) {
		return func() (map[string]string, error) {
			got := map[string]string{}
			r := h.Shell(`cd "$1" && find . -name 'v*' -type f -exec sh -c 'for f; do printf "%s %s\n" "$f" "$(cat "$f")"; done' sh {} +`, m.Path("t/s"))
			for line := range strings.Lines(r.Stdout) {
				name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
				got[strings.TrimPrefix(name, "./")] = value
			}
			if r.Code != 0 {
				return nil, errors.New(r.Stderr)
			}
			return got, nil
		}
	}
	check("a mount", inMount(a))
	check("the other mount", inMount(b))
	check("the server", func() (map[string]string, error) {
		c, err := commyfs.Connect(t.Context(), commyfs.Options{URLs: []string{h.Socket()}})
		if err != nil {
			return nil, err
		}
		defer c.Close()
		got := map[string]string{}
		s := c.Service("t", "s")
		for info, err := range s.Walk(t.Context(), "") {
			if err != nil {
				return nil, err
			}
			if info.Dir {
				continue
			}
			v, err := s.Get(t.Context(), info.Name)
			if err != nil {
				return nil, err
			}
			if _, twice := got[info.Name]; twice {
				return nil, fmt.Errorf("%s is listed twice", info.Name)
			}
			got[info.Name] = string(v.Value)
		}
		return got, nil
	})
	var errno syscall.Errno
	if err := os.Rename(a.Path("t/s/"+at), a.Path("t/s/"+at+"/d1/below")); !errors.As(err, &errno) || errno != syscall.EINVAL {
		t.Errorf("a directory below itself: %v", err)
	}
}
