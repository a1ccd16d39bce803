package mountpoint

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// busyWaits are the pauses between attempts at a busy mount. Closing a file and leaving a directory reach the mount
// a moment after the process did it.
var busyWaits = []time.Duration{5, 10, 20, 40, 80, 160}

// Unmount unmounts the commyfs mount on dir, also a dead or a hung one, lazily on request (see
// [Mountpoint.Unmount]). It refuses other directories with [ErrNotMounted] or [ErrNotOurs].
func Unmount(dir string, lazy bool) error {
	at, err := locate(dir)
	if err == nil {
		err = at.oursOnly()
	}
	if err != nil {
		return fmt.Errorf("unmount %s: %w", dir, err)
	}
	return unmount(at, lazy)
}

func unmount(at location, lazy bool) error {
	err := unmountPath(at.path, lazy)
	for _, wait := range busyWaits {
		if !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(wait * time.Millisecond)
		err = unmountPath(at.path, lazy)
	}
	if errors.Is(err, unix.EBUSY) {
		who := holders(at.mountEntry)
		if len(who) == 0 {
			who = []string{"a process that is not visible here"}
		}
		return fmt.Errorf("unmount %s: %w by %s: stop it or use --lazy", at.path, ErrBusy, strings.Join(who, ", "))
	}
	if err != nil {
		return fmt.Errorf("unmount %s: %w", at.path, err)
	}
	return nil
}

// detach takes the topmost mount off path for good, whoever uses it.
func detach(path string) error { return unmountPath(path, true) }

func unmountPath(path string, lazy bool) error {
	if privileged() {
		flags := unix.UMOUNT_NOFOLLOW
		if lazy {
			flags |= unix.MNT_DETACH
		}
		return unix.Unmount(path, flags)
	}
	if lazy {
		return runFusermount(nil, "-u", "-z", "--", path)
	}
	return runFusermount(nil, "-u", "--", path)
}
