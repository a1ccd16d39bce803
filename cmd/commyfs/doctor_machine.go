package main

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/diff"
	"github.com/commy-project/commyfs/fs/mountpoint"
)

const (
	// Inotify limits that a user's programs are unlikely to reach. Kernels before 5.11 had lower ones.
	enoughWatches   = 65536
	enoughInstances = 128
	// enoughFiles is enough for a server with a few thousand connections, one descriptor each.
	enoughFiles = 4096
)

// machineChecks check what is (nearly) the same for every user of the machine.
func machineChecks(kernel string) []check {
	one := func(name string, f func() finding) check {
		return check{name, func(context.Context) []finding { return []finding{f()} }}
	}
	privileged := mountpoint.Privileged()
	release := kernelRelease()
	return []check{
		one("version", func() finding { return judgeVersion(currentVersion(), release, runtime.GOARCH) }),
		one("cpu", func() finding { return judgeCPU(kernel) }),
		one("fuse", func() finding { return judgeDevice(mountpoint.CheckDevice()) }),
		one("fusermount", func() finding { return judgeHelper(lookAtHelper(privileged)) }),
		one("allow-other", func() finding {
			conf, err := os.ReadFile("/etc/fuse.conf")
			return judgeAllowOther(privileged, string(conf), err)
		}),
		one("passthrough", func() finding { return judgePassthrough(release, privileged) }),
		one("inotify", func() finding {
			watches, err1 := procNumber("max_user_watches")
			instances, err2 := procNumber("max_user_instances")
			return judgeInotify(watches, instances, errors.Join(err1, err2))
		}),
		one("open-files", func() finding {
			var l syscall.Rlimit
			err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l)
			return judgeOpenFiles(l.Max, err) // the runtime raises the soft limit to the hard one
		}),
	}
}

func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "of an unknown release"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// atLeast compares kernel releases. An unreadable one counts as new.
func atLeast(release string, major, minor int) bool {
	var a, b int
	if _, err := fmt.Sscanf(release, "%d.%d", &a, &b); err != nil {
		return true
	}
	return a > major || a == major && b >= minor
}

func judgeVersion(version, release, arch string) finding {
	f := good("version", "commyfs %s, Linux %s, %s", version, release, arch)
	if !atLeast(release, 5, 8) {
		return f.but(statusFail, "update the kernel to 5.8 or later")
	}
	return f
}

// judgeCPU takes the value of COMMYFS_DIFF.
func judgeCPU(chosen string) finding {
	all := diff.Implementations()
	if chosen != "" {
		if err := diff.Use(chosen); err != nil {
			return troubled("cpu", fmt.Errorf("COMMYFS_DIFF: %w", err), "unset COMMYFS_DIFF")
		}
	}
	used := diff.Implementation()
	f := good("cpu", "%d CPUs, values are compared with %s (available: %s)", runtime.GOMAXPROCS(0), used, strings.Join(all, ", "))
	if used != all[0] {
		return f.but(statusWarn, "unset COMMYFS_DIFF: "+all[0]+" is faster")
	}
	return f
}

func judgeDevice(err error) finding {
	if err != nil {
		return troubled("fuse", err, "run \"modprobe fuse\" as root")
	}
	return good("fuse", "/dev/fuse can be opened")
}

// helper is the state of fusermount3.
type helper struct {
	privileged bool // it is not needed
	path       string
	err        error
	setuid     bool // or it has file capabilities
	nosuid     bool // its file system ignores setuid
	noNewPrivs bool // this process cannot gain privileges
}

func lookAtHelper(privileged bool) helper {
	h := helper{privileged: privileged}
	if h.path, h.err = mountpoint.Helper(); h.err != nil {
		return h
	}
	var st unix.Stat_t
	if h.err = unix.Stat(h.path, &st); h.err != nil {
		return h
	}
	_, err := unix.Getxattr(h.path, "security.capability", nil)
	h.setuid = st.Mode&unix.S_ISUID != 0 && st.Uid == 0 || err == nil
	var sfs unix.Statfs_t
	h.nosuid = unix.Statfs(h.path, &sfs) == nil && sfs.Flags&unix.ST_NOSUID != 0
	n, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	h.noNewPrivs = err == nil && n == 1
	return h
}

func judgeHelper(h helper) finding {
	switch {
	case h.privileged:
		return skipped("fusermount", "not needed with CAP_SYS_ADMIN")
	case h.err != nil:
		return troubled("fusermount", h.err, "install the package fuse3")
	case h.noNewPrivs:
		return good("fusermount", "%s cannot run as root: no_new_privs is set for this process", h.path).but(statusFail,
			"turn that off: NoNewPrivileges= in systemd, --security-opt no-new-privileges for containers")
	case h.nosuid:
		return good("fusermount", "%s is on a file system mounted with nosuid", h.path).but(statusFail, "install the package fuse3 on another file system")
	case !h.setuid:
		return good("fusermount", "%s is not setuid root", h.path).but(statusFail, "run `chown root "+quoted(h.path)+" && chmod u+s "+quoted(h.path)+"` as root")
	}
	return good("fusermount", "%s is setuid root", h.path)
}

func judgeAllowOther(privileged bool, conf string, err error) finding {
	const line = "user_allow_other"
	switch {
	case privileged:
		return skipped("allow-other", "--allow-other needs no permission with CAP_SYS_ADMIN")
	case err != nil && !errors.Is(err, iofs.ErrNotExist):
		return skipped("allow-other", "%v", err) // fusermount3 may read it as root
	case slices.ContainsFunc(strings.Split(conf, "\n"), func(l string) bool { return strings.TrimSpace(l) == line }):
		return good("allow-other", "/etc/fuse.conf has %s", line)
	}
	return good("allow-other", "users may not use mount --allow-other").but(statusWarn, "if you need it, add the line "+line+" to /etc/fuse.conf")
}

func judgePassthrough(release string, privileged bool) finding {
	const without = "without it .service.mem in a mount cannot be mapped"
	switch {
	case !atLeast(release, 6, 9):
		return skipped("passthrough", "needs Linux 6.9; %s", without)
	case !privileged:
		return skipped("passthrough", "needs CAP_SYS_ADMIN; %s", without)
	}
	return good("passthrough", "available: programs can map .service.mem in a mount")
}

func procNumber(name string) (int, error) {
	text, err := os.ReadFile("/proc/sys/fs/inotify/" + name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

func judgeInotify(watches, instances int, err error) finding {
	if err != nil {
		return skipped("inotify", "%s", errorLine(err))
	}
	f := good("inotify", "%d watches and %d instances per user", watches, instances)
	var set []string
	if watches < enoughWatches {
		set = append(set, "fs.inotify.max_user_watches=524288")
	}
	if instances < enoughInstances {
		set = append(set, "fs.inotify.max_user_instances=512")
	}
	if len(set) > 0 {
		return f.but(statusWarn, "run `sysctl -w "+strings.Join(set, " ")+"` as root")
	}
	return f
}

func judgeOpenFiles(limit uint64, err error) finding {
	if err != nil {
		return skipped("open-files", "%v", err)
	}
	f := good("open-files", "up to %d", limit)
	if limit == unix.RLIM_INFINITY {
		return good("open-files", "no limit")
	}
	if limit < enoughFiles {
		return f.but(statusWarn, fmt.Sprintf("raise the hard limit to %d: `ulimit -Hn %[1]d` as root, or LimitNOFILE= in systemd", 16*enoughFiles))
	}
	return f
}

// quoted quotes s for a shell.
func quoted(s string) string {
	plain := func(r rune) bool {
		return '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || strings.ContainsRune("/._-+,:@%", r)
	}
	if s != "" && strings.TrimFunc(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
