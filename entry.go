package commyfs

import (
	"strings"
	"time"

	"github.com/commy-project/commyfs/model"
)

// Path is where something is: a tenant, a service, or a directory or variable in it. What comes later is empty if it is
// not meant; the zero Path is the root.
type Path struct {
	Tenant, Service, Name string
}

// String joins the parts with slashes.
func (p Path) String() string {
	return strings.TrimRight(p.Tenant+"/"+p.Service+"/"+p.Name, "/")
}

// Info describes a variable, directory, service or tenant. A directory has neither version, nor writer, nor size.
type Info struct {
	Path
	Dir     bool   // not a variable
	ID      uint64 // the same for life, and the inode number in a mount
	Version uint64
	Time    time.Time // of the commit, or what was set since
	Writer  string    // who committed the value: a user id or the name of an API key; empty if that is not known yet
	Size    int64
	Mode    Mode
}

// Mode is the permission bits that something has been given as a file.
type Mode = model.Mode

// Entry is a variable with its value.
type Entry struct {
	Info
	Value []byte
}

func infoOf(e *model.Entry) Info {
	return Info{Path: Path{e.Tenant, e.Service, e.Name}, Dir: e.Dir, ID: e.ID, Version: e.Version, Time: timeOf(e.MTime),
		Writer: e.Writer, Size: e.Size, Mode: e.Mode}
}

func timeOf(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}
