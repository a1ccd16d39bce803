package poke

import (
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// run is the poker's thread. It stays locked for ever: a thread with a table of its own must not run other
// goroutines, and Go ends the thread of a goroutine that ends locked. New threads do not inherit the table either: Go
// never clones a locked thread.
func (p *Poker) run(started chan<- error) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// The main thread cannot end alone, and its table is what /proc/PID/fd shows. While this goroutine holds it,
		// another one gets another thread.
		ready := make(chan error, 1)
		go p.run(ready)
		err := <-ready
		runtime.UnlockOSThread()
		started <- err
		return
	}
	defer close(p.done)
	if err := ownTable(); err != nil {
		started <- err
		return
	}
	p.tid = uint32(unix.Gettid())
	if err := p.checkMount(); err != nil {
		started <- err
		return
	}
	started <- nil
	for {
		select {
		case c := <-p.calls:
			c.result <- c.do()
		case <-p.quit:
			return
		}
	}
}

// startNetpoll makes the Go runtime open the descriptors of its poller, if it has not yet.
//
// The runtime polls from every thread, at the latest when an allocation there starts a garbage collection, and aborts
// the process when that fails. So its poller must exist before the table is unshared, see ownTable.
func startNetpoll() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	r.Close()
	w.Close()
	return nil
}

// ownTable gives the calling thread a descriptor table with nothing in it but standard input, output and error, and
// the poller of the Go runtime: an epoll and an event descriptor. Those two keep no other file open.
func ownTable() error {
	if err := unix.Unshare(unix.CLONE_FILES); err != nil {
		return fmt.Errorf("unshare the descriptor table: %w", err)
	}
	fds, err := openFDs()
	if err != nil {
		return fmt.Errorf("list descriptors: %w", err)
	}
	buf := make([]byte, 64)
	for _, fd := range fds {
		if fd < 3 {
			continue
		}
		n, err := unix.Readlink(fmt.Sprintf("/proc/thread-self/fd/%d", fd), buf)
		if err == unix.ENOENT {
			continue // the one that listed them
		}
		if err != nil {
			return fmt.Errorf("list descriptors: %w", err)
		}
		if link := string(buf[:n]); link != "anon_inode:[eventpoll]" && link != "anon_inode:[eventfd]" {
			unix.Close(fd)
		}
	}
	return nil
}

// openFDs lists the descriptors of the calling thread. Package os must not be used here: it would put the descriptor
// into the poller.
func openFDs() ([]int, error) {
	dir, err := unix.Open("/proc/thread-self/fd", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	var names []string
	buf := make([]byte, 8192)
	for {
		n, err := unix.ReadDirent(dir, buf)
		if err != nil {
			return nil, err
		}
		if n <= 0 {
			break
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
	fds := make([]int, 0, len(names))
	for _, name := range names {
		fd, err := strconv.Atoi(name)
		if err != nil {
			return nil, err
		}
		fds = append(fds, fd)
	}
	return fds, nil
}
