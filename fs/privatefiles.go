package fs

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/names"
	varsync "github.com/commy-project/commyfs/sync"
)

// PrivateFile is a file that only one mount has: a temporary, see [Temporaries].
type PrivateFile struct {
	Path string // below the mount, as it shows it
	Size int64
}

// String is what a message says of the file.
func (p PrivateFile) String() string { return fmt.Sprintf("%s (%d bytes)", p.Path, p.Size) }

// The attributes of a mount's root that [Private], [TemporariesOf] and [RestartsOf] read.
const (
	privateXattr     = "user.commy.private"
	temporariesXattr = "user.commy.temporary"
	restartsXattr    = "user.commy.restarts"
)

// maxPrivate is how many bytes of names an attribute tells: the kernel takes 64 KiB.
const maxPrivate = 60 << 10

// privateFiles returns the files that are lost if the mount ends now, by path. The backup of a parked variable is none: it
// becomes the variable.
func (f *FS) privateFiles() []PrivateFile {
	var out []PrivateFile
	for _, l := range f.unshared.temporaries() {
		parent, name, removed := f.unshared.where(l)
		if removed || l.committed() != nil {
			continue
		}
		path := pathOfDir(f.node(parent))
		if path == nil {
			continue // its directory is gone, and nobody can reach it
		}
		size, _ := l.stat()
		out = append(out, PrivateFile{names.Path(append(path, name)), size})
	}
	slices.SortFunc(out, func(a, b PrivateFile) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// temporaries returns the files that are private as things are.
func (ls *unsharedFiles) temporaries() []*unshared {
	ls.mu.RLock()
	defer ls.mu.RUnlock()
	var out []*unshared
	for _, l := range ls.names {
		if l.is(temporary) {
			out = append(out, l)
		}
	}
	return out
}

// pathOfDir returns the components of a directory of variables, nil for what is none.
func pathOfDir(n varsync.Node) []string {
	switch n := n.(type) {
	case *varsync.Service:
		return []string{n.Tenant().Name(), n.Name()}
	case *varsync.Dir:
		return append([]string{n.Service().Tenant().Name(), n.Service().Name()}, strings.Split(n.Name(), "/")...)
	}
	return nil
}

// formatPrivate is the attribute: how many files there are, and as many as fit with size and path, each ended by a NUL.
func formatPrivate(files []PrivateFile) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d\x00", len(files))
	for _, p := range files {
		if b.Len()+len(p.Path) > maxPrivate {
			break
		}
		fmt.Fprintf(&b, "%d %s\x00", p.Size, p.Path)
	}
	return b.String()
}

func parsePrivate(value string) (files []PrivateFile, total int, err error) {
	fields := strings.Split(strings.TrimSuffix(value, "\x00"), "\x00")
	if total, err = strconv.Atoi(fields[0]); err != nil {
		return nil, 0, fmt.Errorf("%s: %w", privateXattr, err)
	}
	for _, field := range fields[1:] {
		size, path, _ := strings.Cut(field, " ")
		n, err := strconv.ParseInt(size, 10, 64)
		if err != nil {
			return nil, 0, fmt.Errorf("%s: %w", privateXattr, err)
		}
		files = append(files, PrivateFile{path, n})
	}
	return files, total, nil
}

// Private asks the mount on dir which files it alone has. There are total of them; files can be fewer. It waits as long as
// the mount does.
func Private(dir string) (files []PrivateFile, total int, err error) {
	value, err := rootXattr(dir, privateXattr)
	if err != nil {
		return nil, 0, err
	}
	return parsePrivate(value)
}

// TemporariesOf asks the mount on dir which new files it keeps to itself.
func TemporariesOf(dir string) (string, error) { return rootXattr(dir, temporariesXattr) }

// RestartsOf asks the mount on dir how often another process has gone on with it, and when the last one did; last is zero if none
// has.
func RestartsOf(dir string) (n int, last time.Time, err error) {
	value, err := rootXattr(dir, restartsXattr)
	if err != nil {
		return 0, time.Time{}, err
	}
	var nano int64
	if _, err := fmt.Sscan(value, &n, &nano); err != nil {
		return 0, time.Time{}, fmt.Errorf("%s: %w", restartsXattr, err)
	}
	if n > 0 {
		last = time.Unix(0, nano)
	}
	return n, last, nil
}

func rootXattr(dir, name string) (string, error) {
	buf := make([]byte, 64<<10)
	n, err := unix.Getxattr(dir, name, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// warnPrivate says which files end with the mount.
func (f *FS) warnPrivate() {
	if files := f.privateFiles(); len(files) > 0 {
		f.log.Warn("files that only this mount had are gone with it", "files", files)
	}
}
