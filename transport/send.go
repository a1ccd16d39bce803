package transport

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/gorilla/websocket"

	"github.com/commy-project/commyfs/model"
)

const (
	maxBatch   = 256 << 10 // bytes of envelopes that are put into one WebSocket message
	keepBuffer = 64 << 10  // a connection keeps no larger ones
	poolBuffer = 5 << 18   // a value of 1 MiB and what surrounds it; larger buffers are not kept at all
	maxQueued  = 16 << 20  // bytes that may wait for a peer that takes nothing before who brings more waits himself
	maxDirect  = 64 << 10  // bytes that are written by who must not wait; those that the kernel does not take are kept
)

// bigBuffers are shared by all connections: most of those that have sent a large message once will not soon do so again.
var bigBuffers sync.Pool // of *[]byte

// sender gathers envelopes while another goroutine is writing: senders append under mu, then queue for the right to
// write. The first to get it writes what all have appended; the others find nothing left to do. So a lone sender writes
// at once on its own goroutine, and a crowd shares system calls.
//
// Senders that must not wait for the peer write what the kernel takes at once, if nobody else is writing, and leave the rest
// to a goroutine that may wait. So a sender that gives up never leaves a message half written.
//
// Lock order: writing, then mu.
type sender struct {
	writing sync.Mutex // held by who writes to the WebSocket; guards the following
	spare   []byte
	spares  []int
	err     error // of the first write that failed

	wake chan struct{} // something was queued

	mu      sync.Mutex // guards the following
	pending []byte
	cuts    []int         // offsets in pending where a new WebSocket message starts, besides 0
	cut     int           // the last of them, or 0
	room    chan struct{} // closed when pending is taken; nil unless a sender waits for that
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
	return c.Flush()
}

// Direct reports whether SendNow can do anything but leave all to Flush.
func (c *Conn) Direct() bool { return c.net.direct != nil }

// SendNow is Send that does not wait for the peer. If something is left to be sent, Flush has to be called.
func (c *Conn) SendNow(envs ...Envelope) (left bool, err error) {
	if err := c.Err(); err != nil {
		return false, err
	}
	s := &c.out
	s.mu.Lock()
	err = s.appendLocked(envs, c.opts.MaxMessage)
	s.mu.Unlock()
	if err != nil {
		return false, err
	}
	return c.sendNow(), nil
}

// Flush returns when what SendNow has left was handed to the kernel.
func (c *Conn) Flush() error { return c.patiently(c.flush) }

// patiently calls fn with the right to write, and to wait for the peer.
func (c *Conn) patiently(fn func() error) error {
	c.out.writing.Lock()
	defer c.out.writing.Unlock()
	c.net.patient.Store(true)
	defer c.net.patient.Store(false)
	return fn()
}

// queue has an envelope sent and does not wait for it: at once, or by writeLoop. It waits only while very much is queued
// already, until ctx ends: then nothing was queued. A connection that fails later says so by itself.
func (c *Conn) queue(ctx context.Context, env Envelope, atOnce bool) error {
	if err := c.Err(); err != nil {
		return err
	}
	s := &c.out
	s.mu.Lock()
	for len(s.pending) > maxQueued {
		if err := c.awaitRoom(ctx); err != nil {
			return err
		}
	}
	err := s.appendLocked([]Envelope{env}, c.opts.MaxMessage)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if atOnce && !c.sendNow() {
		return nil
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return nil
}

// sendNow writes what is pending as far as that takes no waiting. It reports whether something may be left.
func (c *Conn) sendNow() (left bool) {
	s := &c.out
	if c.net.direct == nil || !s.writing.TryLock() {
		return true
	}
	defer s.writing.Unlock()
	if c.net.left() {
		return true
	}
	buf, cuts, ok := s.take(maxDirect)
	if len(buf) > 0 {
		_ = c.writeTaken(buf, cuts) // has ended the connection
	}
	return !ok || c.net.left()
}

// awaitRoom waits until what is pending is taken. The caller holds s.mu, and has it again unless there is an error.
func (c *Conn) awaitRoom(ctx context.Context) error {
	s := &c.out
	if s.room == nil {
		s.room = make(chan struct{})
	}
	room := s.room
	s.mu.Unlock()
	select {
	case <-room:
		s.mu.Lock()
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.done:
		return c.err
	}
}

// writeLoop writes what is queued.
func (c *Conn) writeLoop() {
	s := &c.out
	for {
		select {
		case <-s.wake:
		case <-c.done:
			return
		}
		runtime.Gosched() // whoever is about to queue something does it first, and it goes together
		_ = c.Flush()     // has ended the connection
	}
}

// flush writes what is pending. The caller holds writing.
func (c *Conn) flush() error {
	s := &c.out
	buf, cuts, _ := s.take(math.MaxInt)
	if len(buf) > 0 {
		return c.writeTaken(buf, cuts)
	}
	// Another sender has written ours, or could not, or not all of it.
	if err := c.net.drain(); err != nil && s.err == nil {
		s.err = c.sendFailed(err)
	}
	return s.err
}

// take hands over what is pending, unless it is more than most. The caller holds writing.
func (s *sender) take(most int) (buf []byte, cuts []int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pending) > most {
		return nil, nil, false
	}
	if len(s.pending) == 0 {
		return nil, nil, true
	}
	buf, cuts = s.pending, s.cuts
	s.pending, s.cuts, s.cut = s.spare[:0], s.spares[:0], 0
	s.spare, s.spares = nil, nil
	if s.room != nil {
		close(s.room)
		s.room = nil
	}
	return buf, cuts, true
}

// writeTaken writes what was taken. The caller holds writing.
func (c *Conn) writeTaken(buf []byte, cuts []int) error {
	s := &c.out
	err := c.write(buf, cuts)
	if cap(buf) > keepBuffer {
		if b := buf; cap(b) <= poolBuffer {
			bigBuffers.Put(&b)
		}
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
	err = fmt.Errorf("send: %w: %w", err, model.ErrDisconnected)
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, websocket.ErrCloseSent) {
		c.draining.Do(func() { c.drain = time.AfterFunc(drainWait, func() { c.Fail(err) }) })
		return err
	}
	c.Fail(err)
	return c.Err()
}

func (s *sender) appendLocked(envs []Envelope, limit int) error {
	s.makeRoomLocked(envs)
	size, ncuts, cut := len(s.pending), len(s.cuts), s.cut
	for _, e := range envs {
		start := len(s.pending)
		out, err := AppendEnvelope(s.pending, e)
		if err == nil && len(out)-start > limit {
			err = fmt.Errorf("%w: %T of %d bytes, at most %d fit in a message", model.ErrTooLarge, e.Message, len(out)-start, limit)
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

// makeRoomLocked sees to it that large envelopes do not grow the buffer by one step after the other.
func (s *sender) makeRoomLocked(envs []Envelope) {
	need := len(s.pending)
	for _, e := range envs {
		if e.Message != nil {
			need += e.Message.Msgsize()
		}
	}
	if need <= max(keepBuffer, cap(s.pending)) {
		return
	}
	var bigger []byte
	if b, _ := bigBuffers.Get().(*[]byte); b != nil && cap(*b) >= need {
		bigger = (*b)[:0]
	} else {
		if room := 1 << bits.Len(uint(need)); need <= poolBuffer {
			need = min(room, poolBuffer)
		}
		bigger = make([]byte, 0, need)
	}
	s.pending = append(bigger, s.pending...)
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
