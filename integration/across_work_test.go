package integration

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/testenv"
)

// commuters use a directory on two mounts while it is renamed from one service to another and back.
type commuters struct {
	t       *testing.T
	mounts  []*Mount
	dwell   []*dweller
	stop    chan struct{}
	wg      sync.WaitGroup
	lines   [2]atomic.Int64 // appended through each mount, and acknowledged
	finds   atomic.Int64
	whole   atomic.Int64 // of finds, without an error
	stale   atomic.Int64 // lines of finds that say ESTALE
	made    atomic.Int64 // files made in the working directory
	crashes bool
}

// commute begins it. The directory is t/s/d.
func commute(t *testing.T, mounts ...*Mount) *commuters {
	t.Helper()
	testenv.Need(t, "find")
	c := &commuters{t: t, mounts: mounts, stop: make(chan struct{})}
	mounts[0].Mkdir("t/r")
	furnish("t/s/d", "value", mounts...)
	for i := range 20 {
		mounts[0].Write(fmt.Sprintf("t/s/d/in/deep/f%d", i), "x")
	}
	for i := range mounts {
		mounts[0].Write(fmt.Sprint("t/s/d/in/log", i), "")
	}
	for i, m := range mounts {
		m.WaitFor("t/r")
		m.WaitFor("t/s/d/in/log1")
		d := m.dwells("t/s/d")
		c.dwell = append(c.dwell, d)
		log, err := os.OpenFile(m.Path(fmt.Sprint("t/s/d/in/log", i)), os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		c.wg.Go(func() {
			defer log.Close()
			for !c.over() {
				if _, err := fmt.Fprintln(log, c.lines[i].Load()); err != nil {
					t.Errorf("append on %s: %v", m.Dir, err)
					return
				}
				if err := log.Sync(); err != nil {
					t.Errorf("fsync on %s: %v", m.Dir, err)
					return
				}
				c.lines[i].Add(1)
			}
		})
		c.wg.Go(func() {
			for !c.over() {
				r := m.h.Shell(`find "$1"/s "$1"/r -type f -name 'f*'`, m.Path("t"))
				c.finds.Add(1)
				if r.Code == 0 {
					c.whole.Add(1)
				}
				c.stale.Add(int64(strings.Count(r.Stderr, "Stale")))
			}
		})
		// A descriptor on the directory stays with it.
		dir, err := unix.Open(m.Path("t/s/d/in"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		c.wg.Go(func() {
			defer unix.Close(dir)
			for n := 0; !c.over(); n++ {
				err := unix.Mkdirat(dir, fmt.Sprintf("made%d-%d", i, n), 0o755)
				if err == nil {
					c.made.Add(1)
				} else if !errors.Is(err, syscall.ESTALE) && !errors.Is(err, syscall.ENOENT) && !c.crashes {
					t.Errorf("mkdir below on %s: %v", m.Dir, err)
					return
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	return c
}

func (c *commuters) over() bool {
	select {
	case <-c.stop:
		return true
	default:
		return c.t.Failed()
	}
}

// arrive ends it, with the directory at a place, and looks at what has become of it.
func (c *commuters) arrive(at string) {
	t := c.t
	t.Helper()
	close(c.stop)
	c.wg.Wait()
	t.Logf("%d and %d lines, %d finds, of these %d without an error, %d times ESTALE, %d directories made", c.lines[0].Load(), c.lines[1].Load(),
		c.finds.Load(), c.whole.Load(), c.stale.Load(), c.made.Load())
	for i := range c.mounts {
		var want strings.Builder
		for n := range c.lines[i].Load() {
			fmt.Fprintln(&want, n)
		}
		for _, m := range c.mounts {
			m.WaitValue(fmt.Sprint(at, "/in/log", i), want.String())
		}
	}
	for _, m := range c.mounts {
		testenv.Eventually(t, slower(20*time.Second), func() error {
			names := m.List(at + "/in")
			made := 0
			for _, name := range names {
				if strings.HasPrefix(name, "made") {
					made++
				}
			}
			if int64(made) != c.made.Load() {
				return fmt.Errorf("%d directories on %s, want %d", made, m.Dir, c.made.Load())
			}
			if n := len(m.List(at + "/in/deep")); n != 21 {
				return fmt.Errorf("%d files below on %s", n, m.Dir)
			}
			return nil
		})
	}
	for j, m := range c.mounts {
		// Nothing is dead to the kernel.
		c.dwell[j].isIn(at)
		for _, dir := range []string{at, at + "/in", at + "/in/deep"} {
			name := fmt.Sprint(dir, "/alive", j)
			m.Mkdir(name)
			for _, other := range c.mounts {
				other.WaitFor(name)
			}
		}
		value := c.dwell[j].writes()
		for _, other := range c.mounts {
			other.WaitValue(at+"/in/v", value)
		}
	}
	for _, d := range c.dwell {
		d.leave()
	}
}

// TestS13_AcrossBackAndForth: nothing is lost of what is written, made and looked at while a directory goes from one service to the
// other all the time.
func TestS13_AcrossBackAndForth(t *testing.T) {
	t.Parallel()
	const rounds = 200
	r := newRemote(t)
	near, far := r.server.Mount(), r.client.Mount(r.args()...)
	c := commute(t, near, far)
	places := []string{"t/s/d", "t/r/e"}
	again := 0
	for i := range rounds {
		by := c.mounts[i/3%2]
		for { // ESTALE: the mount has not heard of the rename before yet, nor ENOENT
			err := unix.Rename(by.Path(places[i%2]), by.Path(places[1-i%2]))
			if err == nil {
				break
			}
			if again++; !errors.Is(err, syscall.ESTALE) && !errors.Is(err, syscall.ENOENT) || again > 50*rounds || t.Failed() {
				t.Fatalf("rename %d on %s: %v", i, by.Dir, err)
			}
			time.Sleep(time.Millisecond)
		}
	}
	t.Logf("%d renames were tried again", again)
	if c.finds.Load() < 4 || c.lines[0].Load() < 20 || c.lines[1].Load() < 20 || c.made.Load() < 20 {
		t.Error("too little has happened")
	}
	if c.stale.Load() > c.finds.Load() {
		t.Errorf("%d times ESTALE in %d finds", c.stale.Load(), c.finds.Load())
	}
	c.arrive("t/s/d")
}
