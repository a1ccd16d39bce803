package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
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
	w, err := newWatcher(args)
	if err != nil {
		return err
	}
	d, err := a.dialer(&o.common)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	refused := make(chan error, 1)
	dial := func(dctx context.Context) (varsync.Conn, error) {
		conn, err := d.session(dctx)
		if errors.Is(err, model.ErrUnauthorized) || errors.Is(err, model.ErrDenied) {
			select { // a key that was revoked: nothing will ever come
			case refused <- err:
			default:
			}
			cancel()
		}
		return conn, err
	}
	// Values come with the changes: a mapped memory file would be ahead of them.
	c, err := varsync.New(ctx, varsync.Options{Dial: dial, Client: hello("watch"), Timeout: o.timeout, NoMap: true,
		OnChange: w.onChange, Logger: d.log})
	if err != nil {
		return err
	}
	loaded := make(chan error, 1)
	go func() {
		loaded <- w.loadLoop(ctx, c, d.log)
		cancel()
	}()
	write := textChange
	if o.json() {
		write = jsonChange
	}
	err = w.printLoop(ctx, a.stdout, write)
	cancel()
	err = errors.Join(err, <-loaded, c.Close())
	select {
	case err = <-refused:
	default:
	}
	if errors.Is(err, context.Canceled) {
		return nil // a watch has no other end
	}
	return err
}
