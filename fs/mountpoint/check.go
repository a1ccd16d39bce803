package mountpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds how long Check waits for a file system to answer.
const patience = 3 * time.Second

// maxStacked bounds how many dead mounts, one over the other, Check clears.
const maxStacked = 16

// Check tells, before mounting, why dir cannot be mounted on, in one line that says what to do: FUSE is not usable by
// this process, or dir is missing, no directory, not empty, a live commyfs mount, or overlaps one of the forbidden
// directories in either direction (the state and runtime directories: accesses of the daemon to its own files would
// come back to itself). Symbolic links are resolved. Forbidden directories need not exist.
//
// Check has one effect: dead commyfs mounts on dir, left by a daemon that was killed, are unmounted lazily.
//
// It returns within seconds even if dir hangs; a goroutine may then be left waiting until that mount ends.
func Check(dir string, forbidden ...string) error {
	if err := checkFuse(); err != nil {
		return err
	}
	if err := check(dir, patience, forbidden); err != nil {
		return fmt.Errorf("mountpoint %s: %w", dir, err)
	}
	return nil
}

func check(dir string, patience time.Duration, forbidden []string) error {
	for range maxStacked {
		at, err := bounded(patience, func() (location, error) { return inspect(dir, forbidden) })
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("its file system does not respond: %w: choose another directory", err)
		}
		if err != nil || !at.isMountOf(fsType) {
			return err
		}
		dead, err := bounded(patience, func() (bool, error) { return isDead(at), nil })
		if err != nil {
			return fmt.Errorf("%w (%s) and does not respond: run \"commyfs umount --lazy\" on it, which fails the requests that wait", ErrMounted, at.source)
		}
		if !dead {
			return fmt.Errorf("%w (%s): run \"commyfs umount\" on it", ErrMounted, at.source)
		}
		if err := detach(at.path); err != nil {
			return fmt.Errorf("unmount the dead mount there: %w", err)
		}
	}
	return fmt.Errorf("more than %d dead mounts there: unmount them by hand", maxStacked)
}

func checkFuse() error {
	fd, err := openFuse()
	if err != nil {
		return err
	}
	unix.Close(fd)
	if !privileged() {
		_, err = findFusermount()
	}
	return err
}

// bounded runs f for at most d. There is no way to take back a system call that waits for a hung file system, so f is
// left behind then.
func bounded[T any](d time.Duration, f func() (T, error)) (T, error) {
	return Bounded(context.Background(), d, f)
}

// Bounded runs f until ctx ends, and for at most d: the error is [os.ErrDeadlineExceeded] then. f is left behind.
func Bounded[T any](ctx context.Context, d time.Duration, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	c := make(chan result, 1)
	go func() {
		value, err := f()
		c <- result{value, err}
	}()
	var none T
	select {
	case r := <-c:
		return r.value, r.err
	case <-time.After(d):
		return none, os.ErrDeadlineExceeded
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// inspect finds what is on dir. If that is no mount of ours, it checks that dir can be mounted on.
func inspect(dir string, forbidden []string) (location, error) {
	at, err := locate(dir)
	if errors.Is(err, iofs.ErrNotExist) {
		return at, fmt.Errorf("%w: run \"mkdir -p\" for it", err)
	}
	if err != nil {
		return at, err
	}
	for _, f := range forbidden {
		other, err := resolveLoose(f)
		if err != nil {
			return at, fmt.Errorf("compare with %s: %w", f, err)
		}
		if within(at.path, other) || within(other, at.path) {
			return at, fmt.Errorf("%w (%s): choose another directory", ErrOverlap, other)
		}
	}
	if at.isMountOf(fsType) {
		return at, nil
	}
	if at.fsType == fsType {
		return at, fmt.Errorf("it is inside a commyfs mount (%s): choose another directory", at.source)
	}
	return at, checkEmpty(at.path)
}

// isDead tells whether the daemon behind a mount has gone.
func isDead(at location) bool {
	// A dead connection has no requests in flight. With one in flight we need not add ours, which would make this
	// process unkillable if the daemon has taken requests and answers none.
	waiting, err := os.ReadFile(fmt.Sprintf("/sys/fs/fuse/connections/%d/waiting", at.minr))
	if n, perr := strconv.Atoi(strings.TrimSpace(string(waiting))); err == nil && perr == nil && n > 0 {
		return false
	}
	return errors.Is(ask(at), ErrDead)
}

// ask sends a request to a mount and waits for the answer.
func ask(at location) error {
	// Without FORCE_SYNC cached attributes would let a dead mount look alive.
	var st unix.Statx_t
	err := retry(func() error {
		return unix.Statx(unix.AT_FDCWD, at.path, unix.AT_STATX_FORCE_SYNC, unix.STATX_BASIC_STATS, &st)
	})
	if errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNABORTED) {
		return fmt.Errorf("%w: %w", ErrDead, err)
	}
	return err
}

func checkEmpty(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%w: choose a directory", unix.ENOTDIR)
	}
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	names, err := d.Readdirnames(1)
	if len(names) > 0 {
		return fmt.Errorf("%w: it contains %q: choose an empty directory", unix.ENOTEMPTY, names[0])
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// resolveLoose resolves symbolic links of p as far as p exists.
func resolveLoose(p string) (string, error) {
	p, err := filepath.Abs(p)
	if err != nil {
		return "", err
	}
	rest := ""
	for {
		at, err := locate(p)
		if err == nil {
			return filepath.Join(at.path, rest), nil
		}
		if !errors.Is(err, iofs.ErrNotExist) || p == "/" {
			return "", err
		}
		rest = filepath.Join(filepath.Base(p), rest)
		p = filepath.Dir(p)
	}
}

// within tells whether a is b or lies inside it. Both are absolute and clean.
func within(a, b string) bool {
	return a == b || b == "/" || strings.HasPrefix(a, b+"/")
}
