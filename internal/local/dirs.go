package local

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

func makeDirs(o Options) error {
	if o.Reconnect {
		if _, err := os.Stat(o.StateDir); err != nil {
			return fmt.Errorf("the state directory is gone: %w", err)
		}
	}
	for _, dir := range []string{o.StateDir, o.RuntimeDir} {
		if err := MakeDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// MakeDir creates a state or runtime directory and its parents, accessible only to the user, if it does not exist. It refuses a
// directory of another user, who could read everything in it.
func MakeDir(dir string) error {
	err := CheckOwner(dir)
	if err == nil {
		err = os.MkdirAll(dir, 0o700) // checks again whether it exists
	}
	return err
}

// CheckOwner refuses the same directories as [MakeDir] but creates none: it accepts one that does not exist.
func CheckOwner(dir string) error {
	info, err := os.Stat(dir)
	if errors.Is(err, iofs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory", dir)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if euid := os.Geteuid(); ok && int(st.Uid) != euid {
		return fmt.Errorf("%s belongs to %s, not to %s: choose directories of your own with --state-dir and --runtime-dir",
			dir, userName(int(st.Uid)), userName(euid))
	}
	return nil
}

// isElsewhere reports whether the server of the runtime directory uses another state directory. A server writes the same text
// to the lock files of both directories. The lock file of a dead server does not count.
func isElsewhere(o Options) bool {
	here, err := os.ReadFile(filepath.Join(o.RuntimeDir, "server.lock"))
	var holder struct {
		PID int `json:"pid"`
	}
	if err != nil || json.Unmarshal(here, &holder) != nil || holder.PID <= 0 || unix.Kill(holder.PID, 0) == unix.ESRCH {
		return false
	}
	there, err := os.ReadFile(filepath.Join(o.StateDir, "lock"))
	return err != nil || !bytes.Equal(here, there)
}

func errElsewhere(o Options) error {
	return fmt.Errorf("the server in %s uses another state directory than %s: use a separate --runtime-dir for each --state-dir", o.RuntimeDir, o.StateDir)
}

func userName(uid int) string {
	id := strconv.Itoa(uid)
	if u, err := user.LookupId(id); err == nil {
		return u.Username + " (uid " + id + ")"
	}
	return "uid " + id
}

// Dirs returns the directories for the data and the socket of the user's own server: those of the XDG base directory
// specification, which says to ignore relative paths, or the system's for root. They are empty if HOME is not set either.
func Dirs(getenv func(string) string, root bool) (state, runtime string) {
	if root {
		return "/var/lib/commyfs", "/run/commyfs"
	}
	in := func(env, dir string) string {
		if base := getenv(env); filepath.IsAbs(base) {
			return filepath.Join(base, "commyfs")
		}
		if home := getenv("HOME"); filepath.IsAbs(home) {
			return filepath.Join(home, dir)
		}
		return ""
	}
	return in("XDG_STATE_HOME", ".local/state/commyfs"), in("XDG_RUNTIME_DIR", ".cache/commy_virtual_files")
}
