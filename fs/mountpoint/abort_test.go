package mountpoint

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/testenv"
)

// unserved mounts on a new directory without a server: whoever uses it waits.
func unserved(t *testing.T) *Mountpoint {
	t.Helper()
	testenv.NeedFUSE(t)
	testenv.Root(t)
	m, err := Mount(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.Unmount(m.Dir(), unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) // most tests have done it
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// aborted reports whether the mount answers as an aborted one does; a mount that is not makes it wait.
func aborted(t *testing.T, m *Mountpoint) bool {
	t.Helper()
	_, err := bounded(2*time.Second, func() (struct{}, error) {
		var st unix.Stat_t
		return struct{}{}, unix.Stat(m.Dir(), &st)
	})
	return errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNABORTED)
}

func TestAbort(t *testing.T) {
	for _, tt := range []struct {
		name  string
		abort func(t *testing.T, m *Mountpoint) error
	}{
		{"by the file", func(t *testing.T, m *Mountpoint) error {
			f, err := m.AbortFile()
			if err != nil {
				return err
			}
			defer f.Close()
			return AbortBy(int(f.Fd()))
		}},
		{"by the directory", func(t *testing.T, m *Mountpoint) error { return Info{Dir: m.Dir(), Dev: m.Dev()}.Abort() }},
		{"by a forced unmount", func(t *testing.T, m *Mountpoint) error {
			c, err := connect(m.Dir())
			if err != nil {
				return err
			}
			defer c.close()
			unix.Close(c.abort)
			c.abort = -1
			return c.end()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := unserved(t)
			if err := tt.abort(t, m); err != nil {
				t.Fatal(err)
			}
			at, err := locate(m.Dir())
			if err != nil || at.dev != m.Dev() || !at.isMountOf(fsType) {
				t.Fatalf("the mount has gone: %+v, %v", at, err)
			}
			if !aborted(t, m) {
				t.Error("the mount is not dead")
			}
		})
	}
}

// What is aborted is the mount that was meant, not one that has its number or its place.
func TestAbortOfAnother(t *testing.T) {
	m := unserved(t)
	f, err := m.AbortFile()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := m.Unmount(false); err != nil {
		t.Fatal(err)
	}
	if err := (Info{Dir: m.Dir(), Dev: m.Dev()}).Abort(); !errors.Is(err, ErrNotMounted) {
		t.Errorf("nothing mounted: %v", err)
	}
	if _, err := m.AbortFile(); !errors.Is(err, ErrNotMounted) {
		t.Errorf("nothing mounted: %v", err)
	}
	next := unserved(t)
	if next.Dev() != m.Dev() {
		t.Logf("the number %#x was not used again: %#x", m.Dev(), next.Dev())
	}
	if err := AbortBy(int(f.Fd())); err != nil {
		t.Errorf("the file of a connection that has ended: %v", err)
	}
	if err := (Info{Dir: next.Dir(), Dev: next.Dev() + 1}).Abort(); !errors.Is(err, ErrNotOurs) {
		t.Errorf("another number: %v", err)
	}
	if err := unix.Mount("none", next.Dir(), "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	err = Info{Dir: next.Dir(), Dev: next.Dev()}.Abort()
	if uerr := unix.Unmount(next.Dir(), 0); uerr != nil {
		t.Error(uerr)
	}
	if !errors.Is(err, ErrNotOurs) {
		t.Errorf("another file system over it: %v", err)
	}
	if err := (Info{Dir: os.DevNull, Dev: next.Dev()}).Abort(); !errors.Is(err, ErrNotMounted) {
		t.Errorf("not a directory: %v", err)
	}
	if aborted(t, next) {
		t.Error("a mount was aborted that nobody meant")
	}
	if err := (Info{Dir: next.Dir(), Dev: next.Dev()}).Abort(); err != nil || !aborted(t, next) {
		t.Errorf("the mount itself: %v", err)
	}
}

func TestDetach(t *testing.T) {
	m := unserved(t)
	waiting, thread := make(chan error, 1), make(chan int, 1)
	go func() {
		runtime.LockOSThread()
		thread <- unix.Gettid()
		var st unix.Stat_t
		waiting <- unix.Fstatat(unix.AT_FDCWD, m.Dir(), &st, 0)
	}()
	inside, by := fmt.Sprint(unix.SYS_NEWFSTATAT, " "), fmt.Sprintf("/proc/self/task/%d/syscall", <-thread)
	testenv.Eventually(t, 10*time.Second, func() error { // or it finds what the mount has hidden
		if doing, err := os.ReadFile(by); err != nil || !strings.HasPrefix(string(doing), inside) {
			return fmt.Errorf("the user does not wait: %q, %v", doing, err)
		}
		return nil
	})
	if hung, err := Detach(m.Dir()); !hung || err != nil {
		t.Errorf("hung %v, %v", hung, err)
	}
	select {
	case err := <-waiting:
		if err == nil {
			t.Error("no error for a user of a mount that hung")
		}
	case <-time.After(5 * time.Second):
		t.Error("a user waits for ever")
	}
	if hung, err := Detach(m.Dir()); hung || !errors.Is(err, ErrNotMounted) {
		t.Errorf("again: hung %v, %v", hung, err)
	}

	dead := unserved(t)
	if err := (Info{Dir: dead.Dir(), Dev: dead.Dev()}).Abort(); err != nil {
		t.Fatal(err)
	}
	if hung, err := Detach(dead.Dir()); hung || err != nil {
		t.Errorf("a dead mount: hung %v, %v", hung, err)
	}
}
