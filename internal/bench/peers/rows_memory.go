package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs"
)

const (
	memorySize = 1 << 20
	preads     = 100  // in an operation: one is not much longer than looking at the clock
	loads      = 1000 // the same
)

// memoryRow reads a bare service's memory through a mount, and a file of a tmpfs beside it.
func memoryRow(l *lab, name string) ([]result, error) {
	m, err := l.mount(false)
	if err != nil {
		return nil, err
	}
	c, err := l.client(commyfs.Options{})
	if err != nil {
		return nil, err
	}
	if err := c.Service(tenant, service).CreateBare(l.ctx, memorySize); err != nil {
		return nil, err
	}
	ours := m.path(".service.mem")
	if err := l.poll(func() error { _, err := os.Stat(ours); return err }); err != nil {
		return nil, err
	}
	theirs := filepath.Join(l.run, "memory")
	full := make([]byte, memorySize)
	for i := range full {
		full[i] = byte(i)
	}
	if err := os.WriteFile(theirs, make([]byte, memorySize), 0o600); err != nil {
		return nil, err
	}
	var preading, loading []side
	at, err := c.Service(tenant, service).Memory(l.ctx)
	if err != nil {
		return nil, err
	}
	for _, f := range []struct{ path, what string }{
		{ours, ".service.mem of a bare service"}, {theirs, "a file of a tmpfs"}, {at.Path, "the service's file, past the mount"},
	} {
		fd, err := l.open(f.path, unix.O_RDWR)
		if err != nil {
			return nil, err
		}
		if _, err := unix.Pwrite(fd, full, 0); err != nil {
			return nil, err
		}
		b, err := unix.Mmap(fd, 0, memorySize, unix.PROT_READ, unix.MAP_SHARED)
		if err != nil {
			return nil, fmt.Errorf("map %s: %w", f.path, err)
		}
		l.later(func() error { return unix.Munmap(b) })
		buf := make([]byte, 64)
		preading = append(preading, repeat(fmt.Sprintf("%d preads of 64 bytes of %s", preads, f.what), func() error {
			for i := range preads {
				if n, err := unix.Pread(fd, buf, int64(i*64)); n != len(buf) && !errors.Is(err, unix.EINTR) {
					return fmt.Errorf("pread: %d bytes, %w", n, err)
				}
			}
			return nil
		}))
		words := unsafe.Slice((*uint64)(unsafe.Pointer(&b[0])), memorySize/8)
		var sum uint64
		loading = append(loading, repeat(fmt.Sprintf("%d loads of 8 bytes from a mapping of %s", loads, f.what), func() error {
			for i := range loads {
				sum += atomic.LoadUint64(&words[i])
			}
			return nil
		}))
	}
	a, err := l.compare(name+"_pread", comparison{goal: 1.1, sides: preading})
	if err != nil {
		return nil, err
	}
	b, err := l.compare(name+"_loads", comparison{goal: 1.05, sides: loading})
	return []result{a, b}, err
}
