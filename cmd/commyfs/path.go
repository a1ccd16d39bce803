package main

import (
	"strings"

	"github.com/commy-project/commyfs/internal/names"
	"github.com/commy-project/commyfs/model"
)

// path names a tenant, a service, or something in it, as a mount shows it: what comes later is empty if it is not meant.
type path struct {
	tenant, service, name string
}

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

func pathOf(components []string) path {
	p := path{tenant: components[0]}
	if len(components) > 1 {
		p.service = components[1]
	}
	if len(components) > 2 {
		p.name = strings.Join(components[2:], "/")
	}
	return p
}

// parseVariable reads the path of a variable.
func parseVariable(s string) (path, error) {
	p, err := parsePath(s)
	if err == nil && p.name == "" {
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

// components is the inverse of pathOf. Tenants and services with an empty name do not exist.
func (p path) components() []string {
	var out []string
	if p.tenant != "" {
		out = append(out, p.tenant)
	}
	if p.service != "" {
		out = append(out, p.service)
	}
	if p.name != "" {
		out = append(out, strings.Split(p.name, "/")...)
	}
	return out
}

// String is the path as parsePath reads it; the root is empty.
func (p path) String() string { return formatPath(p.components()) }

func formatPath(components []string) string {
	files := make([]string, len(components))
	for i, c := range components {
		files[i] = names.Encode(c, levelOf(i))
	}
	return strings.Join(files, "/")
}

func pathOfEntry(e *model.Entry) path { return path{e.Tenant, e.Service, e.Name} }

// shown is String for messages, with something to see for the root.
func (p path) shown() string {
	if s := p.String(); s != "" {
		return names.Show(s)
	}
	return "/"
}

// base is the last component, as it is shown.
func (p path) base() string {
	s := p.String()
	return s[strings.LastIndexByte(s, '/')+1:]
}

// parent is the path above; the root is its own.
func (p path) parent() path {
	components := p.components()
	if len(components) < 2 {
		return path{}
	}
	return pathOf(components[:len(components)-1])
}
