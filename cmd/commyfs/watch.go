package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/commy-project/commyfs"
)

type watchOptions struct {
	common
	output
}

func (a *app) newWatchCommand() *cobra.Command {
	var o watchOptions
	cmd := &cobra.Command{
		Use:   "watch [PATH...]",
		Short: "Print changes as they happen",
		Long: "Print a line for each change at or below PATH (tenant[/service[/name]]), or of everything. PATH need not exist yet. After\n" +
			"a lost connection, the changes made meanwhile are printed. Changes of a variable that come faster than they can be printed\n" +
			"may be merged. Events: create, modify, attrib (only mode or time), delete, move.",
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.runWatch(cmd.Context(), &o, args) },
	}
	o.common.addFlags(cmd.Flags())
	o.output.addFlags(cmd.Flags())
	return cmd
}

func (a *app) runWatch(ctx context.Context, o *watchOptions, args []string) error {
	var paths []commyfs.Path
	for _, arg := range args {
		p, err := parsePath(arg)
		if err != nil {
			return err
		}
		paths = append(paths, commyfs.Path(p))
	}
	write := textEvent
	if o.json() {
		write = jsonEvent
	}
	return a.withClient(ctx, &o.common, "watch", func(c *commyfs.Client) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		events, printed := make(chan commyfs.Event, 64), make(chan error, 1)
		go func() {
			printed <- printEvents(a.stdout, events, write)
			cancel()
		}()
		err := o.watch(ctx, c, paths, events, o.logger(a.stderr, slog.LevelWarn))
		close(events)
		if errors.Is(err, context.Canceled) { // the normal end of a watch
			return <-printed
		}
		return errors.Join(o.hint(a, err), <-printed)
	})
}

// watch sends changes to events, which has a small buffer: changes that pile up are merged.
func (o *watchOptions) watch(ctx context.Context, c *commyfs.Client, paths []commyfs.Path, events chan<- commyfs.Event, log *slog.Logger) error {
	for ev, err := range c.Watch(ctx, commyfs.WatchOptions{UpdatesOnly: true}, paths...) {
		if err != nil {
			return err
		}
		if ev.Kind == commyfs.EventSynced {
			for _, p := range paths {
				if _, err := c.Stat(ctx, p); errors.Is(err, commyfs.ErrNotFound) {
					log.Warn("does not exist yet, waiting for it", "path", path(p).shown())
				}
			}
			continue
		}
		select {
		case events <- ev:
		case <-ctx.Done():
		}
	}
	return nil
}
