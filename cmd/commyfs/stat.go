package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/commy-project/commyfs"
	"github.com/commy-project/commyfs/internal/names"
)

type statOptions struct {
	common
	output
}

func (a *app) newStatCommand() *cobra.Command {
	var o statOptions
	cmd := &cobra.Command{
		Use:               "stat PATH...",
		Short:             "Show metadata of variables, directories, services and tenants",
		Long:              "Show the ID, version, size, mode, time and writer of each PATH (tenant[/service[/name]]).\nWith --output json, print one line for each path.",
		Args:              takes(1, -1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.runStat(cmd.Context(), &o, args) },
	}
	o.common.addFlags(cmd.Flags())
	o.output.addFlags(cmd.Flags())
	return cmd
}

func (a *app) runStat(ctx context.Context, o *statOptions, args []string) error {
	paths := make([]path, len(args))
	for i, arg := range args {
		p, err := parsePath(arg)
		if err != nil {
			return err
		}
		if p == (path{}) {
			return usagef("path %q: must name at least a tenant", arg)
		}
		paths[i] = p
	}
	return a.withClient(ctx, &o.common, "stat", func(c *commyfs.Client) error {
		for _, p := range paths {
			info, err := c.Stat(ctx, commyfs.Path(p))
			if err != nil {
				return explain(p, err, c.Limits())
			}
			e := describe(&info)
			if info.Bare != 0 && c.IsLocal() {
				if m, err := p.service(c).Memory(ctx); err == nil { // else it is not there at the moment
					e.Memory, e.Bell = m.Path, m.Bell
				}
			}
			if o.json() {
				err = writeJSON(a.stdout, e)
			} else {
				err = printStat(a.stdout, &e)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func printStat(w io.Writer, e *entryJSON) error {
	_, err := fmt.Fprintf(w, "%s\n  type    %s\n  id      %d\n", names.Show(e.Path), e.Type, e.ID)
	if err == nil && e.Size != nil {
		_, err = fmt.Fprintf(w, "  version %d\n  size    %d\n  writer  %s\n", e.Version, *e.Size, names.Show(e.Writer))
	}
	if err == nil && e.Bare != 0 {
		_, err = fmt.Fprintf(w, "  bare    %d bytes\n", e.Bare)
	}
	if err == nil && e.Memory != "" {
		_, err = fmt.Fprintf(w, "  memory  %s\n  bell    %s\n", names.Show(e.Memory), names.Show(e.Bell))
	}
	if err == nil {
		_, err = fmt.Fprintf(w, "  mode    %s\n  mtime   %s\n", e.Mode, e.MTime)
	}
	return err
}
