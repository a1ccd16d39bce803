package integration

import (
	bin "encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/testenv"
)

// quickWatch is an inotify descriptor of this process.
type quickWatch struct{ fd int }

func startQuickWatch(path string, mask uint32) (*quickWatch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	if err := again(func() error { _, err := unix.InotifyAddWatch(fd, path, mask); return err }); err != nil {
		return nil, errors.Join(fmt.Errorf("watch %s: %w", path, err), unix.Close(fd))
	}
	return &quickWatch{fd}, nil
}

func (w *quickWatch) close() { unix.Close(w.fd) }

func again(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}

// await waits until an event with one of the bits has come; of a directory, for the name.
func (w *quickWatch) await(mask uint32, name string) error {
	buf := make([]byte, 16<<10)
	for deadline := time.Now().Add(slower(20 * time.Second)); time.Now().Before(deadline); {
		n, err := unix.Read(w.fd, buf)
		if err == unix.EAGAIN {
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}}, 100)
			continue
		}
		if err != nil && err != unix.EINTR {
			return err
		}
		for b := buf[:max(n, 0)]; len(b) > 0; {
			bits, size := bin.NativeEndian.Uint32(b[4:]), bin.NativeEndian.Uint32(b[12:])
			if bits&mask != 0 && strings.TrimRight(string(b[16:16+size]), "\x00") == name {
				return nil
			}
			b = b[16+size:]
		}
	}
	return fmt.Errorf("no event %#x of %q", mask, name)
}

// TestS16_WatchAtAnyMoment: what nobody watches raises no events, and a watch that begins at whatever moment misses none:
// while the file changes, while the mount finds out that nobody watches, by a name or by a descriptor, of the file or of its
// directory.
func TestS16_WatchAtAnyMoment(t *testing.T) {
	const rounds = 400
	_, a, b := twoMounts(t)
	a.Mkdir("t/s/dir")
	for i := range 8 {
		a.Write(fmt.Sprintf("t/s/dir/other%d", i), "0")
		a.Write(fmt.Sprintf("t/s/dir/v%d", i), "0")
	}
	b.WaitValue("t/s/dir/v7", "0")
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() { // the mount has events to raise, and somebody looks at the directory now and then
		for i := 0; !stop.Load(); i++ {
			a.Write(fmt.Sprintf("t/s/dir/other%d", i%8), strconv.Itoa(i))
			if i%5 == 0 {
				_, _ = os.ReadDir(b.Path("t/s/dir"))
			}
			if i%3 == 0 {
				_, _ = os.Stat(b.Path("t/s/dir/other1"))
			}
		}
	})
	defer wg.Wait()
	defer stop.Store(true)
	var watchers sync.WaitGroup
	for i := range 4 {
		name := fmt.Sprintf("v%d", i)
		watchers.Go(func() {
			for n := range rounds {
				if err := watchOnce(a.Path("t/s/dir/"+name), b.Path("t/s/dir/"+name), n); err != nil {
					t.Errorf("round %d of %s: %v", n, name, err)
					return
				}
			}
		})
	}
	watchers.Wait()
}

// watchOnce changes a variable at one place while a watch begins at another. Who then reads the old value must be woken.
func watchOnce(here, there string, n int) error {
	if rand.N(2) == 0 {
		if _, err := os.Stat(there); err != nil {
			return err
		}
	}
	path, name := there, ""
	switch n % 3 {
	case 1:
		path, name = filepath.Dir(there), filepath.Base(there)
	case 2:
		f, err := os.Open(there)
		if err != nil {
			return err
		}
		defer f.Close()
		path = fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	}
	want := "value " + strconv.Itoa(n)
	written := make(chan error, 1)
	pause := time.Duration(rand.N(3*time.Millisecond)) * time.Duration(rand.N(2))
	go func() {
		time.Sleep(pause)
		written <- os.WriteFile(here, []byte(want), 0o666)
	}()
	time.Sleep(rand.N(3 * time.Millisecond))
	w, err := startQuickWatch(path, unix.IN_CLOSE_WRITE)
	if err != nil {
		return errors.Join(err, <-written)
	}
	defer w.close()
	got, err := os.ReadFile(there)
	if err == nil && string(got) != want {
		err = w.await(unix.IN_CLOSE_WRITE, name)
	}
	if err := errors.Join(err, <-written); err != nil {
		return err
	}
	if got, err := os.ReadFile(there); err != nil || string(got) != want {
		return fmt.Errorf("value %q, want %q, %v", got, want, err)
	}
	return nil
}

// TestS16_NobodyWatches: a mount where somebody has looked at a directory, and nobody uses it any more, stops raising events,
// for which it would look the files up. Who watches another directory gets all of its.
func TestS16_NobodyWatches(t *testing.T) {
	_, a, b := twoMounts(t)
	a.Mkdir("t/s/seen/below")
	a.Mkdir("t/s/watched")
	a.Write("t/s/seen/below/v", "0")
	for i := range 20 {
		a.Write(fmt.Sprintf("t/s/seen/v%d", i), "0")
	}
	a.Write("t/s/watched/v", "0")
	b.WaitValue("t/s/watched/v", "0")
	w, err := startQuickWatch(b.Path("t/s/watched"), unix.IN_CLOSE_WRITE)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	for i := range 20 {
		b.WaitValue(fmt.Sprintf("t/s/seen/v%d", i), "0")
	}
	b.WaitValue("t/s/seen/below/v", "0")
	round := 0
	change := func() bool {
		round++
		a.Write("t/s/seen/v3", strconv.Itoa(round))
		a.Write("t/s/watched/v", strconv.Itoa(round)) // its event comes behind
		if err := w.await(unix.IN_CLOSE_WRITE, "v"); err != nil {
			t.Fatal(err)
		}
		return looked(t, b.Path("t/s/seen"))
	}
	testenv.Eventually(t, slower(30*time.Second), func() error {
		change() // the directory may go only after the second event
		if change() {
			return fmt.Errorf("round %d: the kernel has the directory", round)
		}
		return nil
	})
}

// looked reports whether the kernel has a file without asking for it.
func looked(t *testing.T, path string) bool {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: 0x20} // RESOLVE_CACHED
	fd, err := unix.Openat2(unix.AT_FDCWD, path, &how)
	switch err {
	case nil:
		unix.Close(fd)
		return true
	case unix.EAGAIN:
		return false
	}
	t.Fatalf("open %s: %v", path, err)
	return false
}

// TestS16_WatchedAlone: who watches a node, and nothing above it, hears of its end and of its new name as well, although the
// kernel has dropped its directory meanwhile, which nobody uses.
func TestS16_WatchedAlone(t *testing.T) {
	_, a, b := twoMounts(t)
	for _, c := range []struct {
		name   string
		change func(path string) error
		want   uint32
	}{
		{"removed", os.Remove, unix.IN_DELETE_SELF},
		{"moved", func(path string) error { return os.Rename(path, path+".new") }, unix.IN_MOVE_SELF},
	} {
		dir := "t/s/" + c.name
		a.Mkdir(dir + "/dir")
		a.Write(dir+"/file", "0")
		a.Write(dir+"/other", "0")
		b.WaitValue(dir+"/other", "0")
		for _, name := range []string{"file", "dir"} {
			w, err := startQuickWatch(b.Path(dir+"/"+name), unix.IN_DELETE_SELF|unix.IN_MOVE_SELF)
			if err != nil {
				t.Fatal(err)
			}
			defer w.close()
			tries := 0
			testenv.Eventually(t, slower(30*time.Second), func() error {
				if tries%20 == 0 { // the kernel is asked behind an event, and drops the directory a moment later
					a.Write(dir+"/other", name+strconv.Itoa(tries))
				}
				if tries++; looked(t, b.Path(dir)) {
					return errors.New("the kernel has the directory")
				}
				return nil
			})
			if err := c.change(a.Path(dir + "/" + name)); err != nil {
				t.Fatal(err)
			}
			if err := w.await(c.want, ""); err != nil {
				t.Errorf("%s %s: %v", name, c.name, err)
			}
			if name == "file" { // the kernel keeps that there is no such name, and with it the directory
				if err := os.WriteFile(a.Path(dir+"/file"), []byte("1"), 0o666); err != nil {
					t.Fatal(err)
				}
				b.WaitValue(dir+"/file", "1")
			}
		}
	}
}
