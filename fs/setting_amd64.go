package fs

import "golang.org/x/sys/unix"

// legacySetting are those of setting that newer architectures do not have.
var legacySetting = []int{unix.SYS_OPEN, unix.SYS_CREAT, unix.SYS_CHMOD, unix.SYS_CHOWN, unix.SYS_LCHOWN, unix.SYS_UTIME, unix.SYS_UTIMES,
	unix.SYS_FUTIMESAT}
