// Package poke raises inotify events for changes that come from outside this machine.
//
// The kernel raises events only for system calls. A notification to the kernel's FUSE code raises none, so after
// publishing a change the daemon does a harmless system call on its own mount: a [Poker] does it, and the daemon's
// handlers recognise it by the calling thread ([Poker.TID], which FUSE puts into every request) and answer it from
// memory without changing anything.
//
// Two rules keep that safe. Do is never called from a request handler or with a lock that a handler takes: it waits
// for a handler. And the calls are made by one thread with a table of file descriptors of its own, in which /dev/fuse
// is closed. A thread waiting for a FUSE answer cannot be killed, and in the shared table it would keep /dev/fuse, and
// so the mount and itself, alive for ever after kill -9 of the process. In its own table it keeps nothing: the kernel
// closes the last /dev/fuse with the other threads, and that ends the wait.
package poke

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ErrClosed is returned by [Poker.Do] after [Poker.Close].
var ErrClosed = errors.New("poker is closed")

// ErrNotMounted says that the directory shows another file system than the one to poke: ours is unmounted, or
// something is mounted over it. Nothing was touched.
var ErrNotMounted = errors.New("not our mount")

// Kind selects the system call of an [Op] and with it the events. The zero Kind is invalid.
type Kind uint8

// The events named here are those of a watch on the directory and, after the semicolon, of one on the file itself.
const (
	// Modify sets only the modification time, to Op.MTime: MODIFY; MODIFY.
	Modify Kind = iota + 1
	// CloseWrite opens for writing and closes: OPEN, CLOSE_WRITE; OPEN, CLOSE_WRITE.
	CloseWrite
	// Create makes a regular file with mknod and Op.Mode: CREATE.
	Create
	// Mkdir makes a directory with Op.Mode: CREATE|ISDIR.
	Mkdir
	// Unlink removes a file: DELETE; ATTRIB, DELETE_SELF, IGNORED.
	Unlink
	// Rmdir removes a directory: DELETE|ISDIR; DELETE_SELF, IGNORED.
	Rmdir
	// Rename moves Op.Path to Op.NewPath: MOVED_FROM, MOVED_TO; MOVE_SELF.
	Rename
	// Attrib sets both times, to Op.MTime: ATTRIB; ATTRIB.
	Attrib
	// Exchange gives Op.Path and Op.NewPath, which are both there, each other's name: two times MOVED_FROM, MOVED_TO; MOVE_SELF.
	Exchange
	// StatSync makes the kernel ask the daemon for the attributes again. It raises no event.
	StatSync
)

var kindNames = [...]string{
	Modify: "modify", CloseWrite: "close-write", Create: "create", Mkdir: "mkdir",
	Unlink: "unlink", Rmdir: "rmdir", Rename: "rename", Attrib: "attrib", Exchange: "exchange", StatSync: "stat",
}

// String names the kind for messages.
func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Op is one poke.
type Op struct {
	Kind Kind
	// Path is relative to the mount and of any length, e.g. "plant/line1/temp", or "." for the mount's root. It has no
	// empty, "." or ".." components. Neither symbolic links nor mounts inside the mount are followed.
	Path string
	// NewPath is where Rename moves to, or what Exchange exchanges Path with.
	NewPath string
	// Mode holds the permission bits for Create and Mkdir, before the process's umask.
	Mode uint32
	// MTime is what Modify and Attrib set; it must not be zero. Give the true time: tools must not see an invented one.
	MTime time.Time
}

// Poker pokes one mount from a thread of its own. Its methods may be called from several goroutines.
type Poker struct {
	dir   string
	dev   uint64
	tid   uint32
	calls chan call
	quit  chan struct{}
	done  chan struct{}
	close sync.Once
}

// call is work for the poker's thread.
type call struct {
	do     func() error
	result chan error
}

// New starts a poker for the mount on dir, an absolute path, whose files have the st_dev dev (mountpoint.Mountpoint's
// Dir and Dev). It sends the mount nothing, so the mount need not be served yet. The caller must Close it.
func New(dir string, dev uint64) (*Poker, error) {
	p := &Poker{
		dir:   dir,
		dev:   dev,
		calls: make(chan call),
		quit:  make(chan struct{}),
		done:  make(chan struct{}),
	}
	if err := startNetpoll(); err != nil {
		return nil, fmt.Errorf("start poker: %w", err)
	}
	started := make(chan error, 1)
	go p.run(started)
	if err := <-started; err != nil {
		<-p.done
		return nil, fmt.Errorf("start poker: %w", err)
	}
	return p, nil
}

// TID is the thread id that the mount's handlers see in the header of a poke's requests. After Close the kernel may
// give it to another thread.
func (p *Poker) TID() uint32 { return p.tid }

// Do does op and returns when the kernel has raised its events. Calls are done one after the other. An error wraps
// the errno, or [ErrNotMounted], or [ErrClosed].
func (p *Poker) Do(op Op) error {
	if err := op.check(); err != nil {
		return fmt.Errorf("poke %s %s: %w", op.Kind, op.Path, err)
	}
	if err := p.call(func() error { return p.perform(op) }); err != nil {
		return fmt.Errorf("poke %s %s: %w", op.Kind, op.Path, err)
	}
	return nil
}

// DoAll does several of [Modify], [Attrib] and [CloseWrite], one after the other, and returns an error of each, or nil. It costs
// less than so many calls of Do.
func (p *Poker) DoAll(ops []Op) []error {
	errs := make([]error, len(ops))
	err := p.call(func() error {
		root, err := p.openRoot()
		if err != nil {
			return err
		}
		defer unix.Close(root)
		for i, op := range ops {
			if errs[i] = op.check(); errs[i] == nil {
				errs[i] = touch(root, op)
			}
		}
		return nil
	})
	for i, op := range ops {
		if err != nil {
			errs[i] = err
		}
		if errs[i] != nil {
			errs[i] = fmt.Errorf("poke %s %s: %w", op.Kind, op.Path, errs[i])
		}
	}
	return errs
}

// call runs f on the poker's thread.
func (p *Poker) call(f func() error) error {
	c := call{f, make(chan error, 1)}
	select {
	case p.calls <- c:
		return <-c.result
	case <-p.quit:
		return ErrClosed
	}
}

// Close ends the thread. It waits for a Do under way, and so for the mount's handlers: the server must still answer,
// or its connection must be gone. Further calls do nothing.
func (p *Poker) Close() {
	p.close.Do(func() { close(p.quit) })
	<-p.done
}
