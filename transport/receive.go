package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/gorilla/websocket"
)

const (
	smallBuffer = 4 << 10
	bigBuffer   = 64 << 10 // longer messages are read into a buffer of their own
	firstGrowth = 5 << 18  // how far an announced length is trusted before bytes have come; above a value of 1 MiB
)

// receiver is the state of the goroutine that calls Receive.
type receiver struct {
	buf  []byte // reused between messages
	envs []Envelope
}

// Receive waits for the next WebSocket message and returns its envelopes, at least one. The slice is valid until the
// next call, the messages in it belong to the caller. A message of a type that is not known here comes as [*Unknown].
// An error ends the connection; it matches [ErrDisconnected], and [ErrInvalid] if the peer broke the protocol.
func (c *Conn) Receive() ([]Envelope, error) {
	if err := c.Err(); err != nil {
		return nil, err
	}
	envs, err := c.receive()
	if err != nil {
		c.Fail(receiveError(err))
		return nil, c.Err()
	}
	return envs, nil
}

func (c *Conn) receive() ([]Envelope, error) {
	c.waiting.Store(time.Now().UnixNano())
	defer c.waiting.Store(0)
	kind, r, err := c.ws.NextReader()
	if err != nil {
		return nil, err
	}
	if kind != websocket.BinaryMessage {
		return nil, fmt.Errorf("%w: text message", ErrInvalid)
	}
	msg, own, err := c.in.read(r)
	if err != nil {
		return nil, err
	}
	clear(c.in.envs)
	c.in.envs = c.in.envs[:0]
	size := len(msg)
	for {
		raw, rest, err := splitEnvelope(msg)
		if err != nil {
			return nil, err
		}
		// Byte slices of the message alias the body, so it must not be in a buffer that is used again, nor in one
		// that other messages would keep from being freed.
		if holdsBytes(raw.typ) && (!own || len(raw.body) < size/2) {
			raw.body = bytes.Clone(raw.body)
		}
		e, err := raw.decode()
		if err != nil {
			return nil, err
		}
		c.in.envs = append(c.in.envs, e)
		if msg = rest; len(msg) == 0 {
			return c.in.envs, nil
		}
	}
}

// read reads a whole WebSocket message, into the reused buffer if it fits, else into one of its own.
func (in *receiver) read(r io.Reader) (msg []byte, own bool, err error) {
	if in.buf == nil {
		in.buf = make([]byte, smallBuffer)
	}
	buf, n := in.buf, 0
	for {
		if n == len(buf) {
			buf, own = in.grow(buf, own)
		}
		k, err := r.Read(buf[n:])
		n += k
		if err == io.EOF {
			return buf[:n], own, nil
		}
		if err != nil {
			return nil, false, err
		}
	}
}

// grow returns a larger buffer with the same content. Large messages mostly are one envelope, whose length stands at
// the start; one byte more than that lets the end of the message be seen without growing again.
func (in *receiver) grow(buf []byte, own bool) ([]byte, bool) {
	size := 2 * len(buf)
	if size > bigBuffer {
		announced := lengthSize + int(binary.LittleEndian.Uint32(buf)) + 1
		if announced > len(buf) {
			size = min(announced, max(firstGrowth, 2*len(buf)))
		}
		own = true
	}
	bigger := make([]byte, size)
	copy(bigger, buf)
	if !own {
		in.buf = bigger
	}
	return bigger, own
}

// receiveError puts the peer's reason first, where it gave one, and ErrDisconnected behind it.
func receiveError(err error) error {
	var ce *websocket.CloseError
	if !errors.As(err, &ce) {
		return fmt.Errorf("receive: %w: %w", err, ErrDisconnected)
	}
	switch {
	case ce.Code > closeCodeBase && ce.Code <= closeCodeBase+int(CodeDisconnected):
		reason := &Error{Code: Code(ce.Code - closeCodeBase), Message: ce.Text}
		if reason.Message == "" {
			reason.Message = "no reason given"
		}
		return fmt.Errorf("closed by the peer: %w: %w", reason, ErrDisconnected)
	case ce.Code == websocket.CloseAbnormalClosure:
		return fmt.Errorf("%w: connection lost", ErrDisconnected)
	}
	return fmt.Errorf("%w: closed by the peer", ErrDisconnected)
}
