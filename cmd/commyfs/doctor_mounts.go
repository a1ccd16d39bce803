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

// stuckBound is how long requests to a mount have to be without an answer to be told of.
const stuckBound = time.Second

// examineMounts asks every mount of ours, those side by side too.
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
				found[i] = append(found[i], good("mount", "%s keeps new files of these names to itself: %s", m.Dir, names))
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
		return good("mount", "%s answers", dir)
	case errors.Is(err, mountpoint.ErrDead):
		return good("mount", "%s is dead: the process that served it is gone", dir).but(statusFail, clear)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return good("mount", "%s hangs: no answer within %s", dir, askingBound).but(statusFail, clear+", which ends the waiting of its users, and end the process that serves it if it stays")
	case errors.Is(err, mountpoint.ErrNotOurs):
		return good("mount", "%s is hidden by a later mount", dir).but(statusWarn, "unmount that first, if it is not meant to be there")
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return skipped("mount", "%s is another user's, and answers only them", dir)
	}
	return troubled("mount", err, clear)
}

func judgeStuck(dir string, requests int) finding {
	return good("mount", "%s has not answered %d requests within %s", dir, requests, stuckBound).but(statusWarn,
		"its server may be slow: see the check \"server\"; if they stay, the log of the process that serves it tells of them, and `commyfs umount --lazy "+
			quoted(dir)+"` ends the waiting")
}
