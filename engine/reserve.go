package engine

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// reserve keeps blocks set aside behind the end of the database file. etcd writes a batch to its log at once, in files
// that are preallocated, but to the database up to 100 ms later, and ends the process if the disk has become full
// in the meantime. Only the holder of the turn to commit may use it.
type reserve struct {
	path string
	f    *os.File
	upTo int64 // blocks are set aside up to here
}

// fallocate is a variable for tests.
var fallocate = unix.Fallocate

// retry repeats a system call that a signal interrupted; the Go runtime sends itself signals all the time.
func retry(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

// reserveStep is how much is set aside at a time.
const reserveStep = 16 << 20

// ensure sets blocks aside up to the given size of the file.
func (r *reserve) ensure(upTo int64) error {
	if upTo <= r.upTo {
		return nil
	}
	if r.f == nil {
		f, err := os.OpenFile(r.path, os.O_RDWR, 0)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		r.f = f
	}
	upTo = (upTo + reserveStep - 1) / reserveStep * reserveStep
	err := retry(func() error { return fallocate(int(r.f.Fd()), unix.FALLOC_FL_KEEP_SIZE, r.upTo, upTo-r.upTo) })
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	case err != nil && !errors.Is(err, unix.EOPNOTSUPP): // then MinFree must do
		return fmt.Errorf("%w: set blocks aside: %w", ErrUnavailable, err)
	}
	r.upTo = upTo
	return nil
}

// release gives back what was not used. The database must be closed.
func (r *reserve) release() error {
	if r.f == nil {
		return nil
	}
	st, err := r.f.Stat()
	if err == nil {
		err = r.f.Truncate(st.Size()) // frees the blocks behind the end
	}
	return errors.Join(err, r.forget())
}

// forget is for when the file has been replaced by another.
func (r *reserve) forget() error {
	if r.f == nil {
		return nil
	}
	err := r.f.Close()
	r.f, r.upTo = nil, 0
	return err
}
