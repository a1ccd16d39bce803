package core

import (
	"strings"

	"github.com/commy-project/commyfs/internal/names"
	"github.com/commy-project/commyfs/model"
)

// Names inside a service are paths: components joined by '/'. A component may hold any other byte and may be empty, but
// for the first one: the empty path is the service itself.

// checkPath says whether name can be a variable's or a directory's.
func checkPath(name string, lim model.Limits) error {
	if name == "" || name[0] == '/' {
		return model.ErrInvalid
	}
	if len(name) > lim.Name {
		return model.ErrNameTooLong
	}
	level := names.Variable
	for part := range strings.SplitSeq(name, "/") {
		if err := checkComponent(part, level, lim); err != nil {
			return err
		}
		level = names.Nested
	}
	return nil
}

// checkTenant says whether name can be a tenant's.
func checkTenant(name string, lim model.Limits) error { return checkTop(name, names.Tenant, lim) }

// checkService says whether name can be a service's.
func checkService(name string, lim model.Limits) error { return checkTop(name, names.Service, lim) }

func checkTop(name string, level names.Level, lim model.Limits) error {
	if name == "" || strings.Contains(name, "/") {
		return model.ErrInvalid
	}
	return checkComponent(name, level, lim)
}

// checkComponent counts a component as a mount shows it: escaped it is longer.
func checkComponent(part string, level names.Level, lim model.Limits) error {
	if len(part) > lim.Component || len(names.Encode(part, level)) > lim.Component {
		return model.ErrNameTooLong
	}
	return nil
}

// parentOf is the path of the directory that holds path; "" is the service itself.
func parentOf(path string) string {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return ""
	}
	return path[:i]
}

// below reports whether path lies inside directory dir, at any depth.
func below(path, dir string) bool {
	return dir == "" || len(path) > len(dir) && path[len(dir)] == '/' && path[:len(dir)] == dir
}
