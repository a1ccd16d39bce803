package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/commy-project/commyfs"
)

type incrOptions struct {
	common
	output
	ifExists bool
}

func (a *app) newIncrCommand() *cobra.Command {
	var o incrOptions
	cmd := &cobra.Command{
		Use:   "incr PATH [N]",
		Short: "Add to a variable that is a number",
		Long: "Add N (1; it can be negative or have a fraction) to a variable (tenant/service/variable) that is a number, and print the\n" +
			"sum. The server adds, so that nothing is lost however many programs do. A variable that does not exist is created\n" +
			"with the value N; an empty one counts as 0. If the value is not a number, or the sum does not fit, nothing is changed.",
		Example:           "  commyfs incr plant/line1/parts\n  commyfs incr plant/line1/stock -5",
		Args:              takes(1, 2),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.runIncr(cmd.Context(), &o, args) },
	}
	o.common.addFlags(cmd.Flags())
	o.output.addFlags(cmd.Flags())
	cmd.Flags().BoolVar(&o.ifExists, "if-exists", false, "do not create the variable: exit with code 3 if it does not exist")
	return cmd
}

type sumJSON struct {
	Path    string `json:"path"`
	RawPath []byte `json:"path_base64,omitempty"` // if it is not valid UTF-8
	Value   string `json:"value"`                 // the number, which can have more digits than a program's numbers
	Version uint64 `json:"version"`
}

func (a *app) runIncr(ctx context.Context, o *incrOptions, args []string) error {
	p, err := parseVariable(args[0])
	if err != nil {
		return err
	}
	n := "1"
	if len(args) > 1 {
		n = args[1]
	}
	return a.withClient(ctx, &o.common, "incr", func(c *commyfs.Client) error {
		sum, err := p.service(c).AddText(ctx, p.Name, n, commyfs.AddOptions{IfExists: o.ifExists})
		if err != nil {
			err = explain(p, err, c.Limits())
			if errors.Is(err, commyfs.ErrInvalid) {
				err = &exitError{exitFailure, err} // the value is to blame, mostly
			}
			return err
		}
		if o.json() {
			err = writeJSON(a.stdout, sumJSON{p.String(), raw(p.String()), sum.Text, sum.Version})
		} else {
			_, err = fmt.Fprintln(a.stdout, sum.Text)
		}
		if err != nil {
			return fmt.Errorf("write: %w", err)
		}
		return nil
	})
}
