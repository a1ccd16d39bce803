package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/commy-project/commyfs"
	"github.com/commy-project/commyfs/internal/names"
)

type locksOptions struct {
	common
	output
}

func (a *app) newLocksCommand() *cobra.Command {
	var o locksOptions
	cmd := &cobra.Command{
		Use:   "locks [PATH]",
		Short: "Show who has and who waits for locks",
		Long: "Show the locks (flock, fcntl and those of programs that use the Go package) of PATH and all below it, or all locks: who has\n" +
			"them, then who waits, in order. Locks of files that only one mount has are not shown. With --output json, print one line for\n" +
			"each lock.",
		Args:              takes(0, 1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.runLocks(cmd.Context(), &o, args) },
	}
	o.common.addFlags(cmd.Flags())
	o.output.addFlags(cmd.Flags())
	return cmd
}

// lockJSON is a line of locks --output json.
type lockJSON struct {
	Path     string  `json:"path"`
	RawPath  []byte  `json:"path_base64,omitempty"` // if it is not valid UTF-8
	Deleted  bool    `json:"deleted,omitempty"`     // the variable is; Path is that of its service
	ID       uint64  `json:"id"`
	Kind     string  `json:"kind"`  // "flock" or "fcntl"
	Mode     string  `json:"mode"`  // "exclusive" or "shared"
	State    string  `json:"state"` // "held" or "waiting"
	Start    *uint64 `json:"start,omitempty"`
	End      *uint64 `json:"end,omitempty"` // the last byte, of an fcntl lock that has an end
	Since    string  `json:"since"`
	Host     string  `json:"host"`
	Pid      int     `json:"pid"`
	Program  string  `json:"program"`
	User     string  `json:"user"`
	Mount    string  `json:"mount,omitempty"`
	RawMount []byte  `json:"mount_base64,omitempty"`
	Away     string  `json:"disconnected_since,omitempty"`
}

func (a *app) runLocks(ctx context.Context, o *locksOptions, args []string) error {
	var p path
	if len(args) > 0 {
		var err error
		if p, err = parsePath(args[0]); err != nil {
			return err
		}
	}
	return a.withClient(ctx, &o.common, "locks", func(c *commyfs.Client) error {
		w := bufio.NewWriter(a.stdout)
		for l, err := range c.Locks(ctx, commyfs.Path(p)) {
			if errors.Is(err, commyfs.ErrUnsupported) {
				err = fmt.Errorf("%w: the server is too old to have locks", err)
			}
			if err == nil && o.json() {
				err = writeJSON(w, describeLock(&l))
			} else if err == nil {
				err = printLock(w, &l)
			}
			if err != nil {
				return errors.Join(err, w.Flush())
			}
		}
		return w.Flush()
	})
}

func describeLock(l *commyfs.LockInfo) *lockJSON {
	p := path(l.Path).String()
	j := &lockJSON{Path: p, RawPath: raw(p), Deleted: l.Path.Name == "", ID: l.ID, Kind: "flock", Mode: "shared", State: "held",
		Since: formatTime(l.Since), Host: l.Host, Pid: l.Pid, Program: l.Program, User: l.User, Mount: l.Mount, RawMount: raw(l.Mount)}
	if l.Range {
		j.Kind, j.Start = "fcntl", &l.Start
		if l.End != commyfs.MaxLockOffset {
			j.End = &l.End
		}
	}
	if l.Exclusive {
		j.Mode = "exclusive"
	}
	if l.Waits {
		j.State = "waiting"
	}
	if !l.Away.IsZero() {
		j.Away = formatTime(l.Away)
	}
	return j
}

func printLock(w io.Writer, l *commyfs.LockInfo) error {
	j := describeLock(l)
	what := j.Kind
	switch {
	case j.End != nil:
		what += fmt.Sprintf(" %d-%d", *j.Start, *j.End)
	case j.Start != nil && *j.Start > 0:
		what += fmt.Sprintf(" %d-", *j.Start)
	}
	name := names.Show(j.Path)
	if j.Deleted {
		name += fmt.Sprintf("/ (deleted, id %d)", l.ID)
	}
	away := ""
	if j.Away != "" {
		away = ", disconnected since " + j.Away
	}
	_, err := fmt.Fprintf(w, "%s  %-7s  %-9s  %s  pid %d on %s (%s)%s  since %s\n", name, j.State, j.Mode, what, l.Pid, names.Show(l.Host),
		names.Show(l.Program), away, j.Since)
	return err
}
