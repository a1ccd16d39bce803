package server

import (
	"strings"

	"github.com/commy-project/commyfs/transport"
)

// Names inside a service are paths: components joined by '/'. A component may hold any other byte and may be empty, but
// for the first one: the empty path is the service itself.

// checkPath says whether name can be a variable's or a directory's.
func checkPath(name string, lim transport.Limits) error {
	if name == "" || name[0] == '/' {
		return transport.ErrInvalid
	}
	if len(name) > lim.Name {
		return transport.ErrNameTooLong
	}
	for part := range strings.SplitSeq(name, "/") {
		if err := checkComponent(part, lim); err != nil {
			return err
		}
	}
	return nil
}

// checkTop says whether name can be a tenant's or a service's.
func checkTop(name string, lim transport.Limits) error {
	if name == "" || strings.Contains(name, "/") {
		return transport.ErrInvalid
	}
	return checkComponent(name, lim)
}

// checkComponent counts a component as a mount shows it: NUL takes three bytes there.
func checkComponent(part string, lim transport.Limits) error {
	if len(part)+2*strings.Count(part, "\x00") > lim.Component {
		return transport.ErrNameTooLong
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

// baseOf is the last component of path. It shares path's bytes.
func baseOf(path string) string {
	return path[strings.LastIndexByte(path, '/')+1:]
}

// below reports whether path lies inside directory dir, at any depth.
func below(path, dir string) bool {
	return dir == "" || len(path) > len(dir) && path[len(dir)] == '/' && path[:len(dir)] == dir
}
