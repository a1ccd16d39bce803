package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"
)

// app is what a command has of the world outside.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
}

// run carries out a command line and returns the exit code.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.newRootCommand()
	root.SetArgs(numbersLast(args))
	err := root.ExecuteContext(ctx)
	if err != nil {
		if line := errorLine(err); line != "" {
			fmt.Fprintln(a.stderr, "commyfs: "+line)
		}
	}
	return exitCode(err)
}

func (a *app) newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "commyfs",
		Short: "Shared variables as files",
		Long: "commyfs presents shared variables, named tenant/service/variable, as files.\n\n" +
			"Without --server, commands use your own server on this machine and start it if need be.\n\n" + exitHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs, // or cobra's own error comes first, which is not known as one of usage
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q: see commyfs --help", args[0])
			}
			return cmd.Help()
		},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return a.configure(cmd.Flags(), cmd.Root())
		},
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%w: see %s --help", err, cmd.CommandPath())
	})
	root.AddCommand(
		a.newMountCommand(),
		a.newUmountCommand(),
		a.newServeCommand(),
		a.newGetCommand(),
		a.newSetCommand(),
		a.newRmCommand(),
		a.newLsCommand(),
		a.newStatCommand(),
		a.newWatchCommand(),
		a.newStatusCommand(),
		a.newKeyCommand(),
		a.newVersionCommand(),
		a.newBenchCommand(), a.newBenchFSCommand(),
	)
	return root
}

// takes is an argument check whose failure counts as wrong usage; most below 0 means any number.
func takes(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usagef("%s: argument missing: usage: %s", cmd.CommandPath(), cmd.UseLine())
		case most >= 0 && len(args) > most:
			return usagef("%s: unexpected argument %q: usage: %s", cmd.CommandPath(), args[most], cmd.UseLine())
		}
		return nil
	}
}

// numbersLast moves arguments such as -21.5 behind a "--", so that `set plant/line1/temp -21.5` sets a value. No flag of
// ours begins with a digit.
func numbersLast(args []string) []string {
	end := slices.Index(args, "--")
	if end < 0 {
		end = len(args)
	}
	var flags, numbers []string
	for _, arg := range args[:end] {
		if len(arg) > 1 && arg[0] == '-' && (arg[1] == '.' || '0' <= arg[1] && arg[1] <= '9') {
			numbers = append(numbers, arg)
		} else {
			flags = append(flags, arg)
		}
	}
	if numbers == nil {
		return args
	}
	out := append(append(flags, "--"), numbers...)
	if end < len(args) {
		out = append(out, args[end+1:]...)
	}
	return out
}
