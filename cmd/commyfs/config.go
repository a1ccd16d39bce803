package main

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/commy-project/commyfs/internal/trust"
)

// This annotation marks options that can also be set as COMMYFS_<NAME> in the environment and as a key in config.yaml.
// Flags override the environment, which overrides the file, which overrides the default.
const configurable = "commyfs_configurable"

func markConfigurable(fs *pflag.FlagSet, names ...string) {
	for _, name := range names {
		if err := fs.SetAnnotation(name, configurable, nil); err != nil {
			panic(err) // not the name of a flag: every test would notice
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

// apiKeyEnv holds the key itself: other users can see arguments, but not the environment.
const apiKeyEnv = "COMMYFS_API_KEY"

// configure sets flags that are not on the command line from the environment and the file. Only flags on the command line
// count as changed.
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
	if !fs.Changed("auto") { // the file configures a server for other hosts; a server that a mount starts is for this machine only
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
			if err := give(fs, f, "environment variable "+envName(f.Name), v); err != nil {
				return err
			}
			continue
		}
		values := file.values[f.Name]
		if _, list := f.Value.(pflag.SliceValue); !list && len(values) > 1 {
			return usagef("%s: %s: must be a single value", file.path, f.Name)
		}
		for _, v := range values {
			if slices.Contains(pathFlags, f.Name) {
				v = a.pathInFile(v, file.path)
			}
			if err := give(fs, f, file.path+": "+f.Name, v); err != nil {
				return err
			}
		}
	}
	return nil
}

// This annotation records where an option's value comes from, if not from the command line.
const givenBy = "commyfs_given_by"

func give(fs *pflag.FlagSet, f *pflag.Flag, from, value string) error {
	if err := fs.Set(f.Name, value); err != nil {
		return usagef("%s %q: %w", from, value, reason(f, err))
	}
	f.Changed = false
	f.Annotations[givenBy] = []string{from}
	return nil
}

// origin names an option in errors as the user set it.
func origin(fs *pflag.FlagSet, name string) string {
	if f := fs.Lookup(name); f != nil && f.Annotations[givenBy] != nil {
		return f.Annotations[givenBy][0]
	}
	return "--" + name
}

// reason says what is wrong with a flag's value, in plain words instead of pflag's and strconv's.
func reason(f *pflag.Flag, err error) error {
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		err = invalid.Unwrap()
	}
	switch f.Value.Type() {
	case "bool":
		return errors.New("must be true or false")
	case "duration":
		return errors.New("must be a duration such as 5s or 500ms")
	case "uint32", "uint64":
		return errors.New("must be a number, 0 or greater")
	}
	return err
}

// pathFlags are the options that name a file or a directory.
var pathFlags = []string{"api-key-file", "ca", "cert", "key", "state-dir", "runtime-dir", "tls-cert", "tls-key"}

// pathInFile resolves a path in config.yaml: relative to the file, because the working directory varies, and with "~/" for
// the home directory, because no shell expands it.
func (a *app) pathInFile(p, file string) string {
	if rest, ok := strings.CutPrefix(p, "~/"); ok {
		return filepath.Join(a.getenv("HOME"), rest)
	}
	if p == "" || filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(filepath.Dir(file), p)
}

// configFile is the contents of config.yaml: several values for a list, otherwise one.
type configFile struct {
	path   string
	values map[string][]string
}

func (a *app) readConfig(root *cobra.Command) (*configFile, error) {
	c := &configFile{}
	dir, err := a.xdgDir("XDG_CONFIG_HOME", ".config")
	if err != nil {
		return c, nil // without a home there is no file
	}
	c.path = filepath.Join(dir, "commyfs", "config.yaml")
	data, err := trust.ReadObeyed(c.path)
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
	var doc yaml.Node
	err := yaml.Unmarshal(data, &doc)
	if err == nil && len(doc.Content) > 0 && doc.Content[0].Kind != yaml.MappingNode {
		return nil, fmt.Errorf("line %d: expected lines such as \"timeout: 5s\"", doc.Content[0].Line)
	}
	var raw map[string]yaml.Node
	if err == nil {
		err = yaml.Unmarshal(data, &raw)
	}
	if err != nil {
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
				return nil, fmt.Errorf("line %d: %s: must be a value or a list of values", item.Line, key)
			}
			values[key] = append(values[key], item.Value)
		}
	}
	return values, nil
}

// xdgDir is a directory of the XDG base directory specification, which says to ignore relative paths.
func (a *app) xdgDir(env, inHome string) (string, error) {
	if dir := a.getenv(env); filepath.IsAbs(dir) {
		return dir, nil
	}
	if home := a.getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, inHome), nil
	}
	return "", errors.New("HOME is not set")
}
