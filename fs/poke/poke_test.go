package poke_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/fs/mountpoint"
	"github.com/commy-project/commyfs/fs/poke"
	"github.com/commy-project/commyfs/internal/testenv"
)

func TestDoRefuses(t *testing.T) {
	_, p, w := start(t)
	w.tid.Store(p.TID())
	now := time.Now()
	for _, tt := range []struct {
		name string
		op   poke.Op
		want error
	}{
		{"zero", poke.Op{}, unix.EINVAL},
		{"zero kind", poke.Op{Path: "f"}, unix.EINVAL},
		{"unknown kind", poke.Op{Kind: poke.StatSync + 1, Path: "f"}, unix.EINVAL},
		{"empty path", poke.Op{Kind: poke.Create}, unix.EINVAL},
		{"absolute", poke.Op{Kind: poke.Create, Path: "/f"}, unix.EINVAL},
		{"dot dot", poke.Op{Kind: poke.Create, Path: "../f"}, unix.EINVAL},
		{"dot dot inside", poke.Op{Kind: poke.Create, Path: "d/../f"}, unix.EINVAL},
		{"empty name", poke.Op{Kind: poke.Create, Path: "d//f"}, unix.EINVAL},
		{"trailing slash", poke.Op{Kind: poke.Mkdir, Path: "d/"}, unix.EINVAL},
		{"zero byte", poke.Op{Kind: poke.Create, Path: "d\x00"}, unix.EINVAL},
		{"no new path", poke.Op{Kind: poke.Rename, Path: "f"}, unix.EINVAL},
		{"nothing to exchange with", poke.Op{Kind: poke.Exchange, Path: "f"}, unix.EINVAL},
		{"new path outside", poke.Op{Kind: poke.Rename, Path: "f", NewPath: "../f"}, unix.EINVAL},
		{"no time", poke.Op{Kind: poke.Modify, Path: "f"}, unix.EINVAL},
		{"no times", poke.Op{Kind: poke.Attrib, Path: "f"}, unix.EINVAL},
		{"missing file", poke.Op{Kind: poke.Modify, Path: "f", MTime: now}, unix.ENOENT},
		{"missing directory", poke.Op{Kind: poke.Create, Path: "d/f"}, unix.ENOENT},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := p.Do(tt.op); !errors.Is(err, tt.want) {
				t.Errorf("Do: %v, want %v", err, tt.want)
			}
			if asked := w.take(); len(asked) > 0 {
				t.Errorf("the mount was asked %q", asked)
			}
		})
	}
}

// Whatever is mounted over the mount or inside it belongs to others.
func TestTouchesNoOtherFileSystem(t *testing.T) {
	m, p, _ := start(t)
	do(t, p, poke.Op{Kind: poke.Mkdir, Path: "d"}, poke.Op{Kind: poke.Create, Path: "f"})
	all := func(path string) []poke.Op {
		return []poke.Op{
			{Kind: poke.Modify, Path: path, MTime: time.Unix(1, 0)},
			{Kind: poke.CloseWrite, Path: path},
			{Kind: poke.Create, Path: path + "new"},
			{Kind: poke.Mkdir, Path: path + "new"},
			{Kind: poke.Unlink, Path: path},
			{Kind: poke.Rmdir, Path: path},
			{Kind: poke.Rename, Path: path, NewPath: path + "new"},
		}
	}
	for _, tt := range []struct {
		at, path string
		want     error
	}{
		{".", "f", poke.ErrNotMounted},
		{"d", "d/f", unix.EXDEV},
	} {
		t.Run("mounted on "+tt.at, func(t *testing.T) {
			over := join(m.Dir(), tt.at)
			if err := unix.Mount("none", over, "tmpfs", 0, ""); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := unix.Unmount(over, 0); err != nil {
					t.Error(err)
				}
			}()
			if err := os.WriteFile(join(over, "f"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			in := newInotify(t)
			in.watchAs(over, "over")
			for _, op := range all(tt.path) {
				if err := p.Do(op); !errors.Is(err, tt.want) {
					t.Errorf("%v: %v, want %v", op.Kind, err, tt.want)
				}
			}
			if got := in.read(); len(got) > 0 {
				t.Errorf("it saw %q", got)
			}
		})
	}
	t.Run("mounted on a file", func(t *testing.T) {
		other := join(t.TempDir(), "other")
		if err := os.WriteFile(other, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount(other, join(m.Dir(), "f"), "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := unix.Unmount(join(m.Dir(), "f"), 0); err != nil {
				t.Error(err)
			}
		}()
		in := newInotify(t)
		in.watchAs(other, "other")
		for _, op := range []poke.Op{{Kind: poke.Modify, Path: "f", MTime: time.Unix(1, 0)}, {Kind: poke.CloseWrite, Path: "f"}} {
			if err := p.Do(op); !errors.Is(err, unix.EXDEV) {
				t.Errorf("%v: %v, want EXDEV", op.Kind, err)
			}
		}
		if got := in.read(); len(got) > 0 {
			t.Errorf("it saw %q", got)
		}
	})
	t.Run("unmounted", func(t *testing.T) {
		dir := m.Dir()
		if err := unix.Unmount(dir, 0); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(join(dir, "f"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, op := range all("f") {
			if err := p.Do(op); !errors.Is(err, poke.ErrNotMounted) {
				t.Errorf("%v: %v", op.Kind, err)
			}
		}
	})
}

// Paths longer than the kernel takes at once.
func TestLongPaths(t *testing.T) {
	m, p, _ := start(t)
	const depth = 45
	name := strings.Repeat("x", 200)
	path := ""
	for range depth {
		path = join(path, name)
		do(t, p, poke.Op{Kind: poke.Mkdir, Path: path})
	}
	if len(path) < 2*unix.PathMax {
		t.Fatalf("%d bytes are not long", len(path))
	}
	// The watch needs a short name for the deepest directory.
	fd, err := unix.Open(m.Dir(), unix.O_PATH|unix.O_CLOEXEC, 0)
	for range depth {
		if err != nil {
			t.Fatal(err)
		}
		parent := fd
		fd, err = unix.Openat(parent, name, unix.O_PATH|unix.O_CLOEXEC, 0)
		unix.Close(parent)
	}
	if err != nil {
		t.Fatal(err)
	}
	in := newInotify(t)
	in.watchAs(fmt.Sprintf("/proc/self/fd/%d", fd), "deep")
	unix.Close(fd)
	do(t, p,
		poke.Op{Kind: poke.Create, Path: path + "/f"},
		poke.Op{Kind: poke.Modify, Path: path + "/f", MTime: time.Unix(1, 0)},
		poke.Op{Kind: poke.CloseWrite, Path: path + "/f"},
		poke.Op{Kind: poke.StatSync, Path: path + "/f"},
		poke.Op{Kind: poke.Rename, Path: path + "/f", NewPath: path + "/g"},
		poke.Op{Kind: poke.Unlink, Path: path + "/g"},
	)
	want := []string{
		"deep: CREATE f", "deep: MODIFY f", "deep: OPEN f", "deep: CLOSE_WRITE f",
		"deep: MOVED_FROM f", "deep: MOVED_TO g", "deep: DELETE g",
	}
	if got := in.read(); !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
	for _, op := range []poke.Op{
		{Kind: poke.Create, Path: strings.Repeat("y", 3*unix.PathMax)},
		{Kind: poke.Create, Path: path + "/" + strings.Repeat("y", 3*unix.PathMax) + "/f"},
	} {
		if err := p.Do(op); !errors.Is(err, unix.ENAMETOOLONG) {
			t.Errorf("overlong name: %v", err)
		}
	}
	fds := openFDs(t, p)
	if len(fds) > 5 {
		t.Errorf("the poker's thread has the descriptors %v open", fds)
	}
}

// openFDs lists the poker's own descriptor table.
func openFDs(t *testing.T, p *poke.Poker) (links []string) {
	t.Helper()
	table := fmt.Sprintf("/proc/self/task/%d/fd", p.TID())
	fds, err := os.ReadDir(table)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		link, err := os.Readlink(join(table, fd.Name()))
		if err != nil {
			t.Fatal(err)
		}
		links = append(links, fd.Name()+" "+link)
	}
	return links
}

// Files beyond 2 GiB open without O_LARGEFILE only by way of openat2.
func TestHugeFile(t *testing.T) {
	m, p, _ := start(t)
	root := m.root.EmbeddedInode()
	huge := root.NewPersistentInode(t.Context(), &file{fs: m.fs, size: 3 << 30}, fusefs.StableAttr{})
	root.AddChild("huge", huge, true)
	do(t, p, poke.Op{Kind: poke.StatSync, Path: "huge"}, poke.Op{Kind: poke.CloseWrite, Path: "huge"})
}

func TestDoIsSerialised(t *testing.T) {
	_, p, w := start(t)
	w.tid.Store(p.TID())
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			path := fmt.Sprintf("f%d", i)
			for range 50 {
				for _, op := range []poke.Op{
					{Kind: poke.Create, Path: path},
					{Kind: poke.Modify, Path: path, MTime: time.Unix(1, 0)},
					{Kind: poke.CloseWrite, Path: path},
					{Kind: poke.Unlink, Path: path},
				} {
					if err := p.Do(op); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	w.tid.Store(0)
}

func TestThread(t *testing.T) {
	m, _, _ := start(t)
	for range 50 {
		p, err := poke.New(m.Dir(), m.Dev())
		if err != nil {
			t.Fatal(err)
		}
		if int(p.TID()) == os.Getpid() {
			t.Fatal("the poker has the main thread")
		}
		for _, link := range openFDs(t, p) {
			switch fd, what, _ := strings.Cut(link, " "); {
			case len(fd) == 1 && fd < "3", what == "anon_inode:[eventpoll]", what == "anon_inode:[eventfd]":
			default:
				t.Errorf("the poker's thread has %s open", link)
			}
		}
		do(t, p, poke.Op{Kind: poke.StatSync, Path: "."})
		for range 2 {
			p.Close()
		}
		if err := p.Do(poke.Op{Kind: poke.StatSync, Path: "."}); !errors.Is(err, poke.ErrClosed) {
			t.Errorf("Do after Close: %v", err)
		}
		task := fmt.Sprintf("/proc/self/task/%d", p.TID())
		testenv.Eventually(t, 5*time.Second, func() error {
			if _, err := os.Stat(task); err == nil {
				return fmt.Errorf("%s is there", task)
			}
			return nil
		})
	}
}

func TestNewRefuses(t *testing.T) {
	testenv.NoLeaks(t)
	testenv.NeedFUSE(t)
	for _, tt := range []struct {
		name, dir string
		want      error
	}{
		{"no mount", t.TempDir(), poke.ErrNotMounted},
		{"missing", join(t.TempDir(), "no"), unix.ENOENT},
		{"file", "/dev/null", unix.ENOTDIR},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if p, err := poke.New(tt.dir, 0xffffffff); !errors.Is(err, tt.want) {
				if err == nil {
					p.Close()
				}
				t.Errorf("New: %v, want %v", err, tt.want)
			}
		})
	}
}

// The daemon needs the thread's id before it answers its first request.
func TestNewNeedsNoServer(t *testing.T) {
	testenv.NeedFUSE(t)
	m, err := mountpoint.Mount(t.TempDir(), mountpoint.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(m.Unmount(false), m.Close()); err != nil {
			t.Error(err)
		}
	}()
	p, err := poke.New(m.Dir(), m.Dev())
	if err != nil {
		t.Fatal(err)
	}
	if p.TID() == 0 {
		t.Error("no thread id")
	}
	p.Close()
}

func TestKindString(t *testing.T) {
	for kind, want := range map[poke.Kind]string{poke.Modify: "modify", poke.StatSync: "stat", 0: "kind 0", 99: "kind 99"} {
		if got := kind.String(); got != want {
			t.Errorf("%d: %q, want %q", uint8(kind), got, want)
		}
	}
}
