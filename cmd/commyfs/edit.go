package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/commy-project/commyfs"
)

func (a *app) newEditCommand() *cobra.Command {
	var o common
	cmd := &cobra.Command{
		Use:   "edit PATH",
		Short: "Edit a variable",
		Long: "Edit a variable (tenant/service/variable) with the program in VISUAL or EDITOR, or vi. The new value is set if nobody else\n" +
			"has changed the variable meanwhile; otherwise the command offers to merge the changes, to edit again, to overwrite or\n" +
			"to abort, or, without a terminal, exits with code 6. What was edited and not set stays in a file, whose name is printed.\n" +
			"A variable that does not exist is created. If the editor fails, or changes nothing, the variable stays as it is.",
		Args:              takes(1, 1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.runEdit(cmd.Context(), &o, args[0]) },
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func (a *app) runEdit(ctx context.Context, o *common, arg string) error {
	p, err := parseVariable(arg)
	if err != nil {
		return err
	}
	return a.withClient(ctx, o, "edit", func(c *commyfs.Client) error {
		e := &edit{a: a, c: c, path: p}
		if err := e.begin(ctx); err != nil {
			return err
		}
		// The editor's keys can be those that interrupt us: from here on what was typed is not to be lost by them.
		e.signals = make(chan os.Signal, 1)
		signal.Notify(e.signals, endSignals()...)
		defer signal.Stop(e.signals)
		err := e.run(context.WithoutCancel(ctx))
		return errors.Join(err, e.end(err))
	})
}

// edit is the editing of a variable. Its directory has what is edited, and is there until that is set, or not wanted any more.
type edit struct {
	a       *app
	c       *commyfs.Client
	path    path
	signals chan os.Signal

	dir, file string
	version   uint64 // that the edited value is to replace; 0: there is no variable
	was       []byte // the value of this version
	asWritten []byte // what the file had when the editor was started last
	discard   bool   // nothing in the directory is of use any more
}

// begin reads the variable and writes its value into a file that nobody else can read.
func (e *edit) begin(ctx context.Context) error {
	v, err := e.get(ctx)
	if err != nil {
		return explain(e.path, err, e.c.Limits())
	}
	e.version, e.was = v.Version, v.Value
	if e.dir, err = os.MkdirTemp("", "commyfs-edit-"); err != nil { // mode 0700
		return err
	}
	e.file = filepath.Join(e.dir, cmp.Or(e.path.base(), "value")) // editors go by the name's ending
	if err := e.write(e.was); err != nil {
		return errors.Join(err, os.RemoveAll(e.dir))
	}
	return nil
}

// get reads the variable. One that does not exist has version 0.
func (e *edit) get(ctx context.Context) (commyfs.Entry, error) {
	v, err := e.path.service(e.c).Get(ctx, e.path.Name)
	if errors.Is(err, commyfs.ErrNotFound) {
		return commyfs.Entry{}, nil
	}
	return v, err
}

func (e *edit) write(value []byte) error {
	e.asWritten = value
	return os.WriteFile(e.file, value, 0o600)
}

// run edits until the value is set, or is not to be.
func (e *edit) run(ctx context.Context) error {
	for {
		value, err := e.editor()
		if err != nil {
			return err
		}
		if bytes.Equal(value, e.was) && e.version != 0 || len(value) == 0 && e.version == 0 {
			e.discard = true
			fmt.Fprintf(e.a.stderr, "commyfs: %s: not changed\n", e.path.shown())
			return nil
		}
		again, err := e.commit(ctx, value)
		if !again {
			return err
		}
	}
}

// editor has the file edited and returns what it holds then.
func (e *edit) editor() ([]byte, error) {
	program := cmp.Or(e.a.getenv("VISUAL"), e.a.getenv("EDITOR"), "vi")
	cmd := exec.Command("sh", "-c", program+` "$@"`, program, e.file)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = e.a.stdin, e.a.stdout, e.a.stderr
	failed := cmd.Run()
	var ended error
	select {
	case s := <-e.signals:
		if s != os.Interrupt { // that is one of the editor's keys
			ended = context.Canceled
		}
	default:
	}
	value, err := os.ReadFile(e.file)
	if err == nil {
		e.discard = bytes.Equal(value, e.asWritten) && bytes.Equal(value, e.was)
	}
	switch {
	case ended != nil:
		return nil, ended
	case failed != nil:
		return nil, fmt.Errorf("%s: not changed: editor %s: %w", e.path.shown(), program, failed)
	case err != nil:
		return nil, fmt.Errorf("%s: not changed: %w", e.path.shown(), err)
	}
	return value, nil
}

// end removes the files, unless something was typed that has got nowhere else: then it says where that is.
func (e *edit) end(err error) error {
	if err == nil || e.discard {
		return os.RemoveAll(e.dir)
	}
	fmt.Fprintf(e.a.stderr, "commyfs: what was edited is in %s\n", e.file)
	return nil
}
