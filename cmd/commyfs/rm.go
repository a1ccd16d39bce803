package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/commy-project/commyfs"
)

type rmOptions struct {
	common
}

func (a *app) newRmCommand() *cobra.Command {
	var o rmOptions
	cmd := &cobra.Command{
		Use:        "rm PATH...",
		SuggestFor: []string{"delete", "remove"},
		Short:      "Delete variables",
		Long: "Delete variables (tenant/service/variable). If one cannot be deleted, the others still are.\n" +
			"To remove directories, use rmdir or rm -r in a mount.",
		Args:              takes(1, -1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.runRm(cmd.Context(), &o, args) },
	}
	o.common.addFlags(cmd.Flags())
	return cmd
}

func (a *app) runRm(ctx context.Context, o *rmOptions, args []string) error {
	paths, err := parseVariables(args)
	if err != nil {
		return err
	}
	return a.withClient(ctx, &o.common, "rm", func(c *commyfs.Client) error {
		var errs []error
		for _, p := range paths {
			err := p.service(c).Delete(ctx, p.Name)
			switch {
			case errors.Is(err, commyfs.ErrIsDirectory):
				errs = append(errs, fmt.Errorf("%s: %w: use rmdir in a mount to remove an empty directory", p, err))
			case err != nil:
				errs = append(errs, explain(p, err, c.Limits()))
			}
		}
		return errors.Join(errs...)
	})
}
