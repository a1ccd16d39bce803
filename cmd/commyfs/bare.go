package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/commy-project/commyfs"
)

// parseService reads the path of a service.
func parseService(s string) (path, error) {
	p, err := parsePath(s)
	if err == nil && (p.Service == "" || p.Name != "") {
		err = usagef("path %q: must be tenant/service", s)
	}
	return p, err
}

// sizeValue is a flag for a number of bytes: 4096, 64K, 1M or 1G.
type sizeValue struct{ n *int64 }

func (v sizeValue) String() string {
	if v.n == nil || *v.n == 0 {
		return ""
	}
	return strconv.FormatInt(*v.n, 10)
}

// Set implements pflag.Value.
func (v sizeValue) Set(s string) error {
	digits := strings.TrimRight(s, "KMG")
	factor, ok := map[string]int64{"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}[s[len(digits):]]
	n, err := strconv.ParseInt(digits, 0, 64)
	if err != nil || !ok || n < 0 || n > (1<<62)/factor {
		return fmt.Errorf("not a number of bytes such as 4096, 64K, 1M or 1G")
	}
	*v.n = n * factor
	return nil
}

// Type implements pflag.Value.
func (v sizeValue) Type() string { return "bytes" }

type createOptions struct {
	common
	size int64
}

func (a *app) newCreateCommand() *cobra.Command {
	var o createOptions
	cmd := &cobra.Command{
		Use:   "create PATH --size BYTES",
		Short: "Create a bare service",
		Long: "Create a bare service (tenant/service): shared memory of that size, all 0, rounded up to whole pages of 4096 bytes.\n" +
			"Programs on the server's host map its file, .service.mem in the service's directory of a mount. `commyfs register`\n" +
			"makes parts of it variables.",
		Args:              takes(1, 1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.size == 0 {
				return usagef("create: --size is missing")
			}
			return a.runSize(cmd.Context(), &o, args, (*commyfs.Service).CreateBare)
		},
	}
	o.common.addFlags(cmd.Flags())
	cmd.Flags().Var(sizeValue{&o.size}, "size", "size of the memory, such as 4096, 64K or 1M")
	return cmd
}

func (a *app) newResizeCommand() *cobra.Command {
	var o createOptions
	cmd := &cobra.Command{
		Use:   "resize PATH --size BYTES",
		Short: "Give a bare service another size",
		Long: "Give a bare service (tenant/service) another size, rounded up to whole pages of 4096 bytes. Nothing moves: programs\n" +
			"that have mapped it go on, and see what they have mapped. A registered variable behind the new end is a conflict.",
		Args:              takes(1, 1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.size == 0 {
				return usagef("resize: --size is missing")
			}
			return a.runSize(cmd.Context(), &o, args, (*commyfs.Service).Resize)
		},
	}
	o.common.addFlags(cmd.Flags())
	cmd.Flags().Var(sizeValue{&o.size}, "size", "new size of the memory, such as 4096, 64K or 1M")
	return cmd
}

func (a *app) runSize(ctx context.Context, o *createOptions, args []string, do func(*commyfs.Service, context.Context, int64) error) error {
	p, err := parseService(args[0])
	if err != nil {
		return err
	}
	return a.withClient(ctx, &o.common, "create", func(c *commyfs.Client) error {
		if err := do(p.service(c), ctx, o.size); err != nil {
			return explain(p, err, c.Limits())
		}
		return nil
	})
}
