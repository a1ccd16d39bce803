package main

import (
	"encoding/csv"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// explicit returns the options as arguments, wherever they came from: the command line, the environment, the file or the defaults.
// A command with them does the same, whatever has changed meanwhile.
func (o *mountOptions) explicit() (args []string) {
	o.fs.VisitAll(func(f *pflag.Flag) {
		if slices.Contains([]string{"daemon", "option", "help"}, f.Name) {
			return
		}
		name := "--" + f.Name + "="
		if list, ok := f.Value.(pflag.SliceValue); ok {
			for _, v := range list.GetSlice() {
				if f.Value.Type() == "stringSlice" {
					v = listElement(v)
				}
				args = append(args, name+v)
			}
			return
		}
		v := f.Value.String()
		switch {
		case v == "": // not given
		case o.isLocal() && slices.Contains([]string{"ca", "cert", "key", "api-key-file"}, f.Name): // of no meaning, and refused
		default:
			args = append(args, name+v)
		}
	})
	return args
}

// listElement is an element of a comma list.
func listElement(v string) string {
	var b strings.Builder
	w := csv.NewWriter(&b)
	_ = w.Write([]string{v}) // a strings.Builder takes all
	w.Flush()
	return strings.TrimSuffix(b.String(), "\n")
}
