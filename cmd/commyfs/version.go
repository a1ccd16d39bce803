package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/commy-project/commyfs/diff"
)

// version is set at link time: -X main.version=v1.2.3.
var version string

func currentVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

type versionJSON struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
	Diff    string `json:"diff"` // how values are compared on this processor
}

func (a *app) newVersionCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  takes(0, 0),
		RunE: func(*cobra.Command, []string) error {
			v := versionJSON{currentVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH, diff.Implementation()}
			if o.json() {
				return writeJSON(a.stdout, v)
			}
			_, err := fmt.Fprintf(a.stdout, "commyfs %s (%s, %s/%s, diff %s)\n", v.Version, v.Go, v.OS, v.Arch, v.Diff)
			return err
		},
	}
	o.addFlags(cmd.Flags())
	return cmd
}
