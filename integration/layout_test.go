package integration

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
)

// twoMounts is one host with two mounts that both show the service t/s.
func twoMounts(t *testing.T, args ...string) (h *Host, a, b *Mount) {
	t.Helper()
	h = NewHost(t)
	a, b = h.Mount(args...), h.Mount(args...)
	a.Mkdir("t/s")
	b.WaitFor("t/s")
	return h, a, b
}

// WaitFor waits until a name is there.
func (m *Mount) WaitFor(name string) {
	m.t.Helper()
	testenv.Eventually(m.t, slower(10*time.Second), func() error {
		_, err := os.Lstat(m.Path(name))
		return err
	})
}

// WaitGone waits until a name is not there.
func (m *Mount) WaitGone(name string) {
	m.t.Helper()
	testenv.Eventually(m.t, slower(10*time.Second), func() error {
		_, err := os.Lstat(m.Path(name))
		if err == nil {
			return fmt.Errorf("%s is still there", name)
		}
		if errors.Is(err, iofs.ErrNotExist) {
			return nil
		}
		return err
	})
}

func wantErrno(t *testing.T, what string, got error, want ...syscall.Errno) {
	t.Helper()
	var errno syscall.Errno
	if !errors.As(got, &errno) || !slices.Contains(want, errno) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestS1_Layout(t *testing.T) {
	h, a, b := twoMounts(t)

	t.Run("directories", func(t *testing.T) {
		for _, dir := range []string{"plant", "plant/line1", "plant/line1/oven", "plant/line1/oven/zone"} {
			if err := os.Mkdir(a.Path(dir), 0o755); err != nil {
				t.Fatal(err)
			}
			wantErrno(t, "mkdir again", os.Mkdir(a.Path(dir), 0o755), syscall.EEXIST)
			b.WaitFor(dir)
			st, err := os.Stat(b.Path(dir))
			if err != nil || !st.IsDir() {
				t.Errorf("%s on the other mount: %v %v", dir, st, err)
			}
		}
		for _, dir := range []string{"plant", "plant/line1", "plant/line1/oven"} {
			wantErrno(t, "rmdir "+dir, syscall.Rmdir(a.Path(dir)), syscall.ENOTEMPTY)
		}
		a.Write("plant/line1/oven/zone/temp", "21.5")
		wantErrno(t, "rmdir with a variable in it", syscall.Rmdir(a.Path("plant/line1/oven/zone")), syscall.ENOTEMPTY)
		wantErrno(t, "unlink of a directory", syscall.Unlink(a.Path("plant/line1/oven")), syscall.EISDIR, syscall.EPERM)
		if got := h.Must("get", "plant/line1/oven/zone/temp"); got != "21.5" {
			t.Errorf("get: %q", got)
		}
		if err := os.Remove(a.Path("plant/line1/oven/zone/temp")); err != nil {
			t.Fatal(err)
		}
		for _, dir := range []string{"plant/line1/oven/zone", "plant/line1/oven", "plant/line1", "plant"} {
			if err := syscall.Rmdir(a.Path(dir)); err != nil {
				t.Errorf("rmdir %s: %v", dir, err)
			}
			b.WaitGone(dir)
		}
		wantErrno(t, "rmdir of nothing", syscall.Rmdir(a.Path("plant")), syscall.ENOENT)
	})

	t.Run("variables live in services", func(t *testing.T) {
		for _, name := range []string{"v", "t/v"} {
			if err := os.WriteFile(a.Path(name), []byte("x"), 0o644); err == nil {
				t.Errorf("a variable %s was made outside a service", name)
			}
			if _, err := os.Stat(a.Path(name)); !errors.Is(err, iofs.ErrNotExist) {
				t.Errorf("stat %s: %v", name, err)
			}
		}
	})

	t.Run("create rename remove", func(t *testing.T) {
		a.Write("t/s/one", "1")
		b.WaitValue("t/s/one", "1")
		ino := a.Inode("t/s/one")
		if got := b.Inode("t/s/one"); got != ino {
			t.Errorf("inode number %d on one mount, %d on the other", ino, got)
		}
		if err := os.Rename(a.Path("t/s/one"), a.Path("t/s/two")); err != nil {
			t.Fatal(err)
		}
		b.WaitValue("t/s/two", "1")
		b.WaitGone("t/s/one")
		if got := b.Inode("t/s/two"); got != ino {
			t.Errorf("inode number %d after rename, want %d", got, ino)
		}
		a.Mkdir("t/s/dir/sub")
		a.Write("t/s/dir/sub/v", "below")
		if err := os.Rename(a.Path("t/s/dir"), a.Path("t/s/moved")); err != nil {
			t.Fatal(err)
		}
		b.WaitValue("t/s/moved/sub/v", "below")
		b.WaitGone("t/s/dir")
		if err := os.Rename(a.Path("t/s"), a.Path("t/service")); err != nil {
			t.Fatal(err)
		}
		b.WaitValue("t/service/moved/sub/v", "below")
		if err := os.Rename(a.Path("t"), a.Path("tenant")); err != nil {
			t.Fatal(err)
		}
		b.WaitValue("tenant/service/moved/sub/v", "below")
		if err := os.Rename(b.Path("tenant"), b.Path("t")); err != nil {
			t.Fatal(err)
		}
		a.WaitFor("t/service")
		if err := os.Rename(a.Path("t/service"), a.Path("t/s")); err != nil {
			t.Fatal(err)
		}
		b.WaitFor("t/s/two")
		if err := os.Remove(b.Path("t/s/two")); err != nil {
			t.Fatal(err)
		}
		a.WaitGone("t/s/two")
		wantErrno(t, "rm again", syscall.Unlink(a.Path("t/s/two")), syscall.ENOENT)
	})

	t.Run("a and a/b", func(t *testing.T) {
		a.Write("t/s/a", "variable")
		wantErrno(t, "mkdir over a variable", os.Mkdir(a.Path("t/s/a"), 0o755), syscall.EEXIST)
		wantErrno(t, "create below a variable", os.WriteFile(a.Path("t/s/a/b"), []byte("x"), 0o644), syscall.ENOTDIR)
		if r := h.Run("set", "t/s/a/b", "x"); r.Code == 0 {
			t.Errorf("set below a variable: %v", r)
		}
		a.Mkdir("t/s/d")
		wantErrno(t, "write a directory", os.WriteFile(a.Path("t/s/d"), []byte("x"), 0o644), syscall.EISDIR)
		if r := h.Run("set", "t/s/d", "x"); r.Code == 0 {
			t.Errorf("set of a directory: %v", r)
		}
		if got := a.Read("t/s/a"); got != "variable" {
			t.Errorf("a is %q", got)
		}
	})

	t.Run("long names", func(t *testing.T) {
		longest, tooLong := strings.Repeat("n", 255), strings.Repeat("n", 256)
		a.Write("t/s/"+longest, "long")
		b.WaitValue("t/s/"+longest, "long")
		wantErrno(t, "create", os.WriteFile(a.Path("t/s/"+tooLong), nil, 0o644), syscall.ENAMETOOLONG)
		wantErrno(t, "mkdir", os.Mkdir(a.Path("t/s/"+tooLong), 0o755), syscall.ENAMETOOLONG)
		wantErrno(t, "mkdir tenant", os.Mkdir(a.Path(tooLong), 0o755), syscall.ENAMETOOLONG)
		wantErrno(t, "rename", syscall.Rename(a.Path("t/s/"+longest), a.Path("t/s/"+tooLong)), syscall.ENAMETOOLONG)
		if r := h.Run("set", "t/s/"+tooLong, "x"); r.Code == 0 {
			t.Errorf("set of a name of 256 bytes: %v", r)
		}
		// The name as a whole is the server's to judge, and echo does not see what close says.
		deep := "t/s" + strings.Repeat("/"+strings.Repeat("d", 200), 5)
		a.Mkdir(deep)
		if r := h.Shell(`echo x > "$1"`, a.Path(deep+"/"+strings.Repeat("v", 20))); r.Code == 0 || !strings.Contains(r.Stderr, "name too long") {
			t.Errorf("echo to a name of %d bytes: %v", len(deep)-len("t/s/")+21, r)
		}
	})

	t.Run("special files", func(t *testing.T) {
		a.Write("t/s/plain", "x")
		wantErrno(t, "hard link", syscall.Link(a.Path("t/s/plain"), a.Path("t/s/link")), syscall.EPERM)
		wantErrno(t, "symlink", syscall.Symlink("plain", a.Path("t/s/link")), syscall.EPERM)
		wantErrno(t, "fifo", syscall.Mkfifo(a.Path("t/s/fifo"), 0o644), syscall.EPERM)
	})

	t.Run("ls agrees", func(t *testing.T) {
		for _, name := range []string{"x", "y", "sub/z"} {
			h.Must("set", "list/all/"+name, name)
		}
		b.WaitFor("list/all/sub/z")
		if got := strings.Join(b.List("list/all"), " "); got != "sub x y" {
			t.Errorf("names in the mount: %s", got)
		}
		out := h.Must("ls", "list/all")
		for _, name := range []string{"sub", "x", "y"} {
			if !strings.Contains(out, name) {
				t.Errorf("%q is not in the output of ls:\n%s", name, out)
			}
		}
	})
}

// TestS1_Escapes sets variables by names that cannot be file names, or not in the mount: each is shown under a name that
// leads back to exactly it, for reading, writing and removing. Commands take the names as they are shown.
func TestS1_Escapes(t *testing.T) {
	t.Parallel()
	h := NewHost(t)
	m := h.Mount()
	shown := map[string]string{ // by what the command is given
		".": "%2E", "..": "%2E%2E", ".service.mem": "%2Eservice.mem",
		"%252E": "%252E", "%2500": "%2500", "a%00b": "a%00b", "a%2Eb": "a%2Eb", "%25": "%25",
	}
	for _, plain := range []string{
		"%%", "100%", "%2", "...", ".hidden", "a b", "-n", "tab\there", "line\nbreak", "quote'\"", "back\\slash", "*", "ünï", "\xff\xfe",
		"a%2Fb",
	} {
		shown[plain] = plain
	}
	var want []string
	for arg, name := range shown {
		h.Must("set", "esc/s/"+arg, "value of "+name)
		want = append(want, name)
	}
	slices.Sort(want)
	testenv.Eventually(t, slower(10*time.Second), func() error {
		if got := m.List("esc/s"); !slices.Equal(got, want) {
			return fmt.Errorf("names in the mount:\n%q, want\n%q", got, want)
		}
		return nil
	})
	for arg, name := range shown {
		if got := m.Read("esc/s/" + name); got != "value of "+name {
			t.Errorf("%q holds %q", name, got)
		}
		m.Write("esc/s/"+name, "written")
		for _, by := range []string{arg, name} {
			if got := h.Must("get", "esc/s/"+by); got != "written" {
				t.Errorf("%q: wrote through the mount, got %q", by, got)
			}
		}
		if err := os.Remove(m.Path("esc/s/" + name)); err != nil {
			t.Error(err)
		}
		if r := h.Run("get", "esc/s/"+arg); r.Code != 3 {
			t.Errorf("after rm: %v", r)
		}
	}
	if left := m.List("esc/s"); len(left) > 0 {
		t.Errorf("left: %q", left)
	}

	// The mount's own names are no names of variables.
	m.Write("esc/s/%2Eservice.mem", "mine")
	if got := h.Must("get", "esc/s/.service.mem"); got != "mine" {
		t.Errorf("get: %q", got)
	}
	// And the same in directories.
	m.Mkdir("50% off/s/%2E%2E/d")
	m.Write("50% off/s/%2E%2E/d/v", "sale")
	if got := h.Must("get", "50% off/s/../d/v"); got != "sale" {
		t.Errorf("get: %q", got)
	}
}

// TestS1_ExclusiveCreate has two mounts compete for lock files and lock directories: the server lets one win.
func TestS1_ExclusiveCreate(t *testing.T) {
	_, a, b := twoMounts(t)
	makers := map[string]func(path string) error{
		"file": func(path string) error {
			f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
			if err != nil {
				return err
			}
			return f.Close()
		},
		"directory": func(path string) error { return os.Mkdir(path, 0o755) },
	}
	const rounds = 100
	for kind, mk := range makers {
		for i := range rounds {
			name := fmt.Sprintf("t/s/%s-%d", kind, i)
			var won atomic.Int32
			var wg sync.WaitGroup
			for _, m := range []*Mount{a, b} {
				wg.Go(func() {
					switch err := mk(m.Path(name)); {
					case err == nil:
						won.Add(1)
					case !errors.Is(err, iofs.ErrExist):
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if won.Load() != 1 {
				t.Fatalf("%s: %d mounts won", name, won.Load())
			}
		}
	}
}

// TestS1_CreatedAtFirstCommit: a file that a plain open creates is seen elsewhere when it is first committed.
func TestS1_CreatedAtFirstCommit(t *testing.T) {
	_, a, b := twoMounts(t)
	f, err := os.OpenFile(a.Path("t/s/new"), os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.WriteString(f, "half"); err != nil {
		t.Fatal(err)
	}
	a.Write("t/s/later", "1")
	b.WaitFor("t/s/later")
	if _, err := os.Stat(b.Path("t/s/new")); !errors.Is(err, iofs.ErrNotExist) {
		t.Errorf("seen before its first commit: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	b.WaitValue("t/s/new", "half")
}
