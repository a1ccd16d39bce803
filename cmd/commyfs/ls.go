package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/commy-project/commyfs/internal/names"
	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
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
	return a.withClient(ctx, &o.common, "ls", func(c *varsync.Client) error {
		w := bufio.NewWriter(a.stdout)
		print := o.printer(w, o.recursive || len(paths) > 1)
		for _, p := range paths {
			if err := list(ctx, c, p, o.recursive, print); err != nil {
				return errors.Join(err, w.Flush())
			}
		}
		return w.Flush()
	})
}

// list calls fn with what is in a directory, or with a variable itself.
func list(ctx context.Context, c *varsync.Client, p path, recursive bool, fn func(*model.Entry) error) error {
	req := &model.List{Tenant: p.tenant, Service: p.service, Name: p.name, Recursive: recursive}
	err := c.List(ctx, req, func(page []model.Entry) error {
		for i := range page {
			if err := fn(&page[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, model.ErrNotDirectory) && p.name != "" {
		v, err := readVariable(ctx, c, p, true)
		if err != nil {
			return err
		}
		return fn(&model.Entry{Tenant: p.tenant, Service: p.service, Name: p.name, ID: v.ID, Version: v.Version,
			MTime: v.MTime, Mode: v.Mode, Writer: v.Writer, Size: v.Size})
	}
	if err != nil {
		return fmt.Errorf("%s: %w", p.shown(), err)
	}
	return nil
}

// printer prints entries, by whole paths or by their last component.
func (o *lsOptions) printer(w *bufio.Writer, whole bool) func(*model.Entry) error {
	return func(e *model.Entry) error {
		if o.json() {
			return writeJSON(w, describeEntry(e))
		}
		name := pathOfEntry(e).String()
		if !whole {
			name = pathOfEntry(e).base()
		}
		name = names.Show(name)
		if e.Dir {
			name += "/"
		}
		if !o.long {
			_, err := fmt.Fprintln(w, name)
			return err
		}
		version, size, writer := fmt.Sprint(e.Version), fmt.Sprint(e.Size), names.Show(e.Writer)
		if e.Dir {
			version, size, writer = "-", "-", "-"
		}
		_, err := fmt.Fprintf(w, "%s %8s %10s %s %-12s %s\n", formatMode(e.Mode, e.Dir), version, size, formatTime(e.MTime), writer, name)
		return err
	}
}

func describeEntry(e *model.Entry) entryJSON {
	p := pathOfEntry(e)
	out := entryJSON{Path: p.String(), RawPath: raw(p.String()), ID: e.ID, Mode: formatMode(e.Mode, e.Dir), MTime: formatTime(e.MTime)}
	switch {
	case p.service == "":
		out.Type = "tenant"
	case p.name == "":
		out.Type = "service"
	case e.Dir:
		out.Type = "directory"
	default:
		out.Type, out.Version, out.Size, out.Writer = "variable", e.Version, &e.Size, e.Writer
	}
	return out
}
