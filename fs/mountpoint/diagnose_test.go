package mountpoint_test

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/fs/mountpoint"
	"github.com/commy-project/commyfs/internal/testenv"
)

func TestAsk(t *testing.T) {
	testenv.NeedFUSE(t)
	testenv.Root(t)
	find := func(dir string) mountpoint.Info {
		t.Helper()
		mounts, err := mountpoint.List()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range mounts {
			if m.Dir == dir {
				return m
			}
		}
		t.Fatalf("%s is not in %v", dir, mounts)
		return mountpoint.Info{}
	}
	alive := find(mounted(t, mountpoint.Options{}).Dir())
	if err := alive.Ask(); err != nil {
		t.Errorf("alive: %v", err)
	}
	if err := unix.Mount("over", alive.Dir, "tmpfs", 0, "size=4k"); err != nil {
		t.Fatal(err)
	}
	if err := alive.Ask(); !errors.Is(err, mountpoint.ErrNotOurs) {
		t.Errorf("hidden: %v, want ErrNotOurs", err)
	}
	if fsType, err := mountpoint.TypeOf(alive.Dir); fsType != "tmpfs" || err != nil {
		t.Errorf("type %q, %v, want tmpfs", fsType, err)
	}
	if err := unix.Unmount(alive.Dir, 0); err != nil {
		t.Fatal(err)
	}

	m := mountOn(t, t.TempDir(), mountpoint.Options{})
	dead := find(m.Dir())
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if err := dead.Ask(); !errors.Is(err, mountpoint.ErrDead) {
		t.Errorf("dead: %v, want ErrDead", err)
	}
	if err := m.Unmount(true); err != nil {
		t.Error(err)
	}
}
