package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/commy-project/commyfs"
)

// maxValue is the largest value that any server can be configured to accept.
const maxValue = 16 << 20

type setOptions struct {
	common
	ifVersion   uint64
	conditional bool
}

func (a *app) newSetCommand() *cobra.Command {
	var o setOptions
	cmd := &cobra.Command{
		Use:   "set PATH [VALUE]",
		Short: "Set a variable",
		Long: "Set a variable (tenant/service/variable) to VALUE, or to the contents of standard input. The tenant, the service and\n" +
			"directories are created as needed. The command returns when the server has stored the value.",
		Args:              takes(1, 2),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.conditional = cmd.Flags().Changed("if-version")
			return a.runSet(cmd.Context(), &o, args)
		},
	}
	o.common.addFlags(cmd.Flags())
	cmd.Flags().Uint64Var(&o.ifVersion, "if-version", 0, "set only if the variable has this `version` (0: only if it does not exist); otherwise exit with code 6")
	return cmd
}

func (a *app) runSet(ctx context.Context, o *setOptions, args []string) error {
	p, err := parseVariable(args[0])
	if err != nil {
		return err
	}
	var value []byte
	if len(args) > 1 {
		value = []byte(args[1])
	} else {
		if isTerminal(a.stdin) {
			fmt.Fprintln(a.stderr, "commyfs: reading the value from standard input: end it with Ctrl-D")
		}
		value, err = io.ReadAll(io.LimitReader(a.stdin, maxValue+1))
		if err != nil {
			return fmt.Errorf("read standard input: %w", err)
		}
	}
	return a.withClient(ctx, &o.common, "set", func(c *commyfs.Client) error {
		var err error
		if o.conditional {
			_, err = p.service(c).Update(ctx, p.Name, value, o.ifVersion)
		} else {
			_, err = p.service(c).Put(ctx, p.Name, value)
		}
		switch {
		case errors.Is(err, commyfs.ErrConflict):
			return explainConflict(ctx, c, p, err)
		case err != nil:
			return explain(p, err, c.Limits())
		}
		return nil
	})
}
