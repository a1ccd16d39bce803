package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// configuration is the result of reading the options.
type configuration struct {
	finding finding
	usable  bool // the options are valid
}

// examineConfig sets the options. It returns an error only for the command line.
func (a *app) examineConfig(cmd *cobra.Command, o *doctorOptions) (*configuration, error) {
	err := a.configure(cmd.Flags(), cmd.Root())
	if err == nil {
		err = a.resolveAround(o)
		typed := slices.ContainsFunc([]string{"timeout", "cert", "key", "ca", "api-key-file"}, cmd.Flags().Changed)
		if err != nil && typed {
			return nil, err
		}
	}
	c := &configuration{usable: err == nil}
	if err == nil { // options of other commands can be wrong too
		for _, other := range a.newRootCommand().Commands() {
			if err = a.configure(other.Flags(), cmd.Root()); err != nil {
				break
			}
		}
	}
	c.finding = good("config", "%s", a.configName())
	if err != nil {
		c.finding = troubled("config", err, "fix it")
	}
	return c, nil
}

// resolveAround checks the options except the servers' URLs, which have their own check.
func (a *app) resolveAround(o *doctorOptions) error {
	given := o.server
	if len(given) > 0 {
		o.server = []string{"unix:///"}
	}
	err := o.resolve(a)
	o.server = given
	return err
}

func (a *app) configName() string {
	dir, err := a.xdgDir("XDG_CONFIG_HOME", ".config")
	if err != nil {
		return "no config.yaml: " + err.Error()
	}
	name := filepath.Join(dir, "commyfs", "config.yaml")
	if _, err := os.Stat(name); err != nil {
		return "no " + name
	}
	return name
}

// knownVariables are the environment variables that commands read.
func knownVariables(root *cobra.Command) []string {
	known := map[string]bool{apiKeyEnv: true, "COMMYFS_DIFF": true, readyEnv: true, doctorEnv: true}
	for _, cmd := range root.Commands() {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if isConfigurable(f) {
				known[envName(f.Name)] = true
			}
		})
	}
	return slices.Sorted(maps.Keys(known))
}

// judgeEnvironment shows only names: the value of a misspelt variable may be a secret.
func judgeEnvironment(environ, known []string) finding {
	similar := &cobra.Command{SuggestionsMinimumDistance: 2}
	for _, name := range known {
		similar.AddCommand(&cobra.Command{Use: strings.TrimPrefix(name, "COMMYFS_"), Run: func(*cobra.Command, []string) {}})
	}
	var set, unknown, fixes []string
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		switch {
		case !strings.HasPrefix(name, "COMMYFS_") || value == "" || name == doctorEnv:
		case slices.Contains(known, name):
			set = append(set, name)
		default:
			unknown = append(unknown, name)
			fix := "unset " + name
			if like := similar.SuggestionsFor(strings.TrimPrefix(name, "COMMYFS_")); len(like) > 0 {
				fix = fmt.Sprintf("did you mean COMMYFS_%s?", strings.Join(like, " or COMMYFS_"))
			}
			fixes = append(fixes, fix)
		}
	}
	slices.Sort(set)
	switch {
	case len(unknown) > 0:
		detail := "unknown variable " + unknown[0] + " ignored"
		if len(unknown) > 1 {
			detail = "unknown variables " + strings.Join(unknown, ", ") + " ignored"
		}
		return good("environment", "%s", detail).but(statusWarn, strings.Join(fixes, ", "))
	case len(set) == 0:
		return good("environment", "no COMMYFS_ variables")
	}
	return good("environment", "%s", strings.Join(set, ", "))
}
