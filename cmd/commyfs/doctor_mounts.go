package main

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	varfs "github.com/commy-project/commyfs/fs"
	"github.com/commy-project/commyfs/fs/mountpoint"
)

// stuckBound is how long a request must be unanswered to be reported.
const stuckBound = time.Second

// examineMounts checks all commyfs mounts in parallel.
func examineMounts(ctx context.Context) []finding {
	mounts, err := mountpoint.List()
	if err != nil {
		return []finding{skipped("mount", "%s", errorLine(err))}
	}
	if len(mounts) == 0 {
		return []finding{skipped("mount", "nothing is mounted")}
	}
	found := make([][]finding, len(mounts))
	var wg sync.WaitGroup
	for i, m := range mounts {
		wg.Go(func() {
			names, err := mountpoint.Bounded(ctx, askingBound, func() (string, error) {
				if err := m.Ask(); err != nil {
					return "", err
				}
				names, _ := varfs.TemporariesOf(m.Dir)
				return names, nil
			})
			found[i] = []finding{judgeMount(m.Dir, err)}
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				if n, _ := m.Stuck(stuckBound); n > 0 {
					found[i] = append(found[i], judgeStuck(m.Dir, n))
				}
			}
			if err == nil && names != "" {
				found[i] = append(found[i], good("mount", "%s keeps new files with these names private: %s", m.Dir, names))
				if p, _ := privateOf(ctx, m.Dir, askingBound); p.Total > 0 {
					found[i][len(found[i])-1].Detail += "; now: " + p.String()
				}
			}
		})
	}
	wg.Wait()
	return slices.Concat(found...)
}

func judgeMount(dir string, err error) finding {
	clear := "run `commyfs umount --lazy " + quoted(dir) + "`"
	switch {
	case err == nil:
		return good("mount", "%s responds", dir)
	case errors.Is(err, mountpoint.ErrDead):
		return good("mount", "%s is dead: the process that served it has exited", dir).but(statusFail, clear)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return good("mount", "%s hangs: no response within %s", dir, askingBound).but(statusFail, clear+", which fails the requests that wait; if it stays mounted, stop the process that serves it")
	case errors.Is(err, mountpoint.ErrNotOurs):
		return good("mount", "%s is hidden by a later mount", dir).but(statusWarn, "unmount that one first, unless it is intended")
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return skipped("mount", "%s belongs to another user and responds only to them", dir)
	}
	return troubled("mount", err, clear)
}

func judgeStuck(dir string, requests int) finding {
	return good("mount", "%s has not answered %d requests for %s", dir, requests, stuckBound).but(statusWarn,
		"its server may be slow: see the check \"server\"; if this persists, see the mount's log, and run `commyfs umount --lazy "+
			quoted(dir)+"` to fail the requests that wait")
}
