package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/commy-project/commyfs/internal/bench"
	"github.com/commy-project/commyfs/internal/dial"
	"github.com/commy-project/commyfs/internal/local"
)

type benchOptions struct {
	output
	time, total time.Duration
	dir         string
}

func (a *app) newBenchCommand() *cobra.Command {
	var o benchOptions
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Benchmark file operations against tmpfs and a minimal FUSE file system",
		Long: "Benchmark file operations on temporary commyfs mounts, which have their own server and directories, against tmpfs and a\n" +
			"minimal FUSE file system; then, with nothing to compare, programs that use the Go SDK: a commit, 64 writers, a counter,\n" +
			"values delivered to 50 watchers. Compare results of the same run only. Nothing is left behind. If something cannot be measured,\n" +
			"the other results are printed and the exit code is 1.",
		Args:              takes(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return a.runBench(cmd.Context(), &o) },
	}
	fs := cmd.Flags()
	o.output.addFlags(fs)
	fs.DurationVar(&o.time, "time", 2*time.Second, "how long to measure each operation on each file system")
	fs.DurationVar(&o.total, "total", 5*time.Minute, "time limit for the whole benchmark")
	fs.StringVar(&o.dir, "dir", "", "`directory` for temporary files, on the disk to measure (default: the system's)")
	return cmd
}

func (a *app) runBench(ctx context.Context, o *benchOptions) error {
	if o.time <= 0 || o.total <= 0 {
		return usagef("--time %s --total %s: must be greater than 0", o.time, o.total)
	}
	if o.dir == "" {
		o.dir = os.TempDir()
	}
	report, err := bench.Run(ctx, bench.Options{Command: []string{local.Executable()}, Env: benchEnviron(), Dir: o.dir, Time: o.time,
		Total: o.total, Version: currentVersion(), Stderr: a.stderr})
	if ctx.Err() != nil || report == nil || len(report.Results) == 0 {
		return err
	}
	if o.json() {
		return errors.Join(report.WriteJSON(a.stdout), err)
	}
	return errors.Join(report.WriteText(a.stdout), err)
}

// benchEnviron is the environment without variables that could change the results: our options and the XDG directories.
func benchEnviron() []string {
	var out []string
	for _, e := range dial.PublicEnviron() {
		if !strings.HasPrefix(e, "XDG_") {
			out = append(out, e)
		}
	}
	return out
}

// newBenchFSCommand serves the minimal file system, in its own process like ours.
func (a *app) newBenchFSCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "bench-fs DIR",
		Short:             "Serve the minimal FUSE file system for bench",
		Hidden:            true,
		Args:              takes(1, 1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			return bench.ServeMinimal(cmd.Context(), args[0], a.stdout)
		},
	}
}
