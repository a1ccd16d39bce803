package mountpoint

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// options are checked [Options]: what mount(2) takes as bits, and what it takes as text.
type options struct {
	source  string
	subtype string
	flags   uintptr
	names   []string // the names of flags, as fusermount3 wants them
	data    []string
}

// flagOptions are the options that mount(2) takes as bits and rejects as text.
var flagOptions = map[string]uintptr{
	"rw":         0,
	"exec":       0,
	"nosuid":     unix.MS_NOSUID,
	"nodev":      unix.MS_NODEV,
	"noexec":     unix.MS_NOEXEC,
	"noatime":    unix.MS_NOATIME,
	"nodiratime": unix.MS_NODIRATIME,
}

func parseOptions(o Options) (options, error) {
	out := options{
		source:  o.FSName,
		subtype: o.Subtype,
		flags:   unix.MS_NOSUID | unix.MS_NODEV,
		names:   []string{"nosuid", "nodev"},
	}
	if out.source == "" {
		out.source = Subtype
	}
	if out.subtype == "" {
		out.subtype = Subtype
	}
	if strings.ContainsAny(out.subtype, ",\\/ \t\n") {
		return options{}, fmt.Errorf("subtype %q: use a plain word", out.subtype)
	}
	if strings.ContainsAny(out.source, "\n\x00") {
		return options{}, fmt.Errorf("fsname %q: use a single line", out.source)
	}
	if o.MaxRead < 0 {
		return options{}, fmt.Errorf("max_read %d: use a positive number, or 0 for the kernel's bound", o.MaxRead)
	}
	if o.MaxRead > 0 {
		out.data = append(out.data, fmt.Sprintf("max_read=%d", o.MaxRead))
	}
	if o.AllowOther {
		out.data = append(out.data, "allow_other")
	}
	for _, x := range o.Extra {
		name, _, _ := strings.Cut(x, "=")
		switch name {
		case "ro", "default_permissions":
			return options{}, fmt.Errorf("option %s: commyfs cannot work with it; leave it out", x)
		case "suid", "dev":
			return options{}, fmt.Errorf("option %s: not allowed on a commyfs mount; leave it out", x)
		case "fd", "rootmode", "user_id", "group_id", "max_read", "allow_other", "fsname", "subtype":
			return options{}, fmt.Errorf("option %s: set by commyfs itself; leave it out", x)
		}
		if x == "" || strings.ContainsAny(x, ",\\\n\x00") {
			return options{}, fmt.Errorf("option %q: give one option at a time", x)
		}
		if flag, ok := flagOptions[x]; ok {
			out.flags |= flag
			out.names = append(out.names, x)
			continue
		}
		out.data = append(out.data, x)
	}
	return out, nil
}

func (o options) fsType() string { return "fuse." + o.subtype }

// fusermount is the argument of -o. fusermount3 splits at commas and takes a backslash for an escape.
func (o options) fusermount() string {
	escape := strings.NewReplacer(`\`, `\\`, ",", `\,`)
	all := []string{"fsname=" + escape.Replace(o.source), "subtype=" + o.subtype}
	all = append(all, o.names...)
	all = append(all, o.data...)
	return strings.Join(all, ",")
}
