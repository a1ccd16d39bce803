// Package trust checks which other users could have written or could read a file.
//
// Anyone who can write a file, or replace it through a directory on its path, controls its contents. Only root and the user of
// this process are trusted with that. The owner's own group, whose number is that of the user, does not count as other users.
package trust

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// ErrUntrusted matches all refusals of this package.
var ErrUntrusted = errors.New("cannot be trusted")

// ReadObeyed reads a configuration file. It refuses the file if other users can change it or a directory on its path. If the file
// does not exist, the error is fs.ErrNotExist, whatever the path.
func ReadObeyed(path string) ([]byte, error) { return readObeyed(path, os.Geteuid()) }

// CheckSecret refuses a file with a secret that others can read, as ssh does for keys: the user's own file must not be accessible
// to anyone else, root's may be readable by one group. Files of other users and special files are not checked.
func CheckSecret(path string) error { return checkSecret(path, os.Geteuid()) }

// CheckAuthority refuses a file of CA certificates that a group or everyone can write.
func CheckAuthority(path string) error {
	st, err := os.Stat(path)
	if err != nil || !st.Mode().IsRegular() {
		return nil // opening it reports the error
	}
	if open(st) {
		return refusal(path, st, "other users can write to it: run chmod go-w")
	}
	return nil
}

func readObeyed(path string, euid int) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe would wait for a writer
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if err := checkWay(path, euid); err != nil {
		return nil, err
	}
	if err := checkEntry(path, st, euid); err != nil {
		return nil, err
	}
	return io.ReadAll(f)
}

func checkSecret(path string, euid int) error {
	st, err := os.Stat(path)
	if err != nil || !st.Mode().IsRegular() {
		return nil // opening it reports the error
	}
	perm, owner := st.Mode().Perm(), ownerOf(st)
	switch {
	case owner == 0 && perm&0o027 != 0:
		return refusal(path, st, "other users can read it: run chmod 600")
	case owner != 0 && owner == euid && perm&0o077 != 0:
		return refusal(path, st, "other users can read it: run chmod 600")
	}
	return nil
}

// maxLinks limits the symbolic links in a path, as the kernel does.
const maxLinks = 40

// checkWay resolves path as the kernel does, and refuses directories and links on the way that others can change.
func checkWay(path string, euid int) error {
	if !filepath.IsAbs(path) {
		wd, err := os.Getwd()
		if err != nil {
			return err
		}
		path = wd + "/" + path // not cleaned: ".." after a link is relative to the link's target
	}
	rest := strings.Split(path, "/")
	at, links := "/", 0
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at = filepath.Dir(at)
			continue
		}
		dir, err := os.Lstat(at)
		if err != nil {
			return err
		}
		next := filepath.Join(at, name)
		st, err := os.Lstat(next)
		if err != nil {
			return err
		}
		// In a sticky directory, such as /tmp, only its owner can replace an entry.
		if open(dir) && dir.Mode()&os.ModeSticky == 0 {
			return refusal(at, dir, "other users can replace "+name+" there: run chmod go-w")
		}
		if err := checkOwner(next, st, euid); err != nil {
			return err
		}
		if st.Mode().Type() != os.ModeSymlink {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return &os.PathError{Op: "open", Path: path, Err: syscall.ELOOP}
		}
		target, err := os.Readlink(next)
		if err != nil {
			return err
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return nil
}

func checkEntry(path string, st iofs.FileInfo, euid int) error {
	if open(st) {
		return refusal(path, st, "other users can write to it: run chmod go-w")
	}
	return checkOwner(path, st, euid)
}

func checkOwner(path string, st iofs.FileInfo, euid int) error {
	if owner := ownerOf(st); owner != 0 && owner != euid {
		return refusal(path, st, "it must belong to root or to "+userName(euid))
	}
	return nil
}

// open reports whether others than the owner can write. The mode of a link means nothing.
func open(st iofs.FileInfo) bool {
	perm := st.Mode().Perm()
	if st.Mode().Type() == os.ModeSymlink {
		return false
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	return perm&0o002 != 0 || perm&0o020 != 0 && (!ok || sys.Gid != sys.Uid)
}

// ownerOf is the uid of the owner, or -1 if unknown.
func ownerOf(st iofs.FileInfo) int {
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return -1
	}
	return int(sys.Uid)
}

func refusal(path string, st iofs.FileInfo, why string) error {
	return fmt.Errorf("%s %w (owner %s, mode %04o): %s", path, ErrUntrusted, userName(ownerOf(st)), st.Mode().Perm(), why)
}

func userName(uid int) string {
	id := strconv.Itoa(uid)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return "uid " + id
}
