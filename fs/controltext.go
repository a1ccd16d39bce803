package fs

import (
	"sync"
	"time"
)

// textHandle is an open text file: a read at offset 0 takes a fresh snapshot, reads behind it continue that.
type textHandle struct {
	f *FS
	n *controlNode

	mu    sync.Mutex // guards the following
	data  []byte
	taken bool // data is not of the open any more
}

// shownText is what the size that a text file shows is of.
type shownText struct {
	size int64
	at   time.Time
}

// shownFor is how long the size that was shown last is shown: who opens a file, asks for its size and reads so much is to have
// it all.
const shownFor = time.Second

// render makes the text as it is now.
func (f *FS) render(n *controlNode) []byte {
	data := n.text(f)
	c := &f.control
	c.mu.Lock()
	defer c.mu.Unlock()
	now, size := time.Now(), int64(len(data))
	if before := c.shown[n.id]; now.Sub(before.at) < shownFor {
		size = max(size, before.size)
	}
	c.shown[n.id] = shownText{size, now}
	return data
}

// textSize is the size of what was read last, if that was just now. It is never less than somebody who has just opened the file
// has to read.
func (f *FS) textSize(n *controlNode) int64 {
	c := &f.control
	c.mu.Lock()
	s := c.shown[n.id]
	c.mu.Unlock()
	if time.Since(s.at) < shownFor {
		return s.size
	}
	return int64(len(f.render(n)))
}

func (f *FS) openText(n *controlNode) *textHandle {
	return &textHandle{f: f, n: n, data: f.render(n)}
}

func (h *textHandle) read(buf []byte, off uint64) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if off == 0 {
		if h.taken {
			h.data = h.f.render(h.n)
		}
		h.taken = true
	}
	if off >= uint64(len(h.data)) {
		return 0
	}
	return copy(buf, h.data[off:])
}

func (h *textHandle) close() {}
