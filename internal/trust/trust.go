// Package trust judges files by who else could have written or could read them.
//
// Whoever can write a file, or put another one in its place by way of a directory above it, decides what is in it. Trusted
// with that are root and the user of this process. A group is nobody else where it is the owner's own, which has the
// number of its user.
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

// ErrUntrusted is what all refusals of this package match.
var ErrUntrusted = errors.New("cannot be trusted")

// ReadObeyed reads a file that says what to do: neither the file nor a directory on the way to it may be anybody else's to
// change. A file that does not exist is fs.ErrNotExist, whatever the way.
func ReadObeyed(path string) ([]byte, error) { return readObeyed(path, os.Geteuid()) }

// CheckSecret refuses a file with a secret that others can read, as ssh does with its keys: one's own may be open to nobody
// else, root's to one group. What another user owns, or is no regular file, is theirs to keep.
func CheckSecret(path string) error { return checkSecret(path, os.Geteuid()) }

// CheckAuthority refuses a file with certificates to trust that everybody could have written, or a group.
func CheckAuthority(path string) error {
	st, err := os.Stat(path)
	if err != nil || !st.Mode().IsRegular() {
		return nil // whoever opens it says why
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
		return nil // whoever opens it says why
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

// maxLinks is how many symbolic links a path may have, as in the kernel.
const maxLinks = 40

// checkWay walks to path as the kernel does, and refuses directories and links on the way that others can change.
func checkWay(path string, euid int) error {
	if !filepath.IsAbs(path) {
		wd, err := os.Getwd()
		if err != nil {
			return err
		}
		path = wd + "/" + path // not cleaned: ".." behind a link is where the link leads
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

// open reports whether others than the owner can write. Of a link the mode says nothing.
func open(st iofs.FileInfo) bool {
	perm := st.Mode().Perm()
	if st.Mode().Type() == os.ModeSymlink {
		return false
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	return perm&0o002 != 0 || perm&0o020 != 0 && (!ok || sys.Gid != sys.Uid)
}

// ownerOf is the uid of the owner, -1 if it cannot be told.
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
