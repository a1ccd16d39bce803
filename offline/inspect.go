package offline

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// queuesDir is where the queues of a state directory are.
const queuesDir = "offline"

// Dir is the directory of the queue of a mount.
func Dir(state, server, mount string) string {
	sum := sha256.Sum256([]byte(server + "\x00" + mount))
	return QueueDir(state, hex.EncodeToString(sum[:6]))
}

// QueueDir is the directory of the queue of a name.
func QueueDir(state, name string) string { return filepath.Join(state, queuesDir, name) }

// Inspect describes the queue in a directory, without changing anything; ok is false if there is none.
func Inspect(dir string) (i Info, ok bool) {
	if _, err := os.Stat(dir); err != nil {
		return Info{}, false
	}
	return inspect(dir), true
}

// Info describes a queue that a mount may be using.
type Info struct {
	Dir                  string
	Name                 string // the last component of Dir
	Server, Mount, Store string
	Stats
	InUse bool  // a mount has it
	Err   error // why it cannot be read
}

// Queues describes the queues of a state directory, without changing anything.
func Queues(state string) ([]Info, error) {
	entries, err := os.ReadDir(filepath.Join(state, queuesDir))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []Info
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			list = append(list, inspect(filepath.Join(state, queuesDir, e.Name())))
		}
	}
	return list, nil
}

func inspect(dir string) Info {
	i := Info{Dir: dir, Name: filepath.Base(dir), InUse: inUse(dir)}
	b, err := os.ReadFile(filepath.Join(dir, logName))
	if err != nil {
		i.Err = err
		return i
	}
	h, f, err := read(b)
	i.Server, i.Mount, i.Store = h.server, h.mount, h.store
	if err == nil {
		q := &Queue{dir: dir, log: slog.New(slog.DiscardHandler)}
		q.reset()
		if err = q.restore(f); err == nil {
			i.Stats = Stats{Entries: len(q.entries), Bytes: q.bytes, Variables: len(q.chains)}
			if it := q.firstLocked(); it != nil {
				i.Oldest = time.Unix(0, it.Time)
			}
		}
	}
	i.Err = err
	i.Damaged = countDamaged(dir)
	i.Aside, _, _ = countAside(dir, 0)
	return i
}

// inUse reports whether somebody has the lock of a queue.
func inUse(dir string) bool {
	f, err := os.Open(filepath.Join(dir, lockName))
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}
