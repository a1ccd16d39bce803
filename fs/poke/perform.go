package poke

import (
	"strings"

	"golang.org/x/sys/unix"
)

// maxPath is the longest path a system call takes, without the terminating zero.
const maxPath = unix.PathMax - 1

// maxInterrupts bounds the repetitions of one call. The Go runtime interrupts system calls now and then; a server
// that answers every request with EINTR must not keep us here.
const maxInterrupts = 1000

// stayInside makes openat2 refuse everything that leads out of the mount: file systems mounted inside it as well.
const stayInside = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS

// check refuses what the kernel would understand differently.
func (op Op) check() error {
	if int(op.Kind) >= len(kindNames) || op.Kind == 0 || !valid(op.Path) {
		return unix.EINVAL
	}
	if (op.Kind == Rename || op.Kind == Exchange) && !valid(op.NewPath) {
		return unix.EINVAL
	}
	if (op.Kind == Modify || op.Kind == Attrib) && op.MTime.IsZero() {
		return unix.EINVAL
	}
	return nil
}

// valid tells whether path is "." or made of plain names.
func valid(path string) bool {
	if path == "." {
		return true
	}
	for name := range strings.SplitSeq(path, "/") {
		if name == "" || name == "." || name == ".." {
			return false
		}
	}
	return true
}

// perform runs on the poker's thread. The mount's root is open only meanwhile: a descriptor on it would make the
// mount busy.
func (p *Poker) perform(op Op) error {
	root, err := p.openRoot()
	if err != nil {
		return err
	}
	defer unix.Close(root)
	if op.Kind == Modify || op.Kind == Attrib || op.Kind == CloseWrite {
		return touch(root, op)
	}
	parent, name, err := openParent(root, op.Path)
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	switch op.Kind {
	case Create:
		return retry(func() error { return unix.Mknodat(parent, name, unix.S_IFREG|op.Mode&0o7777, 0) })
	case Mkdir:
		return retry(func() error { return unix.Mkdirat(parent, name, op.Mode&0o7777) })
	case Unlink:
		return retry(func() error { return unix.Unlinkat(parent, name, 0) })
	case Rmdir:
		return retry(func() error { return unix.Unlinkat(parent, name, unix.AT_REMOVEDIR) })
	case StatSync:
		var st unix.Statx_t
		flags := unix.AT_STATX_FORCE_SYNC | unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT
		return retry(func() error { return unix.Statx(parent, name, flags, unix.STATX_BASIC_STATS, &st) })
	default: // Rename, Exchange
		newParent, newName, err := openParent(root, op.NewPath)
		if err != nil {
			return err
		}
		defer unix.Close(newParent)
		flags := uint(0)
		if op.Kind == Exchange {
			flags = unix.RENAME_EXCHANGE
		}
		rename := func() error { return unix.Renameat2(parent, name, newParent, newName, flags) }
		err = retry(rename)
		if err == unix.ESTALE {
			// The kernel has a directory under its new name, and things in it are open. A lookup under the old name puts it back there,
			// but not in the middle of a rename to another directory, which has the lock for that.
			lookUp(parent, name)
			if op.Kind == Exchange {
				lookUp(newParent, newName)
			}
			err = retry(rename)
		}
		return err
	}
}

// lookUp has the kernel ask for a name.
func lookUp(dir int, name string) {
	var st unix.Statx_t
	_ = retry(func() error {
		return unix.Statx(dir, name, unix.AT_STATX_DONT_SYNC|unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, 0, &st)
	})
}

// touch does what changes no name.
func touch(root int, op Op) error {
	switch op.Kind {
	case Modify, Attrib:
		return modify(root, op)
	case CloseWrite:
		return closeWrite(root, op.Path)
	}
	return unix.EINVAL
}

// modify leaves the access time alone for MODIFY: with both times the kernel raises ATTRIB. An O_PATH descriptor raises no OPEN.
func modify(root int, op Op) error {
	fd, err := openBeneath(root, op.Path, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	mtime, err := unix.TimeToTimespec(op.MTime)
	if err != nil {
		return err
	}
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, mtime}
	if op.Kind == Attrib {
		times[0] = mtime
	}
	return retry(func() error { return unix.UtimesNanoAt(fd, "", times, unix.AT_EMPTY_PATH) })
}

func closeWrite(root int, path string) error {
	fd, err := openBeneath(root, path, unix.O_WRONLY|unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	// An interrupted close has closed.
	if err := unix.Close(fd); err != nil && err != unix.EINTR {
		return err
	}
	return nil
}

func (p *Poker) checkMount() error {
	root, err := p.openRoot()
	if err != nil {
		return err
	}
	unix.Close(root)
	return nil
}

// openRoot opens the mount's root and makes sure that it is ours. It sends no request: the mask is empty, so the
// kernel answers from memory.
func (p *Poker) openRoot() (int, error) {
	var root int
	err := retry(func() (err error) {
		root, err = unix.Open(p.dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return -1, err
	}
	var st unix.Statx_t
	flags := unix.AT_EMPTY_PATH | unix.AT_STATX_DONT_SYNC | unix.AT_NO_AUTOMOUNT
	err = retry(func() error { return unix.Statx(root, "", flags, 0, &st) })
	if err == nil && unix.Mkdev(st.Dev_major, st.Dev_minor) != p.dev {
		err = ErrNotMounted
	}
	if err != nil {
		unix.Close(root)
		return -1, err
	}
	return root, nil
}

// openParent opens the directory of path and returns the last name.
func openParent(root int, path string) (fd int, name string, err error) {
	dir, name := ".", path
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		dir, name = path[:i], path[i+1:]
	}
	fd, err = openBeneath(root, dir, unix.O_PATH|unix.O_DIRECTORY)
	return fd, name, err
}

// openBeneath opens path with flags, and walks there in pieces if one system call does not take all of it.
func openBeneath(root int, path string, flags int) (int, error) {
	at := root
	for len(path) > maxPath {
		i := strings.LastIndexByte(path[:maxPath+1], '/')
		if i < 0 {
			if at != root {
				unix.Close(at)
			}
			return -1, unix.ENAMETOOLONG
		}
		next, err := openat2(at, path[:i], unix.O_PATH|unix.O_DIRECTORY)
		if at != root {
			unix.Close(at)
		}
		if err != nil {
			return -1, err
		}
		at, path = next, path[i+1:]
	}
	fd, err := openat2(at, path, flags)
	if at != root {
		unix.Close(at)
	}
	return fd, err
}

func openat2(dir int, path string, flags int) (int, error) {
	how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: stayInside}
	var fd int
	err := retry(func() (err error) {
		fd, err = unix.Openat2(dir, path, &how)
		return err
	})
	if err != nil {
		return -1, err
	}
	return fd, nil
}

// retry repeats a system call that a signal interrupted.
func retry(call func() error) error {
	var err error
	for range maxInterrupts {
		if err = call(); err != unix.EINTR {
			return err
		}
	}
	return err
}

// Size is the size that the kernel has of a file, without a question to the mount's handlers, unless a name has to be looked up.
func (p *Poker) Size(path string) (size int64, err error) {
	if !valid(path) {
		return 0, unix.EINVAL
	}
	err = p.call(func() error {
		root, err := p.openRoot()
		if err != nil {
			return err
		}
		defer unix.Close(root)
		parent, name, err := openParent(root, path)
		if err != nil {
			return err
		}
		defer unix.Close(parent)
		var st unix.Statx_t
		flags := unix.AT_STATX_DONT_SYNC | unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT
		err = retry(func() error { return unix.Statx(parent, name, flags, unix.STATX_SIZE, &st) })
		size = int64(st.Size)
		return err
	})
	return size, err
}
