package integration

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// testRoot is below which everything of this run is.
var testRoot string

// process is a process of the binary under test, found in /proc.
type process struct {
	pid     int
	cmdline string
}

func (p process) String() string { return fmt.Sprintf("%d (%s)", p.pid, p.cmdline) }

func (p process) quit() { _ = syscall.Kill(p.pid, syscall.SIGQUIT) }
func (p process) kill() { _ = syscall.Kill(p.pid, syscall.SIGKILL) }

// processes finds the processes of the binary under test whose arguments or environment name a path below dir. Also
// those that nobody here started: a server of `commyfs serve --auto`.
func processes(dir string) []process {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var found []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		proc := filepath.Join("/proc", e.Name())
		exe, err := os.Readlink(filepath.Join(proc, "exe"))
		if err != nil || strings.TrimSuffix(exe, " (deleted)") != binary {
			continue
		}
		cmdline, _ := os.ReadFile(filepath.Join(proc, "cmdline"))
		environ, _ := os.ReadFile(filepath.Join(proc, "environ"))
		if bytes.Contains(cmdline, []byte(dir+"/")) || bytes.Contains(environ, []byte(dir+"/")) {
			found = append(found, process{pid, strings.TrimSpace(strings.ReplaceAll(string(cmdline), "\x00", " "))})
		}
	}
	return found
}

// mountInfo is a line of /proc/self/mountinfo.
type mountInfo struct {
	dir, fstype string
	minor       string
}

func (m mountInfo) String() string { return m.dir + " (" + m.fstype + ")" }

// mountsBelow lists what is mounted on or below dir. It touches no mount, so that hung ones do not matter.
func mountsBelow(dir string) []mountInfo {
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	var found []mountInfo
	for line := range strings.Lines(string(info)) {
		f := strings.Fields(line)
		sep := 0
		for i := range f {
			if f[i] == "-" {
				sep = i
				break
			}
		}
		if sep == 0 || sep+1 >= len(f) {
			continue
		}
		if f[4] == dir || strings.HasPrefix(f[4], dir+"/") {
			_, minor, _ := strings.Cut(f[2], ":")
			found = append(found, mountInfo{f[4], f[sep+1], minor})
		}
	}
	return found
}

// abort ends all requests of a FUSE mount with an error and takes it away.
func (m mountInfo) abort() {
	if strings.HasPrefix(m.fstype, "fuse") {
		if os.WriteFile("/sys/fs/fuse/connections/"+m.minor+"/abort", []byte("1"), 0) != nil {
			_ = unix.Unmount(m.dir, unix.MNT_FORCE)
		}
	}
	_ = unix.Unmount(m.dir, unix.MNT_DETACH)
}
