package main

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/commy-project/commyfs"
	"github.com/commy-project/commyfs/internal/names"
	"github.com/commy-project/commyfs/offline"
)

func (a *app) newOfflineCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "offline",
		Short: "Show writes that wait for the server, and take or drop those that were set aside",
		Long: "A mount with --offline=queue keeps writes while the server cannot be reached, and replays them when it can. What somebody\n" +
			"else has written meanwhile stays: the mount sets its own value aside. These commands list what waits and what was set aside,\n" +
			"print a value, write it to its variable after all, or delete it.",
		Args: cobra.ArbitraryArgs, // see checkCommand
		RunE: func(*cobra.Command, []string) error {
			return usagef("offline: missing command: list, show, apply or drop")
		},
	}
	cmd.AddCommand(a.newOfflineListCommand(), a.newOfflineShowCommand(), a.newOfflineApplyCommand(), a.newOfflineDropCommand())
	return cmd
}

// queueJSON is a queue in a list.
type queueJSON struct {
	Queue    string `json:"queue"`
	Mount    string `json:"mount"`
	RawMount []byte `json:"mount_base64,omitempty"`
	Server   string `json:"server"` // empty: the user's own on this machine
	InUse    bool   `json:"in_use"`
	Error    string `json:"error,omitempty"`
	*offlineJSON
	List []asideJSON `json:"list"`
}

type asideJSON struct {
	ID       string    `json:"id"`
	Path     string    `json:"path"`
	RawPath  []byte    `json:"path_base64,omitempty"`
	Size     int64     `json:"size"`
	Edits    int       `json:"edits"`
	First    time.Time `json:"first"`
	Last     time.Time `json:"last"`
	Base     uint64    `json:"base_version"`
	Found    uint64    `json:"found_version"`
	Reason   string    `json:"reason"`
	Appended bool      `json:"appended,omitempty"` // the value is only what is to be appended
	NoValue  bool      `json:"no_value,omitempty"`
	Doubt    bool      `json:"may_be_applied,omitempty"`
	Damaged  bool      `json:"damaged,omitempty"` // nothing is known of it but the reason
}

func (a *app) newOfflineListCommand() *cobra.Command {
	var d dirs
	var out output
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the queues, and what was set aside",
		Args:  takes(0, 0),
		RunE: func(*cobra.Command, []string) error {
			if err := d.resolve(a); err != nil {
				return err
			}
			return a.listOffline(d.state, out.json())
		},
	}
	d.addFlags(cmd.Flags())
	out.addFlags(cmd.Flags())
	return cmd
}

func (a *app) listOffline(state string, json bool) error {
	queues, err := listQueues(state)
	if err != nil {
		return err
	}
	for i := range queues {
		if json {
			err = writeJSON(a.stdout, &queues[i])
		} else {
			err = queues[i].print(a, true)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// listQueues describes the queues of a state directory.
func listQueues(state string) ([]queueJSON, error) {
	if state == "" {
		return nil, nil
	}
	queues, err := offline.Queues(state)
	if err != nil {
		return nil, err
	}
	var out []queueJSON
	for _, i := range queues {
		list, err := offline.Asides(i.Dir)
		if i.Err = errors.Join(i.Err, err); err != nil {
			list = nil // others are shown
		}
		q := queueJSON{Queue: i.Name, Mount: i.Mount, RawMount: raw(i.Mount), Server: i.Server, InUse: i.InUse, offlineJSON: newOfflineJSON(i.Stats),
			List: []asideJSON{}}
		if i.Err != nil {
			q.Error = errorLine(i.Err)
		}
		for _, x := range list {
			y := asideJSON{fmt.Sprintf("%s/%d", i.Name, x.ID), x.Path(), raw(x.Path()), x.Size, x.Edits, x.First, x.Last,
				x.Base, x.Found, x.Reason, x.Part, x.NoValue, x.Doubt, x.Damaged}
			if x.Damaged {
				y.Path = ""
			}
			q.List = append(q.List, y)
		}
		out = append(out, q)
	}
	return out, nil
}

// print prints the queue, with what was set aside or how much.
func (q *queueJSON) print(a *app, list bool) error {
	state, server := "no mount uses it", q.Server
	if q.InUse {
		state = "in use"
	}
	if server == "" {
		server = "the local server"
	}
	if q.Error != "" {
		state = q.Error
	}
	what := *q.offlineJSON
	if list {
		what.Aside = 0 // they follow
	}
	if err := showf(a.stdout, "queue     %s of %s, %s: %s, %s\n", q.Queue, q.Mount, server, what.String(), state); err != nil {
		return err
	}
	if !list {
		return nil
	}
	for _, x := range q.List {
		if x.Damaged {
			if err := showf(a.stdout, "set aside %s: %s\n", x.ID, x.Reason); err != nil {
				return err
			}
			continue
		}
		kind := "bytes"
		switch {
		case x.NoValue:
			kind = "bytes, mode or time only"
		case x.Appended:
			kind = "bytes to append"
		}
		may := ""
		if x.Doubt {
			may = "; may have been carried out"
		}
		err := showf(a.stdout, "set aside %s %s, %d %s, %s, %s: %s%s\n", x.ID, x.Path, x.Size, kind, countOf(x.Edits, "edit"),
			formatNano(x.Last.UnixNano()), x.Reason, may)
		if err != nil {
			return err
		}
	}
	return nil
}

// findAside finds what was set aside by its number in a list. With an offline.ErrDamaged it has the number and the directory.
func findAside(state, id string) (dir string, x *offline.Aside, err error) {
	name, number, ok := strings.Cut(id, "/")
	n, err := strconv.ParseUint(number, 10, 64)
	if !ok || err != nil || name == "" || name != filepath.Base(name) || name == ".." || name == "." {
		return "", nil, usagef("offline: %q: must be a number as `commyfs offline list` shows it, such as 3f2a9c01b7de/7", id)
	}
	dir = offline.QueueDir(state, name)
	x, err = offline.ReadAside(dir, n)
	if errors.Is(err, offline.ErrDamaged) {
		x = &offline.Aside{ID: n}
	}
	if errors.Is(err, iofs.ErrNotExist) {
		err = &exitError{exitNotFound, fmt.Errorf("offline: %s: nothing was set aside under this number", id)}
	}
	return dir, x, err
}

func (a *app) newOfflineShowCommand() *cobra.Command {
	var d dirs
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Print a value that was set aside",
		Args:  takes(1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := d.resolve(a); err != nil {
				return err
			}
			dir, x, err := findAside(d.state, args[0])
			if err != nil && !errors.Is(err, offline.ErrDamaged) {
				return err
			}
			value, err := offline.AsideValue(dir, x.ID)
			if err == nil || errors.Is(err, offline.ErrDamaged) { // what is left of it is better than nothing
				_, werr := a.stdout.Write(value)
				err = errors.Join(err, werr)
			}
			return err
		},
	}
	d.addFlags(cmd.Flags())
	return cmd
}

func (a *app) newOfflineApplyCommand() *cobra.Command {
	var o common
	cmd := &cobra.Command{
		Use:   "apply ID",
		Short: "Write a value that was set aside to its variable, and delete it here",
		Long: "Write a value that was set aside to its variable, whatever that has now, and delete it here. What was to be appended is\n" +
			"appended. Without --server the variable is one of the local server: use the options of the mount.",
		Args: takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.applyOffline(cmd.Context(), &o, args[0]) },
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func (a *app) applyOffline(ctx context.Context, o *common, id string) error {
	if err := o.resolve(a); err != nil {
		return err
	}
	dir, x, err := findAside(o.state, id)
	if err != nil {
		return err
	}
	if x.NoValue {
		return usagef("offline: %s: it has no value, only a mode or a time", id)
	}
	value, err := offline.AsideValue(dir, x.ID)
	if err != nil {
		return err
	}
	p := path{string(x.Tenant), string(x.Service), string(x.Name)}
	err = a.withClient(ctx, o, "offline", func(c *commyfs.Client) error {
		var err error
		if x.Part {
			_, err = p.service(c).Append(ctx, p.Name, value)
		} else {
			_, err = p.service(c).Put(ctx, p.Name, value)
		}
		if err != nil {
			return explain(p, err, c.Limits())
		}
		return nil
	})
	if err == nil {
		err = offline.Drop(dir, x.ID)
	}
	return err
}

func (a *app) newOfflineDropCommand() *cobra.Command {
	var d dirs
	cmd := &cobra.Command{
		Use:   "drop ID...",
		Short: "Delete values that were set aside",
		Args:  takes(1, -1),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := d.resolve(a); err != nil {
				return err
			}
			for _, id := range args {
				dir, x, err := findAside(d.state, id)
				if err == nil || errors.Is(err, offline.ErrDamaged) {
					err = offline.Drop(dir, x.ID)
				}
				if err != nil {
					return fmt.Errorf("%s: %w", names.Show(id), err)
				}
			}
			return nil
		},
	}
	d.addFlags(cmd.Flags())
	return cmd
}
