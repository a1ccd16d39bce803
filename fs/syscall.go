package fs

import (
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	sysTruncate = unix.SYS_TRUNCATE
	sysUnknown  = -1
)

// syscallBound is how long a request waits for what its thread is doing. Only a thread inside execve takes so long to tell,
// and one that has read by a mapping what execve is to be given.
const syscallBound = 500 * time.Millisecond

// syscall returns the number of the system call that a thread is in, sysUnknown if that cannot be seen.
func (f *FS) syscall(thread uint32) int {
	return awaitSyscall(func() ([]byte, error) {
		return f.callers.readFor(thread, "syscall", f.callers.probes, syscallBound)
	})
}

// truncates reports whether a thread that asks for a size is in truncate(2). This can be read at once: the thread is not
// inside execve, and another one of its process that is has to wait for its end before anything is held back.
func (f *FS) truncates(thread uint32) bool {
	return thread != 0 && sysTruncate == awaitSyscall(func() ([]byte, error) {
		return f.syscalls.read(thread)
	})
}

// systemCall returns the number of the system call that a thread is in that waits for a request, and its arguments.
func (f *FS) systemCall(thread uint32) (number int, args []uint64) {
	if thread == 0 {
		return sysUnknown, nil
	}
	number = awaitSyscall(func() ([]byte, error) {
		data, err := f.syscalls.read(thread)
		args = args[:0]
		for i, field := range strings.Fields(string(data)) {
			if n, err := strconv.ParseUint(field, 0, 64); err == nil && i > 0 {
				args = append(args, n)
			}
		}
		return data, err
	})
	return number, args
}

func awaitSyscall(read func() ([]byte, error)) int {
	for range 100 {
		data, err := read()
		if err != nil {
			return sysUnknown
		}
		number, _, _ := strings.Cut(string(data), " ")
		if n, err := strconv.Atoi(number); err == nil {
			return n
		}
		time.Sleep(100 * time.Microsecond) // it runs: it has not begun to wait for the answer yet
	}
	return sysUnknown
}

// maxTaskFiles bounds the files in /proc that are kept open.
const maxTaskFiles = 64

// taskFiles has the file that tells the system call of a thread open, for threads that replace one value after the other. A
// file is of one thread: when its number is given to another there is nothing to be read any more.
type taskFiles struct {
	mu     sync.Mutex     // guards the following
	m      map[uint32]int // thread -> descriptor, unless somebody reads
	closed bool
}

func (ts *taskFiles) init() { ts.m = map[uint32]int{} }

// read reads what a thread is doing, without waiting for it.
func (ts *taskFiles) read(thread uint32) ([]byte, error) {
	ts.mu.Lock()
	fd, kept := ts.m[thread]
	delete(ts.m, thread)
	ts.mu.Unlock()
	buf := make([]byte, 256) // nine numbers
	if kept {
		if n, err := readAgain(fd, buf); err == nil {
			ts.keep(thread, fd)
			return buf[:n], nil
		}
		unix.Close(fd)
	}
	fd, err := ignoringEINTR(func() (int, error) { return unix.Open(taskFile(thread, "syscall"), unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, err
	}
	n, err := readAgain(fd, buf)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	ts.keep(thread, fd)
	return buf[:n], nil
}

func readAgain(fd int, buf []byte) (int, error) {
	return ignoringEINTR(func() (int, error) { return unix.Pread(fd, buf, 0) })
}

// keep keeps a thread's file open, instead of any other if there are too many.
func (ts *taskFiles) keep(thread uint32, fd int) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.closed {
		unix.Close(fd)
		return
	}
	drop := thread // that two have read at the same time
	if _, had := ts.m[thread]; !had && len(ts.m) >= maxTaskFiles {
		for drop = range ts.m {
			break
		}
	}
	if old, had := ts.m[drop]; had {
		unix.Close(old)
		delete(ts.m, drop)
	}
	ts.m[thread] = fd
}

// close closes what is kept; nothing is from then on.
func (ts *taskFiles) close() {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.closed = true
	for thread, fd := range ts.m {
		unix.Close(fd)
		delete(ts.m, thread)
	}
}
