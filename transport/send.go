package transport

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/gorilla/websocket"
)

const (
	maxBatch   = 256 << 10 // bytes of envelopes that are put into one WebSocket message
	keepBuffer = 5 << 18   // larger buffers are given back after use; a value of 1 MiB and what surrounds it is not
)

// sender gathers envelopes while another goroutine is writing: senders append under mu, then queue for the right to
// write. The first to get it writes what all have appended; the others find nothing left to do. So a lone sender writes
// at once on its own goroutine, and a crowd shares system calls.
//
// Lock order: writing, then mu.
type sender struct {
	writing sync.Mutex // guards the WebSocket's data writer and the following
	spare   []byte
	spares  []int
	err     error // of the first write that failed

	mu      sync.Mutex // guards the following
	pending []byte
	cuts    []int // offsets in pending where a new WebSocket message starts, besides 0
	cut     int   // the last of them, or 0
}

// Send queues envelopes and returns when they have been handed to the kernel, by this goroutine or another one.
// They are delivered in order, with nothing in between. It blocks while the peer does not take what was sent
// before, at most Options.WriteTimeout. An envelope that is over MaxMessage or cannot be encoded is refused, with all
// that came in the same call, and the connection lives on; any other error has ended the connection, and what was sent
// may or may not have arrived.
func (c *Conn) Send(envs ...Envelope) error {
	if err := c.Err(); err != nil {
		return err
	}
	s := &c.out
	s.mu.Lock()
	err := s.appendLocked(envs, c.opts.MaxMessage)
	s.mu.Unlock()
	if err != nil {
		return err
	}

	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	buf, cuts := s.pending, s.cuts
	if len(buf) > 0 {
		s.pending, s.cuts, s.cut = s.spare[:0], s.spares[:0], 0
	}
	s.mu.Unlock()
	if len(buf) == 0 { // another sender has written ours, or could not
		return s.err
	}
	err = c.write(buf, cuts)
	if cap(buf) > keepBuffer {
		buf = nil
	}
	s.spare, s.spares = buf, cuts
	if err != nil {
		s.err = c.sendFailed(err)
	}
	return s.err
}

// drainWait is how long the reader gets to find out why the peer has closed the connection.
const drainWait = time.Second

// sendFailed ends the connection because of a write. When the peer has closed it, there may be answers and its reason
// left to read: the reader gets to them first and ends the connection itself.
func (c *Conn) sendFailed(err error) error {
	err = fmt.Errorf("send: %w: %w", err, ErrDisconnected)
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		c.draining.Do(func() { c.drain = time.AfterFunc(drainWait, func() { c.Fail(err) }) })
		return err
	}
	c.Fail(err)
	return c.Err()
}

func (s *sender) appendLocked(envs []Envelope, limit int) error {
	size, ncuts, cut := len(s.pending), len(s.cuts), s.cut
	for _, e := range envs {
		start := len(s.pending)
		out, err := AppendEnvelope(s.pending, e)
		if err == nil && len(out)-start > limit {
			err = fmt.Errorf("%w: %T of %d bytes, at most %d fit in a message", ErrTooLarge, e.Message, len(out)-start, limit)
		}
		if err != nil {
			s.pending, s.cuts, s.cut = s.pending[:size], s.cuts[:ncuts], cut
			return err
		}
		if start > s.cut && len(out)-s.cut > maxBatch {
			s.cuts = append(s.cuts, start)
			s.cut = start
		}
		s.pending = out
	}
	return nil
}

func (c *Conn) write(buf []byte, cuts []int) error {
	start := 0
	for _, end := range append(cuts, len(buf)) {
		if err := c.ws.WriteMessage(websocket.BinaryMessage, buf[start:end]); err != nil {
			return err
		}
		start = end
	}
	return nil
}
