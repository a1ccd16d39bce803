package mountpoint

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// fusermount3 is the setuid helper of libfuse, which mounts for users without CAP_SYS_ADMIN.
const fusermount3 = "fusermount3"

func findFusermount() (string, error) {
	for _, name := range []string{fusermount3, "/usr/bin/" + fusermount3, "/bin/" + fusermount3} {
		if p, err := exec.LookPath(name); err == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("%s: %w: install the package fuse3, or run as root", fusermount3, exec.ErrNotFound)
}

// mountFusermount lets fusermount3 mount and receives the descriptor from it.
func mountFusermount(dir string, o options) (int, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socketpair: %w", err)
	}
	defer unix.Close(pair[0])
	remote := os.NewFile(uintptr(pair[1]), "fusermount3 socket")
	err = runFusermount(remote, "-o", o.fusermount(), "--", dir)
	// Ours must be closed before receiving: without a sender left, a missing descriptor is end of file, not a wait.
	remote.Close()
	if err != nil {
		return -1, err
	}
	return receiveFD(pair[0])
}

// receiveFD takes one descriptor from a message, close-on-exec from the start.
func receiveFD(sock int) (int, error) {
	oob := make([]byte, unix.CmsgSpace(4))
	var n int
	err := retry(func() (err error) {
		_, n, _, _, err = unix.Recvmsg(sock, make([]byte, 8), oob, unix.MSG_CMSG_CLOEXEC)
		return err
	})
	if err != nil {
		return -1, fmt.Errorf("receive from %s: %w", fusermount3, err)
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		return -1, fmt.Errorf("receive from %s: %w", fusermount3, err)
	}
	for i := range msgs {
		if fds, err := unix.ParseUnixRights(&msgs[i]); err == nil && len(fds) == 1 {
			return fds[0], nil
		}
	}
	return -1, fmt.Errorf("%s sent no descriptor", fusermount3)
}

// runFusermount runs the helper; comm, if any, is where it sends the descriptor. Its environment is otherwise empty,
// so that its messages are in English.
func runFusermount(comm *os.File, args ...string) error {
	bin, err := findFusermount()
	if err != nil {
		return err
	}
	cmd := exec.Command(bin, args...)
	cmd.Env = []string{}
	if comm != nil {
		cmd.ExtraFiles = []*os.File{comm}
		cmd.Env = []string{"_FUSE_COMMFD=3"}
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return fusermountError(stderr.String(), err)
	}
	return nil
}

// fusermountError turns the helper's message into one line that says what to do.
func fusermountError(stderr string, err error) error {
	text, _, _ := strings.Cut(strings.TrimSpace(stderr), "\n")
	text = strings.TrimPrefix(text, fusermount3+": ")
	if text == "" {
		return fmt.Errorf("%s: %w", fusermount3, err)
	}
	hint := ""
	switch {
	case strings.Contains(text, "user_allow_other"):
		return errors.New("users may not use allow_other: add the line user_allow_other to /etc/fuse.conf, or mount without it")
	case strings.Contains(text, "busy"):
		return fmt.Errorf("%s: %w", fusermount3, unix.EBUSY)
	case strings.Contains(text, "failed to open "+devFuse):
		hint = ": run as root or \"chmod 0666 " + devFuse + "\""
	case strings.Contains(text, "device not found"):
		hint = ": run \"modprobe fuse\""
	case strings.Contains(text, "no write access"):
		hint = ": mount on a directory of your own"
	case strings.Contains(text, "Operation not permitted"):
		hint = ": " + fusermount3 + " must be setuid root, and a container needs CAP_SYS_ADMIN"
	}
	return fmt.Errorf("%s: %s%s", fusermount3, text, hint)
}
