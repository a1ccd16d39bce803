package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

type getOptions struct {
	common
	output
}

func (a *app) newGetCommand() *cobra.Command {
	var o getOptions
	cmd := &cobra.Command{
		Use:   "get PATH...",
		Short: "Print the values of variables",
		Long: "Print the values of variables (tenant/service/variable) byte for byte, one after the other.\n" +
			"With --output json, print one line for each variable.",
		Args:              takes(1, -1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.runGet(cmd.Context(), &o, args) },
	}
	o.common.addFlags(cmd.Flags())
	o.output.addFlags(cmd.Flags())
	return cmd
}

func (a *app) runGet(ctx context.Context, o *getOptions, args []string) error {
	paths, err := parseVariables(args)
	if err != nil {
		return err
	}
	return a.withClient(ctx, &o.common, "get", func(c *varsync.Client) error {
		for _, p := range paths {
			v, err := readVariable(ctx, c, p, false)
			if err != nil {
				return err
			}
			if o.json() {
				err = writeJSON(a.stdout, valueJSON{describe(p, v), v.Data})
			} else {
				_, err = a.stdout.Write(v.Data)
			}
			if err != nil {
				return fmt.Errorf("write: %w", err)
			}
		}
		return nil
	})
}

func readVariable(ctx context.Context, c *varsync.Client, p path, stat bool) (*model.Variable, error) {
	v, err := c.Read(ctx, &model.Read{Tenant: p.tenant, Service: p.service, Name: p.name, Stat: stat})
	if err != nil {
		return nil, explain(p, err, c.Limits())
	}
	return v, nil
}

// entryJSON describes what has a path: a line of get, ls and stat --output json.
type entryJSON struct {
	Path    string `json:"path"`
	RawPath []byte `json:"path_base64,omitempty"` // of one that is no UTF-8
	Type    string `json:"type"`                  // "tenant", "service", "directory" or "variable"
	ID      uint64 `json:"id"`
	Version uint64 `json:"version,omitempty"` // of a variable, as what follows
	Size    *int64 `json:"size,omitempty"`
	Mode    string `json:"mode"` // octal
	MTime   string `json:"mtime"`
	Writer  string `json:"writer,omitempty"`
}

type valueJSON struct {
	entryJSON
	Value []byte `json:"value_base64"`
}

func describe(p path, v *model.Variable) entryJSON {
	return entryJSON{p.String(), raw(p.String()), "variable", v.ID, v.Version, &v.Size, formatMode(v.Mode, false), formatTime(v.MTime), v.Writer}
}

// formatMode shows permission bits as chmod(1) takes them.
func formatMode(m model.Mode, dir bool) string { return fmt.Sprintf("%04o", m.Perm(dir)) }

// formatTime shows Unix nanoseconds, to the nanosecond: times of changes are not alike.
func formatTime(ns int64) string {
	return time.Unix(0, ns).UTC().Format("2006-01-02T15:04:05.000000000Z")
}
