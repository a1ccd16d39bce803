package server

import (
	"encoding/json"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// LockInfo is what the lock file of a state directory says about its holder.
type LockInfo struct {
	Socket string `json:"socket"`
	PID    int    `json:"pid"`
	BootID string `json:"boot_id"`
	Host   string `json:"host"`
	Mode   string `json:"mode"` // "auto" or "serve"
}

// LockedError says who holds the lock of a state directory. It matches [ErrLocked].
type LockedError struct {
	Dir    string
	Holder LockInfo // zero if the holder has not written it yet
}

// ErrLocked is matched by every [LockedError].
var ErrLocked = errors.New("directory is in use")

func (e *LockedError) Error() string {
	if e.Holder.PID == 0 {
		return fmt.Sprintf("%s is in use by another server", e.Dir)
	}
	return fmt.Sprintf("%s is in use by a server (pid %d on %s, mode %s)", e.Dir, e.Holder.PID, e.Holder.Host, e.Holder.Mode)
}

// Is makes errors.Is(err, ErrLocked) hold.
func (e *LockedError) Is(target error) bool { return target == ErrLocked }

// StateLock is the right to be the server of a state directory. It ends with the process, however that ends.
type StateLock struct{ f *os.File }

// LockState takes the lock of a state directory for the process and says who has it. If another process has it the error
// is a [LockedError]. The directory is made if it is missing; it must belong to the effective user.
func LockState(dir string, info LockInfo) (*StateLock, error) {
	if err := ownDir("state", dir); err != nil {
		return nil, err
	}
	return lockFile(filepath.Join(dir, "lock"), dir, info)
}

func lockFile(path, dir string, info LockInfo) (*StateLock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	err = flock(f)
	if errors.Is(err, unix.EWOULDBLOCK) {
		defer f.Close()
		e := &LockedError{Dir: dir}
		_ = json.NewDecoder(f).Decode(&e.Holder) // a holder that just starts has written nothing
		return nil, e
	}
	if err == nil {
		info.BootID = bootID()
		var b []byte
		if b, err = json.Marshal(info); err == nil {
			if err = f.Truncate(0); err == nil {
				_, err = f.WriteAt(append(b, '\n'), 0)
			}
		}
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return &StateLock{f}, nil
}

func flock(f *os.File) error {
	for {
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != unix.EINTR {
			return err
		}
	}
}

// Unlock gives the lock back. The file stays: removing it could let two hold a lock of that name.
func (l *StateLock) Unlock() error { return l.f.Close() }

// at reports whether the lock's file still has the name path.
func (l *StateLock) at(path string) bool {
	mine, err := l.f.Stat()
	if err != nil {
		return false
	}
	st, err := os.Lstat(path)
	return err == nil && os.SameFile(st, mine)
}

// ownDir makes sure that dir is a directory of the effective user that nobody else can enter.
func ownDir(what, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("%s directory: %w", what, err)
	}
	st, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("%s directory: %w", what, err)
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s directory %s: %w", what, dir, iofs.ErrInvalid)
	}
	if euid := os.Geteuid(); int(sys.Uid) != euid {
		return fmt.Errorf("%s directory %s belongs to uid %d, not to uid %d: %w", what, dir, sys.Uid, euid, iofs.ErrPermission)
	}
	if st.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(dir, 0o700); err != nil {
			return fmt.Errorf("%s directory: %w", what, err)
		}
	}
	return nil
}

func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
