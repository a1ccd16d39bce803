package mountpoint

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

const (
	// maxHolders bounds the names in an error message.
	maxHolders = 3
	// lookBound is how long a process may take to be looked into. One inside execve can be waiting for the mount.
	lookBound = 200 * time.Millisecond
	// maxBlocked bounds those that take longer, since each leaves a thread behind until its execve is over.
	maxBlocked = 5
)

// holders names who keeps m busy: mounts inside it, and processes by pid and command. Nothing here asks m's file
// system, so the answer comes also when m is dead or hung.
func holders(m mountEntry) []string {
	var out []string
	if mounts, err := readMounts(); err == nil {
		for _, x := range mounts {
			if x.parent == m.id && len(out) < maxHolders {
				out = append(out, "the mount "+x.dir)
			}
		}
	}
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return out
	}
	blocked := 0
	for _, p := range procs {
		if len(out) == maxHolders || blocked == maxBlocked {
			break
		}
		pid, err := strconv.Atoi(p.Name())
		if err != nil {
			continue
		}
		how, err := bounded(lookBound, func() (string, error) { return holds(filepath.Join("/proc", p.Name()), m), nil })
		switch {
		case err != nil:
			blocked++
		case how != "":
			out = append(out, fmt.Sprintf("pid %d (%s, %s)", pid, command(pid), how))
		}
	}
	return out
}

// holds says how the process uses m, or nothing. A process that ended meanwhile, or that may not be looked into,
// holds nothing as far as we can tell.
func holds(proc string, m mountEntry) string {
	on := func(link string) bool {
		// Following the link does not look anything up: it leads straight to the open file.
		st, err := vfsStat(unix.AT_FDCWD, filepath.Join(proc, link))
		return err == nil && st.Dev_major == m.major && st.Dev_minor == m.minr
	}
	switch {
	case on("cwd"):
		return "working directory"
	case on("root"):
		return "root directory"
	}
	fds, _ := os.ReadDir(filepath.Join(proc, "fd"))
	for _, fd := range fds {
		if on("fd/" + fd.Name()) {
			return "open file"
		}
	}
	maps, _ := os.ReadFile(filepath.Join(proc, "maps"))
	dev := fmt.Sprintf("%02x:%02x", m.major, m.minr)
	for line := range strings.Lines(string(maps)) {
		if f := strings.Fields(line); len(f) > 3 && f[3] == dev {
			return "mapped file"
		}
	}
	return ""
}

// command is the process's short name; processes choose it, so it is made printable.
func command(pid int) string {
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return "?"
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, strings.TrimSuffix(string(comm), "\n"))
}
