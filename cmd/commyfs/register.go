package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/commy-project/commyfs"
)

type registerOptions struct {
	common
	offset, size int64
	placed       bool // --offset is given
	typ          string
	order        string
	overlap      bool
	layout       string
}

func (a *app) newRegisterCommand() *cobra.Command {
	var o registerOptions
	cmd := &cobra.Command{
		Use:   "register PATH (NAME --offset N [--type TYPE] [--size N] | --layout FILE)",
		Short: "Register variables of a bare service",
		Long: "Make a part of a bare service's memory a variable, NAME. Its value is what the memory has there: the bytes (raw), a\n" +
			"text that ends at the first NUL (text), or a number as text (bool, u8 to u64, i8 to i64, f32, f64).\n\n" +
			"With --layout, register all variables of a YAML file, or none if one is wrong; - prints the layout that there is:\n\n" +
			"  variables:\n" +
			"    temp: {offset: 0, type: f64}\n" +
			"    serial: {offset: 8, type: text, size: 16}",
		Args:              takes(1, 2),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.placed = cmd.Flags().Changed("offset")
			return a.runRegister(cmd.Context(), &o, args)
		},
	}
	o.common.addFlags(cmd.Flags())
	f := cmd.Flags()
	f.Var(sizeValue{&o.offset}, "offset", "where the variable begins in the memory")
	f.Var(sizeValue{&o.size}, "size", "how many bytes it has; a number's type says so")
	f.StringVar(&o.typ, "type", "raw", "`type`: raw, text, bool, u8, u16, u32, u64, i8, i16, i32, i64, f32 or f64")
	f.StringVar(&o.order, "byte-order", "le", "`order` of a number's bytes: le or be")
	f.BoolVar(&o.overlap, "overlap", false, "allow it to have bytes in common with other variables")
	f.StringVar(&o.layout, "layout", "", "register the variables of this YAML `file`; - prints those that are registered")
	return cmd
}

func (a *app) runRegister(ctx context.Context, o *registerOptions, args []string) error {
	p, err := parseService(args[0])
	if err != nil {
		return err
	}
	if o.layout != "" {
		if len(args) > 1 || o.placed {
			return usagef("register: --layout takes the place of NAME and --offset")
		}
		return a.runLayout(ctx, o, p)
	}
	if len(args) < 2 {
		return usagef("register: missing argument: the variable's NAME, or --layout")
	}
	if !o.placed {
		return usagef("register: --offset is missing")
	}
	name, err := parseVariable(p.String() + "/" + args[1])
	if err != nil {
		return err
	}
	l, err := layoutYAML{Offset: o.offset, Size: o.size, Type: o.typ, Order: o.order}.layout()
	if err != nil {
		return usagef("register: %w", err)
	}
	return a.withClient(ctx, &o.common, "register", func(c *commyfs.Client) error {
		err := p.service(c).Register(ctx, name.Name, l, commyfs.RegisterOptions{Overlap: o.overlap})
		if errors.Is(err, commyfs.ErrExists) {
			err = fmt.Errorf("%w with another layout: unregister it first, or use --layout", err)
		}
		if err != nil {
			return explain(name, err, c.Limits())
		}
		return nil
	})
}

// runLayout registers the variables of a file, or prints those that are registered.
func (a *app) runLayout(ctx context.Context, o *registerOptions, p path) error {
	if o.layout == "-" {
		return a.withClient(ctx, &o.common, "register", func(c *commyfs.Client) error {
			info, err := p.service(c).Stat(ctx, "")
			if err == nil && info.Bare == 0 {
				err = usagef("it is not a bare service")
			}
			var there map[string]commyfs.Layout
			if err == nil {
				there, err = p.service(c).Registered(ctx)
			}
			if err != nil {
				return explain(p, err, c.Limits())
			}
			return printLayout(a.stdout, info.Bare, there)
		})
	}
	data, err := os.ReadFile(o.layout)
	if err != nil {
		return err
	}
	layout, err := parseLayout(data)
	if err != nil {
		return usagef("%s: %w", o.layout, err)
	}
	if !o.overlap {
		if err := layout.checkOverlaps(); err != nil {
			return usagef("%s: %w", o.layout, err)
		}
	}
	return a.withClient(ctx, &o.common, "register", func(c *commyfs.Client) error {
		s := p.service(c)
		var ops []commyfs.Op
		for _, v := range layout {
			ops = append(ops, s.OpRegister(v.name, v.layout, commyfs.RegisterOptions{Overlap: v.overlap || o.overlap, Replace: true}))
		}
		done := 0
		for part := range slices.Chunk(ops, maxTxn) {
			_, err := c.Txn(ctx, part...)
			var at *commyfs.TxnError
			switch {
			case errors.As(err, &at) && at.Index < len(part):
				v := layout[done+at.Index]
				err = fmt.Errorf("%s: line %d: %w", o.layout, v.line, explain(path{p.Tenant, p.Service, v.name}, err, c.Limits()))
			case err != nil:
				err = explain(p, err, c.Limits())
			}
			if err != nil && done > 0 {
				err = fmt.Errorf("%w; the first %d variables of the file are registered", err, done)
			}
			if err != nil {
				return err
			}
			done += len(part)
		}
		return nil
	})
}

// maxTxn is how many changes a server makes atomically.
const maxTxn = 1000

func (a *app) newUnregisterCommand() *cobra.Command {
	var o rmOptions
	cmd := &cobra.Command{
		Use:   "unregister PATH NAME...",
		Short: "Unregister variables of a bare service",
		Long:  "Make parts of a bare service's memory (tenant/service) no variables any more. The bytes stay as they are.",
		Args:  takes(2, -1), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error { return a.runUnregister(cmd.Context(), &o, args) },
	}
	o.common.addFlags(cmd.Flags())
	return cmd
}

func (a *app) runUnregister(ctx context.Context, o *rmOptions, args []string) error {
	p, err := parseService(args[0])
	if err != nil {
		return err
	}
	for i, name := range args[1:] {
		args[1+i] = p.String() + "/" + name
	}
	paths, err := parseVariables(args[1:])
	if err != nil {
		return err
	}
	return a.withClient(ctx, &o.common, "unregister", func(c *commyfs.Client) error {
		there, err := p.service(c).Registered(ctx)
		if err != nil {
			return explain(p, err, c.Limits())
		}
		var errs []error
		for _, p := range paths {
			err := commyfs.ErrNotFound
			if _, ok := there[p.Name]; ok {
				err = p.service(c).Delete(ctx, p.Name)
			}
			if err != nil {
				errs = append(errs, explain(p, err, c.Limits()))
			}
		}
		return errors.Join(errs...)
	})
}
