package main

import (
	"strings"

	"github.com/commy-project/commyfs"
	"github.com/commy-project/commyfs/internal/names"
)

// path is the path of a tenant, a service or an entry, as in a mount.
type path commyfs.Path

func levelOf(i int) names.Level { return min(names.Level(i), names.Nested) }

// parsePath reads T, T/S or T/S/NAME, with the components escaped as in a mount. Slashes at either end do not matter.
func parsePath(s string) (path, error) {
	components, err := splitPath(s)
	if err != nil || components == nil {
		return path{}, err
	}
	return pathOf(components), nil
}

// splitPath returns the components; none stands for the root.
func splitPath(s string) ([]string, error) {
	if err := checkNotInMount(s); err != nil {
		return nil, err
	}
	trimmed := strings.Trim(s, "/")
	if trimmed == "" {
		if s == "" {
			return nil, usagef("empty path")
		}
		return nil, nil
	}
	components := strings.Split(trimmed, "/")
	for i, file := range components {
		if file == "" {
			return nil, usagef("path %q has an empty component: write %%empty for an empty name", s)
		}
		components[i] = names.Decode(file, levelOf(i))
	}
	return components, nil
}

func pathOf(components []string) path { return path(commyfs.ParsePath(strings.Join(components, "/"))) }

// parseVariable reads the path of a variable.
func parseVariable(s string) (path, error) {
	p, err := parsePath(s)
	if err == nil && p.Name == "" {
		err = usagef("path %q: must be tenant/service/variable", s)
	}
	return p, err
}

func parseVariables(args []string) ([]path, error) {
	out := make([]path, len(args))
	for i, arg := range args {
		p, err := parseVariable(arg)
		if err != nil {
			return nil, err
		}
		out[i] = p
	}
	return out, nil
}

func (p path) components() []string { return commyfs.Path(p).Components() }

func (p path) service(c *commyfs.Client) *commyfs.Service { return c.Service(p.Tenant, p.Service) }

// String is the path as parsePath reads it; the root is empty.
func (p path) String() string { return formatPath(p.components()) }

func formatPath(components []string) string {
	files := make([]string, len(components))
	for i, c := range components {
		files[i] = names.Encode(c, levelOf(i))
	}
	return strings.Join(files, "/")
}

// shown is String for messages, in which the root is "/".
func (p path) shown() string {
	if s := p.String(); s != "" {
		return names.Show(s)
	}
	return "/"
}

// base is the last component, as displayed.
func (p path) base() string {
	s := p.String()
	return s[strings.LastIndexByte(s, '/')+1:]
}

// parent is the parent's path; the root is its own parent.
func (p path) parent() path {
	components := p.components()
	if len(components) < 2 {
		return path{}
	}
	return pathOf(components[:len(components)-1])
}
