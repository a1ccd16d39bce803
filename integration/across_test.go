package integration

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/testenv"
)

// Directories that are renamed from one service to another (S13).

// dweller is what is inside of a directory on one mount: a shell whose working directory is below it, and descriptors.
type dweller struct {
	*session
	m    *Mount
	file *os.File // of in/v
}

// dwells has a shell in the directory in below dir, and in/v open.
func (m *Mount) dwells(dir string) *dweller {
	m.t.Helper()
	f, err := os.OpenFile(m.Path(dir+"/in/v"), os.O_RDWR, 0)
	if err != nil {
		m.t.Fatal(err)
	}
	return &dweller{m.h.shellIn(m.Path(dir + "/in")), m, f}
}

func (d *dweller) leave() {
	d.end()
	_ = d.file.Close()
}

// isIn waits until the shell is in a directory, as the kernel has it, and can use it.
func (d *dweller) isIn(dir string) {
	d.m.t.Helper()
	want := d.m.Path(dir + "/in")
	testenv.Eventually(d.m.t, slower(10*time.Second), func() error {
		if got, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", d.Pid())); err != nil || got != want {
			return fmt.Errorf("the shell is in %s, want %s; %v", got, want, err)
		}
		return nil
	})
	// Of several renames that are told of, one comes after the other.
	testenv.Eventually(d.m.t, slower(10*time.Second), func() error {
		name := fmt.Sprint("touched", d.n)
		if got := d.do("/bin/pwd; touch " + name + " && rm " + name); got != want+"\n" {
			return fmt.Errorf("the shell in %s: %q", want, got)
		}
		return nil
	})
}

// writes writes through the descriptor that was opened before, and returns what.
func (d *dweller) writes() string {
	d.m.t.Helper()
	value := fmt.Sprintf("%s %d ......", d.m.Dir, d.n)
	if err := errors.Join(d.file.Truncate(0), second(d.file.WriteAt([]byte(value), 0)), d.file.Sync()); err != nil {
		d.m.t.Fatalf("through the old descriptor: %v", err)
	}
	return value
}

func second(_ int, err error) error { return err }

// reads waits until the descriptor reads a value.
func (d *dweller) reads(want string) {
	d.m.t.Helper()
	testenv.Eventually(d.m.t, slower(10*time.Second), func() error {
		buf := make([]byte, 1000)
		if n, _ := d.file.ReadAt(buf, 0); string(buf[:n]) != want {
			return fmt.Errorf("the old descriptor on %s reads %q, want %q", d.m.Dir, buf[:n], want)
		}
		return nil
	})
}

// furnish makes a directory with something in it, and has all mounts look at it.
func furnish(dir, value string, mounts ...*Mount) {
	mounts[0].Mkdir(dir + "/in/deep")
	mounts[0].Write(dir+"/in/v", value)
	mounts[0].Write(dir+"/in/deep/w", value)
	for _, m := range mounts {
		m.WaitValue(dir+"/in/v", value)
		m.WaitValue(dir+"/in/deep/w", value)
	}
}

// TestS13_RenameAcrossServices: a directory that goes to another service is renamed like any other, on the mount that renames it and
// on others: inodes, descriptors, working directories and watches of all that is in it go along.
func TestS13_RenameAcrossServices(t *testing.T) {
	t.Parallel()
	testenv.Need(t, "bash", "mv", "inotifywait")
	r := newRemote(t)
	near, far := r.server.Mount(), r.client.Mount(r.args()...)
	mounts := []*Mount{near, far}
	for _, dir := range []string{"t/s", "t/r/below", "other/q"} {
		near.Mkdir(dir)
		far.WaitFor(dir)
	}
	furnish("t/s/d", "value", near, far)
	inodes := map[string]uint64{"": near.Inode("t/s/d"), "/in": near.Inode("t/s/d/in"), "/in/v": near.Inode("t/s/d/in/v"), "/in/deep/w": near.Inode("t/s/d/in/deep/w")}
	var dwellers []*dweller
	var waiting []*Inotify
	for _, m := range mounts {
		d := m.dwells("t/s/d")
		defer d.leave()
		dwellers, waiting = append(dwellers, d), append(waiting, m.Inotify())
	}
	at := "t/s/d"
	for i, to := range []string{"t/r/e", "t/s/d", "t/r/below/d", "other/q/d", "t/s/e", "t/never/d", "t/s/d"} {
		t.Run(fmt.Sprintf("%d %s", i, to), func(t *testing.T) {
			by := mounts[i%2]
			old, _, _ := cutLast(at)
			parent, file, _ := cutLast(to)
			var raw []*rawWatch
			if parent == "t/never" { // the other mount has not looked at it
				by.Mkdir(parent)
				parent = ""
			}
			_, was, _ := cutLast(at)
			from, into := old == "t/never", parent == ""
			for j, m := range mounts {
				list := []string{"dir " + at, "in " + at + "/in", "v " + at + "/in/v", "w " + at + "/in/deep/w"}
				if !from || mounts[j] == by {
					list = append(list, "old "+old)
				}
				if !into {
					list = append(list, "new "+parent)
				}
				raw = append(raw, m.watchRaw(t, list...))
			}
			r.server.MustShell(`mv "$1" "$2"`, by.Path(at), by.Path(to))
			for j, m := range mounts {
				dwellers[j].isIn(to)
				for name, want := range inodes {
					if got := m.Inode(to + name); got != want {
						t.Errorf("%s%s on %s has inode %d, had %d", to, name, m.Dir, got, want)
					}
				}
				if _, err := os.Lstat(m.Path(at)); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%s on %s: %v", at, m.Dir, err)
				}
				if i == 0 { // later it has the old names
					waiting[j].Expect(0, "MOVED_FROM,ISDIR "+at, "MOVED_TO,ISDIR "+to)
				}
			}
			for j, d := range dwellers {
				value := d.writes()
				dwellers[1-j].reads(value)
				for k, m := range mounts {
					m.WaitValue(to+"/in/v", value)
					raw[k].has(0, "v MODIFY")
				}
			}
			for j, w := range raw {
				var want []string
				if !from || mounts[j] == by {
					want = append(want, "old MOVED_FROM "+was)
				}
				if !into {
					want = append(want, "new MOVED_TO "+file)
				}
				w.selfOnly(want...)
			}
			// What is deep below and was not touched is told of, and what comes and goes.
			for j, m := range mounts {
				marks := []int{raw[0].mark(), raw[1].mark()}
				m.Write(to+"/in/deep/w", fmt.Sprint(i, " by ", j))
				m.Mkdir(to + "/in/made")
				for k := range raw {
					raw[k].has(marks[k], "w MODIFY")
					raw[k].has(marks[k], "in CREATE made")
				}
				if err := os.Remove(m.Path(to + "/in/made")); err != nil {
					t.Error(err)
				}
				for k := range raw {
					raw[k].has(marks[k], "in DELETE made")
				}
			}
			at = to
		})
		if t.Failed() {
			return
		}
	}
	if got := near.List("t/s"); !slices.Equal(got, []string{"d"}) {
		t.Errorf("in t/s: %q", got)
	}
	for _, w := range waiting {
		for _, e := range w.Events() {
			if e.has("DELETE_SELF") && !strings.HasSuffix(e.Path, "/made/") || e.has("IGNORED") {
				t.Errorf("a watch has ended: %v", e)
			}
		}
	}
}

// cutLast cuts a path at the last slash.
func cutLast(path string) (dir, file string, ok bool) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", path, false
	}
	return path[:i], path[i+1:], true
}

// selfOnly fails unless the events of names were these, in order, and what was renamed was told once of that, before any change of a
// value. Names that the shell has made and removed again do not count.
func (w *rawWatch) selfOnly(want ...string) {
	w.t.Helper()
	var got []string
	selves := 0
	for i, e := range w.all() {
		switch {
		case strings.HasPrefix(e.file, "touched"):
		case e.mask == "MOVE_SELF" && e.of == "dir":
			selves++
		case e.of == "v" && (e.mask == "MODIFY" || e.mask == "CLOSE_WRITE"), e.of == "in" && e.file == "v" && (e.mask == "MODIFY" || e.mask == "CLOSE_WRITE"):
		default:
			got = append(got, e.String())
			if e.mask == "MOVED_TO" && i > 0 && w.all()[i-1].mask == "MOVED_FROM" && w.all()[i-1].cookie != e.cookie {
				w.t.Errorf("two renames instead of one on %s", w.m.Dir)
			}
		}
	}
	if !slices.Equal(got, want) || selves != 1 {
		w.t.Errorf("events on %s: %q and %d times MOVE_SELF, want %q and 1", w.m.Dir, got, selves, want)
	}
}

// TestS13_RenameAcrossServicesRefused: what a rename of a directory cannot be, between services as in one.
func TestS13_RenameAcrossServicesRefused(t *testing.T) {
	t.Parallel()
	r := newRemote(t)
	near := r.server.Mount()
	near.Mkdir("open/s")
	near.Mkdir("closed/s")
	key := r.keyFile("some", r.server.Must("key", "create", "some", "--tenant", "open", "--rights", "read,write,create,delete"))
	far := r.client.Mount("--server", r.serve.URL, "--ca", r.serve.CA, "--api-key-file", key)
	furnish("open/s/d", "value", near, far)
	furnish("open/r/full", "full", near, far)
	near.Mkdir("open/r/empty")
	near.Write("open/r/v", "v")
	far.WaitFor("open/r/empty")
	far.WaitFor("open/r/v")
	r.server.Must("create", "open/bare", "--size", "4096")
	far.WaitFor("open/bare")
	rename := func(m *Mount, from, to string, want error) {
		t.Helper()
		if err := unix.Rename(m.Path(from), m.Path(to)); !errors.Is(err, want) {
			t.Errorf("rename of %s to %s: %v, want %v", from, to, err, want)
		}
	}
	for _, m := range []*Mount{near, far} {
		rename(m, "open/s/d", "open/bare/d", syscall.EXDEV)
		rename(m, "open/s/d", "open/r/full", syscall.ENOTEMPTY)
		rename(m, "open/s/d", "open/r/v", syscall.ENOTDIR)
		rename(m, "open/r/v", "open/s/d", syscall.EISDIR)
		rename(m, "open/s/d", "open/r/none/d", syscall.ENOENT)
		rename(m, "open/s/d", "open/d", syscall.EXDEV)
		if err := unix.Renameat2(unix.AT_FDCWD, m.Path("open/s/d"), unix.AT_FDCWD, m.Path("open/r/empty"), unix.RENAME_NOREPLACE); !errors.Is(err, syscall.EEXIST) {
			t.Errorf("without replacing: %v", err)
		}
		m.WaitValue("open/s/d/in/v", "value")
	}
	// What the other mount may not see is gone for it, and is there again when it comes back.
	d := far.dwells("open/s/d")
	defer d.leave()
	w := far.watchRaw(t, "s open/s", "d open/s/d", "v open/s/d/in/v")
	rename(near, "open/s/d", "closed/s/d", nil)
	w.has(0, "s DELETE d")
	far.WaitGone("open/s/d")
	rename(near, "closed/s/d", "open/r/empty", nil) // over an empty directory
	far.WaitValue("open/r/empty/in/v", "value")
	d.isIn("open/r/empty")
	near.WaitValue("open/r/empty/in/v", d.writes())
	near.Write("open/r/empty/in/v", "by the other")
	w.has(0, "v CLOSE_WRITE")
	for _, e := range w.all() {
		if e.mask == "DELETE_SELF" || e.mask == "IGNORED" {
			t.Errorf("a watch of what was out of sight has ended: %v", w.all())
		}
	}
	// On a disk a directory cannot be moved into itself; neither by way of another service.
	rename(near, "open/r/empty", "open/r/empty/in/x", syscall.EINVAL)
	rename(near, "open/r/empty", "closed/s/d", nil)
	rename(near, "closed/s/d", "closed/s/d/in/x", syscall.EINVAL)
}
