package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/bench/crowd"
)

const cachedPattern = tenant + "/" + service + "/cached*"

// cached reads and writes variables that mounts have in the page cache.
func cached(l *lab, name string) ([]result, error) {
	writer, err := l.mount(false)
	if err == nil {
		err = writer.makeService()
	}
	if err != nil {
		return nil, err
	}
	for _, v := range []string{"cached_one", "cached_three", "plain"} {
		if err := os.WriteFile(writer.path(v), make([]byte, 8), 0o644); err != nil {
			return nil, err
		}
	}
	var reads result
	for i := range 3 {
		m, err := l.mount(false, "--cache", cachedPattern)
		if err != nil {
			return nil, err
		}
		open := []string{"cached_three"}
		if i == 0 {
			open = append(open, "cached_one")
		}
		for _, v := range open {
			fd, err := l.open(m.path(v), unix.O_RDONLY)
			if err == nil {
				_, err = unix.Pread(fd, make([]byte, 8), 0)
			}
			if err != nil {
				return nil, err
			}
		}
		if i > 0 {
			continue
		}
		if reads, err = l.cachedReads(name, m); err != nil {
			return nil, err
		}
	}
	results := []result{reads}
	plain, err := l.pwriteFsync(writer.path("plain"))
	if err != nil {
		return nil, err
	}
	for _, c := range []struct{ name, what string }{
		{"one", "pwrite of 8 bytes, fsync: one more mount has it cached"}, {"three", "the same: three more mounts have it cached"},
	} {
		op, err := l.pwriteFsync(writer.path("cached_" + c.name))
		if err != nil {
			return nil, err
		}
		res, err := l.compare(name+"/commit_"+c.name, comparison{sides: []side{
			repeat(c.what, op), repeat("of a variable that nobody has cached, beside these mounts", plain)}})
		if err != nil {
			return nil, err
		}
		results = append(results, res)
	}
	return results, nil
}

// cachedReads compares reading an open file with tmpfs.
func (l *lab) cachedReads(name string, m *mounted) (result, error) {
	dir, err := os.MkdirTemp(sharedMemory, "commyfs-peers-")
	if err != nil {
		return result{}, err
	}
	l.later(func() error { return os.RemoveAll(dir) })
	if err := os.WriteFile(dir+"/v", make([]byte, 8), 0o644); err != nil {
		return result{}, err
	}
	var sides []side
	for _, s := range []struct{ name, path string }{
		{"pread of a cached variable, each of 1,000", m.path("cached_one")}, {"the same on tmpfs", dir + "/v"},
	} {
		fd, err := l.open(s.path, unix.O_RDONLY)
		if err != nil {
			return result{}, err
		}
		buf := make([]byte, 64)
		const batch = 1000
		sides = append(sides, timed(s.name, func() (time.Duration, error) {
			start := time.Now()
			for range batch {
				if n, err := unix.Pread(fd, buf, 0); err != nil || n != 8 {
					return 0, errors.Join(err, fmt.Errorf("%d bytes", n))
				}
			}
			return time.Since(start) / batch, nil
		}))
	}
	return l.compare(name, comparison{sides: sides, goal: 1.1, value: func(s []crowd.Sample) float64 { return s[0].P50 / s[1].P50 }})
}
