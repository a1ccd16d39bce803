package main

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/fs/mountpoint"
	"github.com/commy-project/commyfs/internal/local"
	"github.com/commy-project/commyfs/server"
)

// runtimeReserve is enough space for the memory files of some services.
const runtimeReserve = 16 << 20

// File system types as in mountinfo.
var (
	inMemory = []string{"tmpfs", "ramfs"}
	onOthers = []string{"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "coda", "ncpfs", "lustre", "gpfs", "beegfs", "glusterfs"}
)

// role describes the purpose of a directory.
type role struct {
	name, flag string
	reserve    int64
	lasting    bool
	holds      string // for display
}

func (a *app) dirChecks(o *doctorOptions) []check {
	one := func(dir string, r role) check {
		return check{r.name, func(context.Context) []finding {
			found := []finding{judgeDir(r, lookAtDir(dir))}
			if !o.isLocal() {
				return softened(found) // no server uses it; daemons may log there
			}
			return found
		}}
	}
	return []check{
		one(o.state, role{name: "state", flag: "--state-dir", reserve: server.MinFree, lasting: true}),
		one(o.runtime, role{name: "runtime", flag: "--runtime-dir", reserve: runtimeReserve, holds: ", socket " + local.Socket(o.runtime)}),
	}
}

// dir is the state of a directory.
type dir struct {
	path   string
	there  string // path, or its nearest existing parent
	owner  error  // it has the wrong owner
	access error  // it cannot be used or created
	mode   iofs.FileMode
	fsType string
	free   int64
	err    error // it cannot be examined
}

// lookAtDir creates nothing.
func lookAtDir(path string) dir {
	d := dir{path: path, there: path}
	if d.owner = local.CheckOwner(path); d.owner != nil {
		return d
	}
	info, err := os.Stat(path)
	for errors.Is(err, iofs.ErrNotExist) && d.there != "/" {
		if _, lerr := os.Lstat(d.there); lerr == nil {
			d.err = fmt.Errorf("%s is a dangling symbolic link", d.there)
			return d
		}
		d.there = filepath.Dir(d.there)
		info, err = os.Stat(d.there)
	}
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is not a directory", d.there)
	}
	if d.err = err; err != nil {
		return d
	}
	d.mode = info.Mode().Perm()
	d.access = unix.Faccessat(unix.AT_FDCWD, d.there, unix.R_OK|unix.W_OK|unix.X_OK, unix.AT_EACCESS)
	var st unix.Statfs_t
	if d.err = unix.Statfs(d.there, &st); d.err == nil {
		d.free = int64(st.Bavail) * st.Bsize
		d.fsType, d.err = mountpoint.TypeOf(d.there)
	}
	return d
}

func judgeDir(r role, d dir) finding {
	const mib = 1 << 20
	another := "choose another directory with " + r.flag
	switch {
	case d.owner != nil:
		return troubled(r.name, d.owner, another)
	case d.err != nil:
		return troubled(r.name, d.err, another)
	case d.access != nil && d.there != d.path:
		return good(r.name, "%s does not exist and cannot be created in %s: %v", d.path, d.there, d.access).but(statusFail, another)
	case d.access != nil:
		return good(r.name, "%s: %v", d.path, d.access).but(statusFail, another)
	}
	f := good(r.name, "%s, mode %04o, %s, %d MiB free%s", d.path, d.mode, d.fsType, d.free/mib, r.holds)
	if d.there != d.path {
		f = good(r.name, "%s, not created yet, %s, %d MiB free%s", d.path, d.fsType, d.free/mib, r.holds)
	}
	remote := slices.Contains(onOthers, d.fsType)
	switch {
	case d.fsType == "fuse."+mountpoint.Subtype:
		return f.but(statusFail, "it is inside a commyfs mount, which would wait for itself: "+another)
	case d.free < r.reserve:
		f.Detail += fmt.Sprintf(", less than the %d MiB required for writes", r.reserve/mib)
		return f.but(statusFail, "free some space, or "+another)
	case remote || strings.HasPrefix(d.fsType, "fuse"):
		f.Detail += ", which is slow and may not support locks and mapped files"
		return f.but(statusWarn, another+", on a local disk")
	case r.lasting && slices.Contains(inMemory, d.fsType):
		f.Detail += ", which does not survive a reboot"
		return f.but(statusWarn, another+", on a disk")
	case d.there == d.path && d.mode&0o077 != 0:
		f.Detail += ", accessible to other users"
		return f.but(statusWarn, "run `chmod 700 "+quoted(d.path)+"`")
	case d.free < 2*r.reserve:
		f.Detail += fmt.Sprintf(", writes fail below %d MiB", r.reserve/mib)
		return f.but(statusWarn, "free some space")
	}
	return f
}
