package main

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/commy-project/commyfs/internal/names"
)

// effective has the options of a mount as they are, each on a line in the form of config.yaml, and where it has its value from.
// No option holds a secret: keys are in files or in the environment.
func (o *mountOptions) effective() string {
	var b strings.Builder
	o.fs.VisitAll(func(f *pflag.Flag) {
		if f.Name == "option" || f.Name == "help" {
			return
		}
		from := "default"
		if f.Changed || f.Annotations[givenBy] != nil {
			from = origin(o.fs, f.Name)
		}
		fmt.Fprintf(&b, "%s: %s # %s\n", f.Name, names.Printable(f.Value.String()), names.Printable(from))
	})
	return b.String()
}
