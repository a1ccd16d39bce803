package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// preadCached is what the mounts of commyfs have in the page cache; so is the variable called.
const preadCached = "pread_cached"

// valueSize is the size of every variable but the one that echo writes.
const valueSize = 64

// work is one operation on one file system, ready to be repeated.
type work struct {
	op     func() (time.Duration, error) // does it once and says how long that took
	settle func() error                  // waits for the effects and checks them; may be nil
	close  func() error                  // may be nil
}

// operation is a line of the report for each file system.
type operation struct {
	name  string
	about string // what is in the figure
	far   bool   // also between hosts
	open  func(ctx context.Context, r *runner, s *system, path string) (*work, error)
}

// cases are the operations in the order of the report.
var cases = []operation{
	{"open_read_close", "open for reading, read, close", false, openReadClose},
	{"pread", "on an open descriptor", false, pread},
	{preadCached, "on an open descriptor: on commyfs of a mount that serves the variable from the page cache (--cache)", false, pread},
	{"pwrite", "on an open descriptor: what the writer waits for, which is no commit", false, pwrite},
	{"pwrite_fsync", "pwrite and fsync: on commyfs a commit, stored at the server", false, pwriteFsync},
	{"stat", "by path", false, stat},
	{"echo", "echo > file by a shell: on commyfs a commit", false, echo},
	{"list", "ls -f of a directory of 10,000 files: open, getdents, close", false, listDirectory},
	{"flock", "lock and unlock what nobody else wants: on commyfs two round trips", true, lockFree},
	{"handover", "from an unlock on one mount until who waits for the lock on another has it: on commyfs a round trip, to the server and from it", true, handover},
	{"wake", "from pwrite on one mount until who waits for the event on another has read the value", true, wake},
}

// trial is the measuring of one operation on one file system.
type trial struct {
	system *system
	work   *work
	hist   histogram
	spent  time.Duration
	err    error
}

func (r *runner) measureCase(ctx context.Context, c operation, systems []*system) {
	var trials []*trial
	for _, s := range systems {
		if s.remote && !c.far {
			continue
		}
		t := &trial{system: s, err: s.err}
		trials = append(trials, t)
		if t.err == nil {
			t.work, t.err = c.begin(ctx, r, s)
		}
	}
	for first := 0; ; first++ {
		active := 0
		for i := range trials {
			t := trials[(first+i)%len(trials)]
			if t.err != nil || t.spent >= r.o.Time {
				continue
			}
			active++
			if t.err = t.slice(ctx, r.o); t.err == nil && t.work.settle != nil {
				t.err = t.work.settle()
			}
		}
		if active == 0 {
			break
		}
	}
	for _, t := range trials {
		if t.work != nil && t.work.close != nil {
			if err := t.work.close(); t.err == nil {
				t.err = err
			}
		}
		r.report.add(c.name, t.system, &t.hist, t.err)
	}
}

func (c *operation) begin(ctx context.Context, r *runner, s *system) (*work, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	path := filepath.Join(s.dir, c.name)
	if err := createFile(path); err != nil {
		return nil, err
	}
	return c.open(ctx, r, s, path)
}

// slice does one stretch of work. The first operation does not count: what the turn of another file system left cold
// belongs to the alternation.
func (t *trial) slice(ctx context.Context, o Options) error {
	var start time.Time
	for counts := false; ; {
		d, err := t.work.op()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		switch {
		case errors.Is(err, unix.EINTR): // by the scheduler of Go
			continue
		case err != nil:
			return err
		case !counts:
			counts, start = true, time.Now()
			continue
		}
		t.hist.add(d)
		if elapsed := time.Since(start); elapsed >= min(o.Slice, o.Time-t.spent) {
			t.spent += elapsed
			return nil
		}
	}
}

func openReadClose(_ context.Context, _ *runner, _ *system, path string) (*work, error) {
	buf := make([]byte, 2*valueSize)
	op := func() (time.Duration, error) {
		start := time.Now()
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return 0, fmt.Errorf("open: %w", err)
		}
		n, err := unix.Read(fd, buf)
		closeErr := unix.Close(fd)
		d := time.Since(start)
		return d, errors.Join(checkCount(n, err), closeErr)
	}
	return &work{op: op}, nil
}

func pread(_ context.Context, _ *runner, _ *system, path string) (*work, error) {
	fd, err := openFile(path, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	buf := make([]byte, valueSize)
	op := func() (time.Duration, error) {
		start := time.Now()
		n, err := unix.Pread(fd, buf, 0)
		d := time.Since(start)
		return d, checkCount(n, err)
	}
	return &work{op: op, close: func() error { return unix.Close(fd) }}, nil
}

// pwrite ends when the writer may go on. On commyfs that is before anybody else can know of the value.
func pwrite(_ context.Context, _ *runner, _ *system, path string) (*work, error) {
	return writing(path, func(int) error { return nil })
}

// pwriteFsync ends when the value is committed.
func pwriteFsync(_ context.Context, _ *runner, _ *system, path string) (*work, error) {
	return writing(path, fsync)
}

func fsync(fd int) error {
	if err := ignoringEINTR(func() error { return unix.Fsync(fd) }); err != nil {
		return fmt.Errorf("fsync: %w", err)
	}
	return nil
}

// writing writes another number each time: identical writes are no changes and cost less.
func writing(path string, commit func(fd int) error) (*work, error) {
	fd, err := openFile(path, unix.O_RDWR)
	if err != nil {
		return nil, err
	}
	var number uint64
	var buf, got [8]byte
	op := func() (time.Duration, error) {
		number++
		binary.LittleEndian.PutUint64(buf[:], number)
		start := time.Now()
		n, err := unix.Pwrite(fd, buf[:], 0)
		if err == nil {
			err = commit(fd)
		}
		d := time.Since(start)
		return d, checkWritten(n, err)
	}
	settle := func() error {
		if err := fsync(fd); err != nil {
			return err
		}
		if _, err := unix.Pread(fd, got[:], 0); err != nil {
			return fmt.Errorf("read back: %w", err)
		}
		if got != buf {
			return fmt.Errorf("wrote %x, read back %x", buf, got)
		}
		return nil
	}
	return &work{op: op, settle: settle, close: func() error { return unix.Close(fd) }}, nil
}

func stat(_ context.Context, _ *runner, _ *system, path string) (*work, error) {
	var st unix.Stat_t
	op := func() (time.Duration, error) {
		start := time.Now()
		err := unix.Stat(path, &st)
		d := time.Since(start)
		if err == nil && st.Size != valueSize {
			err = fmt.Errorf("stat: size %d, want %d", st.Size, valueSize)
		}
		return d, err
	}
	return &work{op: op}, nil
}

// echo has a dash that lives on do the writing, so that no fork is in it.
func echo(_ context.Context, r *runner, _ *system, path string) (*work, error) {
	sh, err := r.procs.startShell()
	if err != nil {
		return nil, err
	}
	var number int
	var command, want []byte
	op := func() (time.Duration, error) {
		number++
		want = fmt.Appendf(want[:0], "%08d\n", number)
		command = fmt.Appendf(command[:0], "echo %08d >%s;echo $?\n", number, shellQuote(path))
		start := time.Now()
		err := sh.do(command)
		return time.Since(start), err
	}
	settle := func() error {
		got, err := readFile(path)
		if err == nil && !bytes.Equal(got, want) {
			err = fmt.Errorf("wrote %q, read back %q", want, got)
		}
		return err
	}
	return &work{op: op, settle: settle, close: sh.close}, nil
}

func checkCount(n int, err error) error {
	if err == nil && n != valueSize {
		err = fmt.Errorf("%d bytes, want %d", n, valueSize)
	}
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	return nil
}

func checkWritten(n int, err error) error {
	if err == nil && n != 8 {
		err = fmt.Errorf("%d bytes of 8", n)
	}
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}
