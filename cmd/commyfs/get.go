package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/commy-project/commyfs"
	"github.com/commy-project/commyfs/internal/jsonline"
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
	return a.withClient(ctx, &o.common, "get", func(c *commyfs.Client) error {
		for _, p := range paths {
			e, err := p.service(c).Get(ctx, p.Name)
			if err != nil {
				return explain(p, err, c.Limits())
			}
			if o.json() {
				err = writeJSON(a.stdout, valueJSON{describe(&e.Info), e.Value})
			} else {
				_, err = a.stdout.Write(e.Value)
			}
			if err != nil {
				return fmt.Errorf("write: %w", err)
			}
		}
		return nil
	})
}

// entryJSON is an entry in the JSON output of get, ls and stat.
type entryJSON struct {
	Path    string `json:"path"`
	RawPath []byte `json:"path_base64,omitempty"` // if it is not valid UTF-8
	Type    string `json:"type"`                  // "tenant", "service", "directory" or "variable"
	ID      uint64 `json:"id"`
	Version uint64 `json:"version,omitempty"` // this and the following: of a variable
	Size    *int64 `json:"size,omitempty"`
	Mode    string `json:"mode"` // octal
	MTime   string `json:"mtime"`
	Writer  string `json:"writer,omitempty"`
	Bare    int64  `json:"bare,omitempty"`   // bytes of a bare service
	Memory  string `json:"memory,omitempty"` // its file, on this host
	Bell    string `json:"bell,omitempty"`
}

type valueJSON struct {
	entryJSON
	Value []byte `json:"value_base64"`
}

func describe(i *commyfs.Info) entryJSON {
	p := path(i.Path())
	out := entryJSON{Path: p.String(), RawPath: raw(p.String()), ID: i.ID, Mode: formatMode(i.Mode, i.Dir), MTime: formatTime(i.Time)}
	switch {
	case p.Service == "":
		out.Type = "tenant"
	case p.Name == "":
		out.Type, out.Bare = "service", i.Bare
	case i.Dir:
		out.Type = "directory"
	default:
		out.Type, out.Version, out.Size, out.Writer = "variable", i.Version, &i.Size, i.Writer
	}
	return out
}

// formatMode formats permission bits as for chmod(1).
func formatMode(m commyfs.Mode, dir bool) string { return jsonline.Mode(m, dir) }

func formatTime(t time.Time) string { return jsonline.Time(t) }

func formatNano(ns int64) string { return formatTime(time.Unix(0, ns)) }
