package mountpoint

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Info describes one commyfs mount of this mount namespace.
type Info struct {
	Dir    string // where it is mounted
	Source string // its [Options.FSName]
	Dev    uint64 // st_dev of its files
}

// List returns the commyfs mounts, dead and hung ones included, in the order of mounting.
func List() ([]Info, error) {
	mounts, err := readMounts()
	if err != nil {
		return nil, err
	}
	var out []Info
	for _, m := range mounts {
		if m.fsType == fsType {
			out = append(out, Info{Dir: m.dir, Source: m.source, Dev: m.dev})
		}
	}
	return out, nil
}

// TypeOf is the type of the file system that path lies on, as mountinfo names it.
func TypeOf(path string) (string, error) {
	at, err := locate(path)
	return at.fsType, err
}

// mountEntry is one line of mountinfo.
type mountEntry struct {
	id, parent  uint64
	dev         uint64
	dir         string
	fsType      string
	source      string
	major, minr uint32
}

func readMounts() ([]mountEntry, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	return parseMounts(string(data))
}

// parseMounts reads the format of proc_pid_mountinfo(5).
func parseMounts(data string) ([]mountEntry, error) {
	var out []mountEntry
	for line := range strings.Lines(data) {
		m, err := parseMount(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return nil, fmt.Errorf("list mounts: %w", err)
		}
		out = append(out, m)
	}
	return out, nil
}

func parseMount(line string) (mountEntry, error) {
	bad := fmt.Errorf("unknown mountinfo line %q", line)
	// Optional fields stand before " - "; a file name cannot contain it, its spaces are escaped.
	head, tail, ok := strings.Cut(line, " - ")
	h, t := strings.Split(head, " "), strings.Split(tail, " ")
	if !ok || len(h) < 6 || len(t) < 2 {
		return mountEntry{}, bad
	}
	major, minor, ok := strings.Cut(h[2], ":")
	id, err1 := strconv.ParseUint(h[0], 10, 64)
	parent, err2 := strconv.ParseUint(h[1], 10, 64)
	maj, err3 := strconv.ParseUint(major, 10, 32)
	mnr, err4 := strconv.ParseUint(minor, 10, 32)
	if !ok || err1 != nil || err2 != nil || err3 != nil || err4 != nil {
		return mountEntry{}, bad
	}
	return mountEntry{
		id: id, parent: parent,
		dev:   unix.Mkdev(uint32(maj), uint32(mnr)),
		dir:   unescape(h[4]),
		major: uint32(maj), minr: uint32(mnr),
		fsType: unescape(t[0]),
		source: unescape(t[1]),
	}, nil
}

// unescape undoes the kernel's octal escapes of blanks and backslashes.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// location is a directory with the mount it belongs to.
type location struct {
	mountEntry
	path      string // absolute, symbolic links resolved
	mountRoot bool   // path is where the mount is mounted
}

func (l location) isMountOf(fsType string) bool { return l.mountRoot && l.fsType == fsType }

// locate resolves p and finds the topmost mount there. It sends no request to the file system mounted on p: opening
// with O_PATH and asking statx for VFS facts only are answered by the kernel. It may wait if p lies inside a hung
// mount, because the names in between are looked up.
func locate(p string) (location, error) {
	fd, at, err := open(p)
	if err == nil {
		unix.Close(fd)
	}
	return at, err
}

// open is locate with an O_PATH descriptor of p, which keeps the mount and its number from going.
func open(p string) (int, location, error) {
	fd, err := openAt(unix.AT_FDCWD, p, unix.O_PATH)
	if err != nil {
		return -1, location{}, err
	}
	at, err := locateFD(fd)
	if err != nil {
		unix.Close(fd)
		return -1, location{}, err
	}
	return fd, at, nil
}

func locateFD(fd int) (location, error) {
	path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return location{}, err
	}
	st, err := vfsStat(fd, "")
	if err != nil {
		return location{}, err
	}
	if st.Mask&unix.STATX_MNT_ID == 0 {
		return location{}, fmt.Errorf("this kernel does not report mount IDs: use Linux 5.8 or later")
	}
	mounts, err := readMounts()
	if err != nil {
		return location{}, err
	}
	for _, m := range mounts {
		if m.id == st.Mnt_id {
			return location{mountEntry: m, path: path, mountRoot: m.dir == path}, nil
		}
	}
	return location{}, fmt.Errorf("mount %d of %s is not in /proc/self/mountinfo", st.Mnt_id, path)
}

// openAt is openat(2), close-on-exec.
func openAt(dir int, name string, flags int) (int, error) {
	fd := -1
	err := retry(func() (err error) {
		fd, err = unix.Openat(dir, name, flags|unix.O_CLOEXEC, 0)
		return err
	})
	return fd, err
}

// vfsStat tells device and mount of a file without asking its file system: no attribute is in the mask, and FUSE then
// answers from memory, also on a dead or hung mount. An empty name means fd itself.
func vfsStat(fd int, name string) (unix.Statx_t, error) {
	flags := unix.AT_STATX_DONT_SYNC | unix.AT_NO_AUTOMOUNT
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	var st unix.Statx_t
	err := retry(func() error { return unix.Statx(fd, name, flags, unix.STATX_MNT_ID, &st) })
	return st, err
}

// retry repeats a system call that a signal interrupted; the Go runtime sends itself signals all the time.
func retry(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}
