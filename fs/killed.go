package fs

import (
	"bytes"
	"os"
	"strconv"
)

// pfSignaled is PF_SIGNALED of the kernel's task flags: the task ends because of a signal.
const pfSignaled = 0x400

// dying reports whether a thread is being ended by a signal. A thread that this process cannot see (another pid
// namespace) counts as not.
func dying(tid uint32) bool {
	if tid == 0 {
		return false
	}
	stat, err := os.ReadFile("/proc/" + strconv.FormatUint(uint64(tid), 10) + "/stat")
	if err != nil {
		return false
	}
	// Fields are counted from the end of the command's name, which may hold anything: state is the first, flags the 7th.
	i := bytes.LastIndexByte(stat, ')')
	if i < 0 {
		return false
	}
	fields := bytes.Fields(stat[i+1:])
	if len(fields) < 7 {
		return false
	}
	flags, err := strconv.ParseUint(string(fields[6]), 10, 64)
	return err == nil && flags&pfSignaled != 0
}

// process returns the process of a thread, 0 if it is gone or cannot be seen.
func process(tid uint32) int {
	status, err := os.ReadFile("/proc/" + strconv.FormatUint(uint64(tid), 10) + "/status")
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(status, []byte("\nTgid:"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	pid, _ := strconv.Atoi(string(bytes.TrimSpace(line)))
	return pid
}
