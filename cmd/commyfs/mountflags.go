package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// mountFlags is -o: options in the form of mount(8) and /etc/fstab. Each sets the flag of the same name.
type mountFlags struct {
	fs *pflag.FlagSet
}

// Options of mount(8) that are meant for other programs or always apply: mounts are always nosuid and nodev.
var ignoredMountOptions = []string{"_netdev", "rw", "auto", "noauto", "user", "nouser", "users", "nofail", "defaults", "exec", "nosuid",
	"nodev", "noatime", "relatime", "async"}

// Flags that make no sense in -o.
var notMountOptions = []string{"option", "help"}

// Set implements [pflag.Value].
func (m *mountFlags) Set(list string) error {
	for option := range strings.SplitSeq(list, ",") {
		key, value, hasValue := strings.Cut(option, "=")
		if key == "" || slices.Contains(ignoredMountOptions, key) || strings.HasPrefix(key, "x-") {
			continue
		}
		if key == "ro" {
			key = "read_only"
		}
		name := strings.ReplaceAll(key, "_", "-")
		f := m.fs.Lookup(name)
		if f == nil || slices.Contains(notMountOptions, name) {
			return fmt.Errorf("unknown option %q", key)
		}
		if !hasValue {
			if f.NoOptDefVal == "" {
				return fmt.Errorf("option %s requires a value: %s=VALUE", key, key)
			}
			value = f.NoOptDefVal
		}
		if err := m.fs.Set(name, value); err != nil {
			return fmt.Errorf("option %s: %w", key, reason(f, err))
		}
	}
	return nil
}

// String implements [pflag.Value].
func (m *mountFlags) String() string { return "" }

// Type implements [pflag.Value].
func (m *mountFlags) Type() string { return "options" }
