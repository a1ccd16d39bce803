package main

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// Options that can also be given as COMMYFS_<NAME> in the environment and as a key in config.yaml carry this annotation.
// An explicit flag wins over the environment, that over the file, that over the default.
const configurable = "commyfs_configurable"

func markConfigurable(fs *pflag.FlagSet, names ...string) {
	for _, name := range names {
		if err := fs.SetAnnotation(name, configurable, nil); err != nil {
			panic(err) // a name that is not a flag's: no test could miss it
		}
	}
}

func isConfigurable(f *pflag.Flag) bool {
	_, ok := f.Annotations[configurable]
	return ok
}

func envName(flag string) string {
	return "COMMYFS_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// apiKeyEnv holds the secret itself: the environment is not for all to see, the arguments are.
const apiKeyEnv = "COMMYFS_API_KEY"

// configure gives the flags that are not set the values of the environment and the file.
func (a *app) configure(fs *pflag.FlagSet, root *cobra.Command) error {
	var missing []*pflag.Flag
	fs.VisitAll(func(f *pflag.Flag) {
		if isConfigurable(f) && !f.Changed {
			missing = append(missing, f)
		}
	})
	if len(missing) == 0 {
		return nil
	}
	file := &configFile{}
	if !fs.Changed("auto") { // the file says how to serve others; a server that a mount starts is for this machine
		var err error
		if file, err = a.readConfig(root); err != nil {
			return err
		}
	}
	for _, f := range missing {
		if f.Name == "api-key-file" && a.getenv(apiKeyEnv) != "" {
			continue
		}
		if v := a.getenv(envName(f.Name)); v != "" {
			if err := fs.Set(f.Name, v); err != nil {
				return usagef("environment variable %s: %w", envName(f.Name), reason(err))
			}
			continue
		}
		values := file.values[f.Name]
		if _, list := f.Value.(pflag.SliceValue); !list && len(values) > 1 {
			return usagef("%s: %s: want one value", file.path, f.Name)
		}
		for _, v := range values {
			if err := fs.Set(f.Name, v); err != nil {
				return usagef("%s: %s: %w", file.path, f.Name, reason(err))
			}
		}
	}
	return nil
}

// reason strips pflag's "invalid argument ... for ... flag", as the value did not come from a flag.
func reason(err error) error {
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		return invalid.Unwrap()
	}
	return err
}

// configFile is what config.yaml says: several values for a list, one for anything else.
type configFile struct {
	path   string
	values map[string][]string
}

func (a *app) readConfig(root *cobra.Command) (*configFile, error) {
	c := &configFile{}
	dir, err := a.xdgDir("XDG_CONFIG_HOME", ".config")
	if err != nil {
		return c, nil // no home, no file
	}
	c.path = filepath.Join(dir, "commyfs", "config.yaml")
	data, err := os.ReadFile(c.path)
	if errors.Is(err, iofs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, usagef("%w", err)
	}
	if c.values, err = parseConfig(data); err != nil {
		return nil, usagef("%s: %w", c.path, err)
	}
	known := map[string]bool{}
	for _, cmd := range append(root.Commands(), root) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) { known[f.Name] = known[f.Name] || isConfigurable(f) })
	}
	for key := range c.values {
		if !known[key] {
			return nil, usagef("%s: unknown key %q", c.path, key)
		}
	}
	return c, nil
}

func parseConfig(data []byte) (map[string][]string, error) {
	var raw map[string]yaml.Node
	if err := yaml.Unmarshal(data, &raw); err != nil {
		return nil, errors.New(strings.Join(strings.Fields(err.Error()), " "))
	}
	values := make(map[string][]string, len(raw))
	for key, node := range raw {
		items := []*yaml.Node{&node}
		if node.Kind == yaml.SequenceNode {
			items = node.Content
		}
		for _, item := range items {
			if item.Kind != yaml.ScalarNode {
				return nil, fmt.Errorf("line %d: %s: want a value or a list of values", item.Line, key)
			}
			values[key] = append(values[key], item.Value)
		}
	}
	return values, nil
}

// xdgDir is a directory of the XDG base directory specification, which has relative ones ignored.
func (a *app) xdgDir(env, inHome string) (string, error) {
	if dir := a.getenv(env); filepath.IsAbs(dir) {
		return dir, nil
	}
	if home := a.getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, inHome), nil
	}
	return "", errors.New("HOME is not set")
}
