package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/bench/crowd"
)

// open is of a file that stays open for the row.
func (l *lab) open(path string, flags int) (int, error) {
	fd := -1
	err := again(func() (err error) {
		fd, err = unix.Open(path, flags|unix.O_CLOEXEC, 0o644)
		return err
	})
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", path, err)
	}
	l.later(func() error { return unix.Close(fd) })
	return fd, nil
}

// pwrite writes a value of 8 bytes, another one each time: what does not change costs less.
func pwrite(fd int, number *uint64) error {
	*number++
	var buf [8]byte
	binary.LittleEndian.PutUint64(buf[:], *number)
	return again(func() error {
		n, err := unix.Pwrite(fd, buf[:], 0)
		if err == nil && n != len(buf) {
			err = fmt.Errorf("pwrite: %d bytes of %d", n, len(buf))
		}
		return err
	})
}

// writing makes an operation on a file.
type writing func(l *lab, path string) (func() error, error)

func (l *lab) pwriteFsync(path string) (func() error, error) { return pwriteThen(l, path, unix.Fsync) }

func pwriteFdatasync(l *lab, path string) (func() error, error) {
	return pwriteThen(l, path, unix.Fdatasync)
}

func pwriteThen(l *lab, path string, sync func(int) error) (func() error, error) {
	fd, err := l.open(path, unix.O_RDWR|unix.O_CREAT)
	if err != nil {
		return nil, err
	}
	var number uint64
	return func() error {
		if err := pwrite(fd, &number); err != nil {
			return err
		}
		return again(func() error { return sync(fd) })
	}, nil
}

// truncWriteClose is what `echo > file` does, without a shell.
func truncWriteClose(_ *lab, path string) (func() error, error) {
	if err := os.WriteFile(path, make([]byte, 8), 0o644); err != nil {
		return nil, err
	}
	var number uint64
	return func() error {
		var fd int
		err := again(func() (err error) {
			fd, err = unix.Open(path, unix.O_WRONLY|unix.O_TRUNC|unix.O_CLOEXEC, 0)
			return err
		})
		if err != nil {
			return err
		}
		err = pwrite(fd, &number)
		return errors.Join(err, unix.Close(fd))
	}, nil
}

// writers do it in one directory, each with its own file.
func (l *lab) writers(dir string, w writing) ([]func() error, error) {
	ops := make([]func() error, crowd.Writers)
	for i := range ops {
		var err error
		if ops[i], err = w(l, filepath.Join(dir, fmt.Sprintf("v%d", i))); err != nil {
			return nil, err
		}
	}
	return ops, nil
}

func writersFsync(l *lab, name string) ([]result, error) {
	m, err := l.mount(false)
	if err == nil {
		err = m.makeService()
	}
	if err != nil {
		return nil, err
	}
	ops, err := l.writers(m.path(), pwriteFdatasync)
	if err != nil {
		return nil, err
	}
	yardstick, err := l.redisWriters()
	if err != nil {
		return nil, err
	}
	res, err := l.compare(name, comparison{goal: 0.5, least: true, value: byRate,
		sides: []side{together("64 threads: pwrite of 8 bytes, fdatasync", ops), yardstick}})
	return []result{res}, err
}

func writersClose(l *lab, name string) ([]result, error) {
	m, err := l.mount(false)
	if err == nil {
		err = m.makeService()
	}
	if err != nil {
		return nil, err
	}
	dir, err := l.minimal()
	if err != nil {
		return nil, err
	}
	var sides []side
	for _, s := range []struct{ name, dir string }{
		{"64 threads: open with O_TRUNC, write, close", m.path()}, {"the same on a minimal FUSE", dir}} {
		ops, err := l.writers(s.dir, truncWriteClose)
		if err != nil {
			return nil, err
		}
		sides = append(sides, together(s.name, ops))
	}
	res, err := l.compare(name, comparison{goal: 0.6, least: true, value: byRate, sides: sides})
	return []result{res}, err
}

// besideThree compares writers in a directory that three more mounts have looked at with writers in one that they have not.
func besideThree(l *lab, name string, w writing) ([]result, error) {
	m, err := l.mount(false)
	if err != nil {
		return nil, err
	}
	var sides []side
	for _, s := range []struct{ name, dir string }{{"64 threads, three more mounts have looked", "looked"}, {"64 threads, alone", "alone"}} {
		if err := os.MkdirAll(filepath.Join(m.dir, tenant, s.dir), 0o755); err != nil {
			return nil, err
		}
		ops, err := l.writers(filepath.Join(m.dir, tenant, s.dir), w)
		if err != nil {
			return nil, err
		}
		sides = append(sides, together(s.name, ops))
	}
	for range 3 {
		other, err := l.mount(false)
		if err == nil {
			err = other.look(filepath.Join(other.dir, tenant, "looked"))
		}
		if err != nil {
			return nil, err
		}
	}
	res, err := l.compare(name, comparison{goal: 0.7, least: true, value: byRate, sides: sides})
	return []result{res}, err
}

// echo has a shell write, with more mounts that have looked at the directory. It counts the time of processors too.
func echo(l *lab, name string, others int, goal float64) ([]result, error) {
	m, err := l.mount(false)
	if err == nil {
		err = m.makeService()
	}
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(m.path("v"), []byte("x\n"), 0o644); err != nil {
		return nil, err
	}
	for range others {
		other, err := l.mount(false)
		if err == nil {
			err = other.look(other.path())
		}
		if err != nil {
			return nil, err
		}
	}
	sh, err := l.shell()
	if err != nil {
		return nil, err
	}
	yardstick, err := l.redisSet()
	if err != nil {
		return nil, err
	}
	var number atomic.Int64
	own := timed("echo x > v, by a shell", func() (time.Duration, error) {
		command := fmt.Sprintf("echo %08d >%s; echo $?\n", number.Add(1), m.path("v"))
		start := time.Now()
		err := sh.do(command)
		return time.Since(start), err
	})
	used := []*spender{{name: "server", pid: l.commyfs.pid()}, {name: "mount", pid: m.pid()}}
	own.run = spending(own.run, used, number.Load)
	res, err := l.compare(name, comparison{goal: goal, sides: []side{own, yardstick}})
	if err != nil {
		return nil, err
	}
	results := []result{res}
	for _, u := range used {
		results = append(results, result{Row: name + "/cpu_" + u.name, Value: u.each(), Unit: "us",
			Note: " for information: processor time of the " + u.name + " per echo"})
	}
	return results, nil
}

// redisSet is the yardstick of one writer.
func (l *lab) redisSet() (side, error) {
	socket, err := l.redis()
	if err != nil {
		return side{}, err
	}
	c, err := dialBlocking(socket)
	if err != nil {
		return side{}, err
	}
	l.later(c.close)
	var number uint64
	value := make([]byte, 8)
	return repeat("Redis SET, appendfsync always", func() error {
		number++
		binary.LittleEndian.PutUint64(value, number)
		return c.set("v", value)
	}), nil
}

// large changes a byte of a value of 1 MiB.
func large(l *lab, name string) ([]result, error) {
	m, err := l.mount(false)
	if err == nil {
		err = m.makeService()
	}
	if err != nil {
		return nil, err
	}
	const size = 1 << 20
	if err := os.WriteFile(m.path("v"), make([]byte, size), 0o644); err != nil {
		return nil, err
	}
	fd, err := l.open(m.path("v"), unix.O_RDWR)
	if err != nil {
		return nil, err
	}
	var number int
	own := repeat("pwrite of 1 byte of 1 MiB, fsync", func() error {
		number++
		err := again(func() error {
			_, err := unix.Pwrite(fd, []byte{byte(number)}, int64(number*7919%size))
			return err
		})
		if err != nil {
			return err
		}
		return again(func() error { return unix.Fsync(fd) })
	})
	var perRound []float64
	inner := own.run
	own.run = func(d time.Duration) (crowd.Sample, error) {
		before, at := writtenBytes(l.commyfs.pid()), number
		s, err := inner(d)
		time.Sleep(300 * time.Millisecond) // the engine's database follows its log
		perRound = append(perRound, float64(writtenBytes(l.commyfs.pid())-before)/float64(max(number-at, 1)))
		return s, err
	}
	res, err := l.compare(name, comparison{sides: []side{own}, unit: "ms", goal: 1, value: func(s []crowd.Sample) float64 { return s[0].P50 / 1000 }})
	if err != nil {
		return nil, err
	}
	bytes := result{Row: name + "/bytes", Rounds: perRound[1:], Value: median(perRound[1:]), Unit: "B", Goal: 200_000,
		Note: "write_bytes of the server in /proc/PID/io, each change"}
	bytes.judge()
	return []result{res, bytes}, nil
}
