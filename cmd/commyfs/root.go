package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/commy-project/commyfs/diff"
)

// app is the environment of a command.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
}

// run carries out a command line and returns the exit code.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.newRootCommand()
	err := checkCommand(root, args)
	if err == nil {
		root.SetArgs(numbersLast(root, args))
		err = root.ExecuteContext(ctx)
	}
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
		Long: "commyfs presents shared variables (tenant/service/variable) as files.\n\n" +
			"Without --server, commands use your own server on this machine and start it if needed.\n\n" + exitHelp,
		Version:       currentVersion(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs, // see checkCommand
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if name := a.getenv("COMMYFS_DIFF"); name != "" {
				if err := diff.Use(name); err != nil {
					return usagef("COMMYFS_DIFF: %w", err)
				}
			}
			return a.configure(cmd.Flags(), cmd.Root())
		},
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		var invalid *pflag.InvalidValueError
		if errors.As(err, &invalid) {
			f := invalid.GetFlag()
			return usagef("--%s %q: %w", f.Name, invalid.GetValue(), reason(f, err))
		}
		return usagef("%w: see %s --help", err, cmd.CommandPath())
	})
	root.SetVersionTemplate("commyfs {{.Version}}\n")
	root.SetHelpCommand(newHelpCommand())
	root.AddCommand(
		a.newMountCommand(),
		a.newUmountCommand(),
		a.newServeCommand(),
		a.newGetCommand(),
		a.newSetCommand(),
		a.newIncrCommand(),
		a.newEditCommand(),
		a.newRmCommand(),
		a.newLsCommand(),
		a.newStatCommand(),
		a.newWatchCommand(),
		a.newLocksCommand(),
		a.newCreateCommand(),
		a.newResizeCommand(),
		a.newRegisterCommand(),
		a.newUnregisterCommand(),
		a.newStatusCommand(),
		a.newDoctorCommand(),
		a.newOfflineCommand(),
		a.newKeyCommand(),
		a.newVersionCommand(),
		a.newBenchCommand(), a.newBenchFSCommand(),
	)
	return root
}

// takes checks the number of arguments, with usage errors; most below 0 means any number.
func takes(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usagef("%s: missing argument: usage: %s", nameOf(cmd), cmd.UseLine())
		case most >= 0 && len(args) > most:
			return usagef("%s: unexpected argument %q: usage: %s", nameOf(cmd), args[most], cmd.UseLine())
		}
		return nil
	}
}

// nameOf is the command's name without the program's, which precedes every error.
func nameOf(cmd *cobra.Command) string {
	_, name, _ := strings.Cut(cmd.CommandPath(), " ")
	return name
}

// checkCommand refuses an unknown command with a usage error. Cobra's own error is untyped, and with --help there is none.
func checkCommand(root *cobra.Command, args []string) error {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd(args...)
	cmd, rest, err := root.Find(args)
	if err != nil || !cmd.HasSubCommands() {
		return nil
	}
	for _, word := range rest {
		if strings.HasPrefix(word, "-") {
			continue
		}
		if word == cobra.ShellCompRequestCmd || word == cobra.ShellCompNoDescRequestCmd {
			return nil // cobra's own
		}
		return unknownCommand(cmd, word)
	}
	return nil
}

func unknownCommand(cmd *cobra.Command, word string) error {
	cmd.SuggestionsMinimumDistance = 2 // edit distance
	if like := cmd.SuggestionsFor(word); len(like) > 0 {
		return usagef("unknown command %q: did you mean %s?", word, strings.Join(like, " or "))
	}
	return usagef("unknown command %q: see %s --help", word, cmd.CommandPath())
}

// newHelpCommand differs from cobra's in its answer to an unknown command.
func newHelpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Show help for a command",
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil {
				return usagef("%w", err)
			}
			if len(rest) > 0 {
				return unknownCommand(about, rest[0])
			}
			about.InitDefaultHelpFlag()
			about.InitDefaultVersionFlag()
			return about.Help()
		},
	}
}

// numbersLast moves arguments behind a "--" if one of them is a negative number, so that `set plant/line1/temp -21.5` works.
// No flag begins with a digit.
func numbersLast(root *cobra.Command, args []string) []string {
	cmd, rest, err := root.Find(args)
	if err != nil || cmd == root {
		return args
	}
	var flags, operands []string
	number := false
	for i := 0; i < len(rest); i++ {
		arg := rest[i]
		switch {
		case arg == "--":
			operands = append(operands, rest[i+1:]...)
			i = len(rest)
		case isNumber(arg):
			number = true
			operands = append(operands, arg)
		case len(arg) < 2 || arg[0] != '-':
			operands = append(operands, arg)
		default:
			flags = append(flags, arg)
			if takesNext(cmd.Flags(), arg) && i+1 < len(rest) {
				i++
				flags = append(flags, rest[i])
			}
		}
	}
	if !number {
		return args
	}
	out := strings.Fields(cmd.CommandPath())[1:]
	return append(append(append(out, flags...), "--"), operands...)
}

func isNumber(arg string) bool {
	return len(arg) > 1 && arg[0] == '-' && (arg[1] == '.' || '0' <= arg[1] && arg[1] <= '9')
}

// takesNext reports whether the argument after a flag is its value.
func takesNext(fs *pflag.FlagSet, arg string) bool {
	if name, long := strings.CutPrefix(arg, "--"); long {
		f := fs.Lookup(name)
		return f != nil && f.NoOptDefVal == ""
	}
	for i := 1; i < len(arg); i++ {
		if f := fs.ShorthandLookup(arg[i : i+1]); f == nil || f.NoOptDefVal == "" {
			return f != nil && i == len(arg)-1 // otherwise the value is the rest of the argument
		}
	}
	return false
}
