package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// listDirectory is `ls -f` of a directory of many files.
func listDirectory(ctx context.Context, r *runner, s *system, path string) (*work, error) {
	dir := path + ".d"
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	if err := s.fill(ctx, r, dir); err != nil {
		return nil, err
	}
	buf := make([]byte, 32<<10)
	op := func() (time.Duration, error) {
		start := time.Now()
		fd, err := openFile(dir, unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			return 0, err
		}
		n, err := countEntries(fd, buf)
		closeErr := unix.Close(fd)
		d := time.Since(start)
		if err == nil && n != listed {
			err = fmt.Errorf("%d entries, want %d", n, listed)
		}
		return d, errors.Join(err, closeErr)
	}
	return &work{op: op}, nil
}

func countEntries(fd int, buf []byte) (count int, err error) {
	for {
		n := 0
		err := ignoringEINTR(func() (err error) {
			n, err = unix.Getdents(fd, buf)
			return err
		})
		if n <= 0 || err != nil {
			return count, err
		}
		count += CountDirents(buf[:n])
	}
}

// CountDirents counts what getdents has returned, but for . and .. .
func CountDirents(buf []byte) (n int) {
	const sizeAt, nameAt = 16, 19
	for len(buf) > nameAt {
		size := int(binary.NativeEndian.Uint16(buf[sizeAt:]))
		if name := buf[nameAt:size]; name[0] != '.' || name[1] != 0 && (name[1] != '.' || name[2] != 0) {
			n++
		}
		buf = buf[size:]
	}
	return n
}
