package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs"
	"github.com/commy-project/commyfs/fs/mountpoint"
)

// explain adds the path to an error, and advice where the error has none.
func explain(p path, err error, limits commyfs.Limits) error {
	switch {
	case errors.Is(err, commyfs.ErrIsDirectory):
		err = fmt.Errorf("%w: name a variable in it (see commyfs ls)", err)
	case errors.Is(err, commyfs.ErrNotDirectory):
		err = fmt.Errorf("%w: a parent of it is a variable", err)
	case errors.Is(err, commyfs.ErrNameTooLong):
		err = fmt.Errorf("%w: at most %d bytes in all and %d between slashes", err, limits.Name, limits.Component)
	}
	return fmt.Errorf("%s: %w", p.shown(), err)
}

// explainConflict adds what the condition on a version met. It may have changed since.
func explainConflict(ctx context.Context, c *commyfs.Client, p path, err error) error {
	err = fmt.Errorf("%s: %w", p.shown(), err)
	info, statErr := p.service(c).Stat(ctx, p.Name)
	switch {
	case statErr == nil:
		return fmt.Errorf("%w: the current version is %d", err, info.Version)
	case errors.Is(statErr, commyfs.ErrNotFound):
		return fmt.Errorf("%w: the variable does not exist", err)
	}
	return err
}

// checkNotInMount refuses the path of a file in a commyfs mount. A variable's path may begin with a slash too, but does not
// have to.
func checkNotInMount(s string) error {
	if !strings.HasPrefix(s, "/") {
		return nil
	}
	mounts, err := mountpoint.List()
	if err != nil {
		return nil // without the list there is nothing to check
	}
	for _, m := range mounts {
		if rest, ok := strings.CutPrefix(strings.TrimRight(s, "/")+"/", m.Dir+"/"); ok {
			return usagef("path %q is a file in the mount %s: use the variable's path, %s", s, m.Dir, "/"+strings.TrimRight(rest, "/"))
		}
	}
	return nil
}

// isTerminal reports whether stdin is a terminal.
func isTerminal(stdin any) bool {
	f, ok := stdin.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
