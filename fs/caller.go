package fs

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// What is known of the task that makes a request. A handler never waits for the state of its caller: files in /proc such as
// stat and syscall cannot be read while the task is inside execve, and there it may be waiting for this very handler,
// because the kernel sends FLUSH for what exec closes.

const (
	// maxProbes bounds the reads that wait for a task, each of which takes a thread.
	maxProbes = 8
	// probeBound is how long a handler waits for a file that a task inside execve holds back.
	probeBound = 20 * time.Millisecond
	// statusBound is for a file that nothing holds back: only a machine under load can reach it.
	statusBound = time.Second
)

// errHeldBack says that a file in /proc cannot be read now: its task is inside execve, and so alive.
var errHeldBack = errors.New("the task is inside execve")

// callers reads files in /proc without waiting for their tasks.
type callers struct {
	probes   chan struct{}                // has a token for each read under way, of files that can be held back
	statuses chan struct{}                // the same for those that cannot
	open     func(string) ([]byte, error) // readFile
}

func (c *callers) init() {
	c.probes, c.statuses = make(chan struct{}, maxProbes), make(chan struct{}, 4*maxProbes)
	c.open = readFile
}

// read returns a file of a thread in /proc, or [errHeldBack] if that is not to be had at once. The read that was begun ends
// with the execve.
func (c *callers) read(tid uint32, file string) ([]byte, error) {
	slots, bound := c.probes, probeBound
	if file == "status" {
		slots, bound = c.statuses, statusBound
	}
	return c.readFor(tid, file, slots, bound)
}

// readFor is read with a bound of the caller's.
func (c *callers) readFor(tid uint32, file string, slots chan struct{}, bound time.Duration) ([]byte, error) {
	t := time.NewTimer(bound)
	defer t.Stop()
	select {
	case slots <- struct{}{}:
	case <-t.C:
		return nil, errHeldBack
	}
	type result struct {
		data []byte
		err  error
	}
	done := make(chan result, 1)
	go func() {
		defer func() { <-slots }()
		data, err := c.open(taskFile(tid, file))
		done <- result{data, err}
	}()
	select {
	case r := <-done:
		return r.data, r.err
	case <-t.C:
		return nil, errHeldBack
	}
}

func taskFile(tid uint32, file string) string {
	return "/proc/" + strconv.FormatUint(uint64(tid), 10) + "/" + file
}

// readFile reads a file in /proc that is one record: what is less than there is room for is all of it. os.ReadFile asks for its
// size, tries to poll it, and reads once more to see the end.
func readFile(name string) ([]byte, error) {
	fd, err := ignoringEINTR(func() (int, error) { return unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	data := make([]byte, 0, 256)
	for {
		room := data[len(data):cap(data)]
		n, err := ignoringEINTR(func() (int, error) { return unix.Read(fd, room) })
		if err != nil {
			return nil, err
		}
		data = data[:len(data)+n]
		if n < len(room) {
			return data, nil
		}
		data = slices.Grow(data, 2048)
	}
}

func ignoringEINTR(call func() (int, error)) (n int, err error) {
	for {
		if n, err = call(); err != unix.EINTR {
			return n, err
		}
	}
}

// status returns a thread's status, nil if it cannot be seen from here: it is gone, or in another pid namespace. It can be
// read at any time, also inside execve.
func (c *callers) status(tid uint32) []byte {
	if tid == 0 {
		return nil
	}
	data, err := c.read(tid, "status")
	if err != nil {
		return nil
	}
	return data
}

// fewThreads is how many threads are asked about one by one.
const fewThreads = 4

// processMates returns what tells whether a thread is of the same process as tid. There can be thousands to ask about, mostly the
// same few, or each of a process of its own.
func (c *callers) processMates(tid uint32) func(uint32) bool {
	known := map[uint32]bool{tid: true}
	pid := 0
	var all map[uint32]bool
	return func(other uint32) bool {
		same, ok := known[other]
		switch {
		case ok:
			return same
		case all != nil:
			return all[other]
		case len(known) > fewThreads:
			all = c.threads(tid)
			return all[other]
		}
		if pid == 0 {
			pid = c.process(tid)
		}
		same = c.process(other) == pid
		known[other] = same
		return same
	}
}

// threads are those of the process of a thread. Reading the directory waits for nobody.
func (c *callers) threads(tid uint32) map[uint32]bool {
	all := map[uint32]bool{}
	list, _ := os.ReadDir(taskFile(tid, "task"))
	for _, e := range list {
		if n, err := strconv.ParseUint(e.Name(), 10, 32); err == nil {
			all[uint32(n)] = true
		}
	}
	return all
}

// field returns the value of a line of a status.
func field(status []byte, name string) []byte {
	for line := range bytes.Lines(status) {
		if value, ok := bytes.CutPrefix(line, []byte(name+":")); ok {
			return bytes.TrimSpace(value)
		}
	}
	return nil
}

// pfSignaled is PF_SIGNALED of the kernel's task flags: the task ends because of a signal.
const pfSignaled = 0x400

// dying reports whether a thread is being ended by a signal. A thread that this process cannot see (another pid
// namespace) counts as not.
func (c *callers) dying(tid uint32) bool {
	// A task that ends has given its memory back before it closes its files. One that has memory is not ending, and may be
	// inside execve, where its flags cannot be read.
	if tid == 0 || hasMemory(tid) {
		return false
	}
	stat, err := c.read(tid, "stat")
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

// hasMemory reports whether a task that can be seen has memory. It waits for nothing, whatever the task is doing.
func hasMemory(tid uint32) bool {
	// Where are none of its pages? The answer is an error if it has no memory, or is not ours to ask about.
	if _, _, errno := unix.Syscall6(unix.SYS_MOVE_PAGES, uintptr(tid), 0, 0, 0, 0, 0); errno == 0 {
		return true
	}
	memory, err := readFile(taskFile(tid, "statm"))
	return err != nil || !bytes.HasPrefix(memory, []byte("0 "))
}

// process returns the process of a thread, 0 if it is gone or cannot be seen.
func (c *callers) process(tid uint32) int {
	pid, _ := strconv.Atoi(string(field(c.status(tid), "Tgid")))
	return pid
}

// parent returns the process that has started a process, 0 if it cannot be seen.
func (c *callers) parent(pid int) int {
	ppid, _ := strconv.Atoi(string(field(c.status(uint32(pid)), "PPid")))
	return ppid
}

// programOf is what a thread's program calls itself. It can be read at any time, also inside execve.
func programOf(tid uint32) string {
	if tid == 0 {
		return ""
	}
	name, _ := readFile(taskFile(tid, "comm"))
	return string(bytes.TrimSuffix(name, []byte("\n")))
}

// program is what a thread's program calls itself.
func (c *callers) program(tid uint32) string { return string(field(c.status(tid), "Name")) }

// inGroup reports whether the calling thread is a member of the group of the files. FUSE tells one group only, that which
// the thread's new files get; the others are in its status.
func (f *FS) inGroup(h *fuse.InHeader) bool {
	if h.Gid == f.o.GID {
		return true
	}
	for g := range bytes.FieldsSeq(field(f.callers.status(h.Pid), "Groups")) {
		if gid, err := strconv.ParseUint(string(g), 10, 32); err == nil && uint32(gid) == f.o.GID {
			return true
		}
	}
	return false
}
