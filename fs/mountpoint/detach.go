package mountpoint

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// requestBound is how long requests to a detached mount may stay without an answer: longer than a mount waits for its
	// server, unless it was told to wait longer.
	requestBound = 10 * time.Second
	// waitingPoll is how often their number is looked at: a mount that answers has none at one of these times.
	waitingPoll = 2 * time.Millisecond
)

// Detach is a lazy [Unmount] after which nobody waits for ever: users who wait for an answer that does not come get
// errors, and hung tells so. Those of a mount that answers can finish.
func Detach(dir string) (hung bool, err error) { return detachWithin(dir, requestBound) }

func detachWithin(dir string, bound time.Duration) (hung bool, err error) {
	c, err := connect(dir)
	if err != nil {
		// No mount of ours, which Unmount tells; or one that we cannot abort, so that asking it might hang us too.
		return false, Unmount(dir, true)
	}
	defer c.close()
	steps := []func() error{
		func() error { return unmount(c.at, true) }, // what is held of it keeps the way to it
		func() error {
			if hung = c.hangs(bound); hung {
				return c.end()
			}
			return nil
		},
	}
	if c.abort < 0 { // a forced unmount is the only way, and takes a mount that is in the tree
		steps[0], steps[1] = steps[1], steps[0]
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return hung, err
		}
	}
	return hung, nil
}

// hangs reports whether the mount does not answer: whoever asks, or somebody for as long as bound.
func (c *connection) hangs(bound time.Duration) bool {
	deadline := time.Now().Add(bound)
	c.askBlocked()
	mount, err := unix.FcntlInt(uintptr(c.mount), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return c.leastWaiting(bound) > 0
	}
	// Who asks may be given up, and has a descriptor of its own: the number of ours can be another file's by then.
	_, err = bounded(min(patience, bound), func() (struct{}, error) {
		defer unix.Close(mount)
		return struct{}{}, askAt(mount)
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return true
	}
	return c.leastWaiting(time.Until(deadline)) > 0
}

// askAt sends a request to the mount, wherever it is, and waits for the answer.
func askAt(mount int) error {
	var st unix.Statx_t
	return retry(func() error {
		return unix.Statx(mount, "", unix.AT_EMPTY_PATH|unix.AT_STATX_FORCE_SYNC, unix.STATX_BASIC_STATS, &st)
	})
}

// BlockedXattr is the attribute of a mount's root that has the number of requests that wait for something to happen, a read of
// events for instance, and not for the mount.
const BlockedXattr = "user.commy.blocked"

// askBlocked asks the mount for that number. A mount that does not answer has none.
func (c *connection) askBlocked() {
	mount, err := unix.FcntlInt(uintptr(c.mount), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return
	}
	c.blocked, _ = bounded(patience, func() (int, error) {
		defer unix.Close(mount)
		buf := make([]byte, 32)
		n, err := unix.Getxattr(fmt.Sprintf("/proc/self/fd/%d", mount), BlockedXattr, buf)
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(string(buf[:n]))
	})
}

// leastWaiting returns how many requests waited for an answer at least, at every time within d, beside those that may; 0 at once
// if none do, or if that cannot be seen.
func (c *connection) leastWaiting(d time.Duration) int {
	least := 0
	for deadline := time.Now().Add(d); ; time.Sleep(waitingPoll) {
		n := c.waitingNow() - c.blocked
		if least == 0 || n < least {
			least = max(0, n)
		}
		if least == 0 || !time.Now().Before(deadline) {
			return least
		}
	}
}

// waitingNow is the number of requests that have no answer. The file gives one number each time it is opened, and is gone
// with the connection.
func (c *connection) waitingNow() int {
	fd, err := openAt(c.control, "waiting", unix.O_RDONLY)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	var buf [32]byte
	n, err := unix.Read(fd, buf[:])
	if err != nil {
		return 0
	}
	count, _ := strconv.Atoi(string(bytes.TrimSpace(buf[:n])))
	return count
}

// Stuck returns how many requests to the mount, at least, had no answer at any time within d; at once if there are none.
func (m Info) Stuck(d time.Duration) (int, error) {
	c, err := connect(m.Dir)
	if err != nil {
		return 0, fmt.Errorf("requests to %s: %w", m.Dir, err)
	}
	defer c.close()
	if c.at.dev != m.Dev {
		return 0, fmt.Errorf("requests to %s: %w", m.Dir, ErrNotOurs)
	}
	c.askBlocked()
	unix.Close(c.mount) // it would make the mount busy
	c.mount = -1
	return c.leastWaiting(d), nil
}
