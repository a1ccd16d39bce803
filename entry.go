package commyfs

import (
	"strings"
	"time"

	"github.com/commy-project/commyfs/model"
)

// Path is the path of a tenant (only Tenant is set), of a service (Tenant and Service), or of a variable or directory in a
// service. The zero Path is the root.
type Path struct {
	Tenant, Service, Name string
}

// ParsePath is the inverse of [Path.String].
func ParsePath(s string) Path {
	var p Path
	p.Tenant, s, _ = strings.Cut(s, "/")
	p.Service, p.Name, _ = strings.Cut(s, "/")
	return p
}

// String returns the path with slashes: tenant/service/name.
func (p Path) String() string { return strings.Join(p.Components(), "/") }

// Components returns the elements of the path: tenant, service, and the elements of Name.
func (p Path) Components() []string {
	switch {
	case p.Tenant == "":
		return nil
	case p.Service == "":
		return []string{p.Tenant}
	case p.Name == "":
		return []string{p.Tenant, p.Service}
	}
	return append([]string{p.Tenant, p.Service}, strings.Split(p.Name, "/")...)
}

// Info describes a variable, directory, service or tenant. Only variables have a version, writer and size.
type Info struct {
	Tenant, Service, Name string // as in [Path]

	Dir     bool   // a directory, service or tenant
	ID      uint64 // never changes; the inode number in a mount
	Version uint64
	Time    time.Time // modification time: that of the commit, or one set since
	Writer  string    // the user or API key that wrote the value; empty if not known yet
	Size    int64
	Mode    Mode
	Bare    int64 // bytes of a bare service; 0: it is a named one
}

// Path returns the path of what i describes.
func (i *Info) Path() Path { return Path{i.Tenant, i.Service, i.Name} }

func (i *Info) setPath(p Path) { i.Tenant, i.Service, i.Name = p.Tenant, p.Service, p.Name }

// Mode is the permission bits in a mount.
type Mode = model.Mode

// Entry is a variable with its value.
type Entry struct {
	Info
	Value []byte
}

func infoOf(e *model.Entry) Info {
	return Info{Tenant: e.Tenant, Service: e.Service, Name: e.Name, Dir: e.Dir, ID: e.ID, Version: e.Version, Time: timeOf(e.MTime),
		Writer: e.Writer, Size: e.Size, Mode: e.Mode, Bare: e.Bare}
}

func timeOf(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}
