package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/spf13/cobra"

	"github.com/commy-project/commyfs"
	"github.com/commy-project/commyfs/internal/names"
)

type lsOptions struct {
	common
	output
	long, recursive bool
}

func (a *app) newLsCommand() *cobra.Command {
	var o lsOptions
	cmd := &cobra.Command{
		Use:   "ls [PATH...]",
		Short: "List tenants, services, directories and variables",
		Long: "List the contents of PATH (tenant[/service[/name]]), or all tenants. Directories are marked with a trailing slash.\n" +
			"With --output json, print one line for each entry.",
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.runLs(cmd.Context(), &o, args) },
	}
	o.common.addFlags(cmd.Flags())
	o.output.addFlags(cmd.Flags())
	cmd.Flags().BoolVarP(&o.long, "long", "l", false, "also show mode, version, size, time and writer")
	cmd.Flags().BoolVarP(&o.recursive, "recursive", "R", false, "list everything below PATH, with full paths")
	return cmd
}

func (a *app) runLs(ctx context.Context, o *lsOptions, args []string) error {
	if len(args) == 0 {
		args = []string{"/"}
	}
	paths := make([]path, len(args))
	for i, arg := range args {
		p, err := parsePath(arg)
		if err != nil {
			return err
		}
		paths[i] = p
	}
	return a.withClient(ctx, &o.common, "ls", func(c *commyfs.Client) error {
		w := bufio.NewWriter(a.stdout)
		print := o.printer(w, o.recursive || len(paths) > 1)
		for _, p := range paths {
			for info, err := range o.list(ctx, c, p) {
				if err == nil {
					err = print(&info)
				}
				if err != nil {
					return errors.Join(err, w.Flush())
				}
			}
		}
		return w.Flush()
	})
}

// list lists the contents of a directory, or a variable itself.
func (o *lsOptions) list(ctx context.Context, c *commyfs.Client, p path) iter.Seq2[commyfs.Info, error] {
	in := c.List
	if o.recursive {
		in = c.Walk
	}
	return func(yield func(commyfs.Info, error) bool) {
		for info, err := range in(ctx, commyfs.Path(p)) {
			if errors.Is(err, commyfs.ErrNotDirectory) && p.Name != "" {
				info, err = c.Stat(ctx, commyfs.Path(p))
			}
			if err != nil {
				err = fmt.Errorf("%s: %w", p.shown(), err)
			}
			if !yield(info, err) {
				return
			}
		}
	}
}

// printer prints entries with full paths or only their last component.
func (o *lsOptions) printer(w *bufio.Writer, whole bool) func(*commyfs.Info) error {
	return func(i *commyfs.Info) error {
		if o.json() {
			return writeJSON(w, describe(i))
		}
		name := path(i.Path()).String()
		if !whole {
			name = path(i.Path()).base()
		}
		name = names.Show(name)
		if i.Dir {
			name += "/"
		}
		if !o.long {
			_, err := fmt.Fprintln(w, name)
			return err
		}
		version, size, writer := fmt.Sprint(i.Version), fmt.Sprint(i.Size), names.Show(i.Writer)
		if i.Dir {
			version, size, writer = "-", "-", "-"
		}
		_, err := fmt.Fprintf(w, "%s %8s %10s %s %-12s %s\n", formatMode(i.Mode, i.Dir), version, size, formatTime(i.Time), writer, name)
		return err
	}
}
