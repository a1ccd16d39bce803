package fs

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/diff"
)

// memoryPages serves a bare service's memory to a kernel that may not map the file itself: it keeps pages, and so has programs map
// them. It writes back whole pages, which are old but for what was stored into them here. So they are compared with what the kernel
// was given, and only what differs is written: what others have stored stays.
//
// The kernel drops its pages at each change that the mount is told of. Until then they are old.
type memoryPages struct {
	mu      sync.Mutex // guards the following
	writers int        // descriptors that are open for writing, or still mapped so
	// given is what the kernel may have of each page, while there are writers. An open drops what the kernel had before.
	given map[int64][]byte
}

const (
	memoryPage = 4096
	memoryWord = 8 // is written at once, or somebody could see half of what a program has stored at once
)

func (p *memoryPages) opened(write bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if write {
		p.writers++
	}
}

func (p *memoryPages) closed(write bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !write {
		return
	}
	if p.writers--; p.writers == 0 {
		p.given = nil
	}
}

// read fills pages for the kernel.
func (p *memoryPages) read(f *os.File, buf []byte, off int64) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, err := unix.Pread(int(f.Fd()), buf, off)
	if err != nil {
		return 0, err
	}
	if p.writers == 0 {
		return n, nil
	}
	if p.given == nil {
		p.given = map[int64][]byte{}
	}
	for at, part := range parts(buf[:n], off) {
		page := p.given[at/memoryPage]
		if page == nil {
			page = make([]byte, memoryPage)
			p.given[at/memoryPage] = page
		}
		copy(page[at%memoryPage:], part)
	}
	return n, nil
}

// write takes what a program has written.
func (p *memoryPages) write(f *os.File, data []byte, off int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := pwriteAll(f, data, off); err != nil {
		return err
	}
	for at, part := range parts(data, off) {
		if page := p.given[at/memoryPage]; page != nil {
			copy(page[at%memoryPage:], part)
		}
	}
	return nil
}

// writeBack takes pages that programs have stored into.
func (p *memoryPages) writeBack(f *os.File, data []byte, off int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var ranges []diff.Range
	var words [memoryPage]byte
	for at, part := range parts(data, off) {
		page := p.given[at/memoryPage]
		if page == nil { // the kernel has it from nowhere else
			return unix.EIO
		}
		was := page[at%memoryPage:][:len(part)]
		ranges = diff.Append(ranges[:0], part, was, memoryWord-1)
		for _, r := range ranges {
			from, to := r.Off&^(memoryWord-1), min((r.Off+r.Len+memoryWord-1)&^(memoryWord-1), len(part))
			now := words[from:to]
			if _, err := unix.Pread(int(f.Fd()), now, at+int64(from)); err != nil {
				return err
			}
			for i := r.Off; i < r.Off+r.Len; i++ {
				if part[i] != was[i] {
					words[i] = part[i]
				}
			}
			if err := pwriteAll(f, now, at+int64(from)); err != nil {
				return err
			}
		}
		copy(was, part)
	}
	return nil
}

// parts cuts what lies at an offset at the ends of pages.
func parts(b []byte, off int64) func(yield func(int64, []byte) bool) {
	return func(yield func(int64, []byte) bool) {
		for len(b) > 0 {
			n := min(int64(len(b)), memoryPage-off%memoryPage)
			if !yield(off, b[:n]) {
				return
			}
			b, off = b[n:], off+n
		}
	}
}

func pwriteAll(f *os.File, data []byte, off int64) error {
	for len(data) > 0 {
		n, err := unix.Pwrite(int(f.Fd()), data, off)
		if err != nil {
			return err
		}
		data, off = data[n:], off+int64(n)
	}
	return nil
}
