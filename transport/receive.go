package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/commy-project/commyfs/model"
)

const (
	smallBuffer = 4 << 10
	bigBuffer   = 64 << 10 // longer messages are read into a buffer of their own
	firstGrowth = 5 << 18  // how far an announced length is trusted before bytes have come; above a value of 1 MiB
	// One call of Receive returns at most so many envelopes, however small those are that a message has room for.
	maxReceived = 256
)

// receiver is the state of the goroutine that calls Receive.
type receiver struct {
	buf  []byte // reused between messages
	envs []Envelope

	// The rest of the last message: own means that it is not in the reused buffer.
	rest []byte
	size int // of the whole message
	own  bool

	budget Budget
	held   int          // taken from the budget for that buffer
	since  atomic.Int64 // see ReceivingSince
}

// Receive waits for the next WebSocket message and returns its envelopes, at least one; those of a message that has very
// many come by several calls. The slice is valid until the next call, the messages in it belong to the caller. A message of
// a type that is not known here comes as [*Unknown]. An error ends the connection; it matches [model.ErrDisconnected], and
// [model.ErrInvalid] if the peer broke the protocol.
func (c *Conn) Receive() ([]Envelope, error) {
	if err := c.Err(); err != nil {
		return nil, err
	}
	envs, err := c.receive()
	if err != nil {
		var ce *websocket.CloseError
		if errors.As(err, &ce) {
			c.net.closed.Store(true)
		}
		c.Fail(receiveError(err))
		return nil, c.Err()
	}
	return envs, nil
}

func (c *Conn) receive() ([]Envelope, error) {
	in := &c.in
	if len(in.rest) == 0 {
		if err := c.next(); err != nil {
			return nil, err
		}
	}
	clear(in.envs)
	in.envs = in.envs[:0]
	for {
		e, err := in.decode()
		if err != nil {
			return nil, err
		}
		in.envs = append(in.envs, e)
		if len(in.rest) == 0 {
			in.drop()
			return in.envs, nil
		}
		if len(in.envs) == maxReceived {
			return in.envs, nil
		}
	}
}

// next reads a WebSocket message into in.rest.
func (c *Conn) next() error {
	c.waiting.Store(c.net.now())
	defer c.waiting.Store(0)
	kind, r, err := c.ws.NextReader()
	if err != nil {
		return err
	}
	if kind != websocket.BinaryMessage {
		return fmt.Errorf("%w: text message", model.ErrInvalid)
	}
	in := &c.in
	in.rest, in.own, err = c.read(r)
	in.since.Store(0)
	if in.size = len(in.rest); in.size == 0 && err == nil {
		err = fmt.Errorf("%w: empty message", model.ErrInvalid)
	}
	return err
}

// decode returns the next envelope of the message.
func (in *receiver) decode() (Envelope, error) {
	raw, rest, err := splitEnvelope(in.rest)
	if err != nil {
		return Envelope{}, err
	}
	in.rest = rest
	cost, err := raw.cost()
	if err != nil {
		return Envelope{}, err
	}
	// Byte slices of the message alias the body, so it must not be in a buffer that is used again, nor in one
	// that other messages would keep from being freed.
	alias := holdsBytes(raw.typ)
	if alias && (!in.own || len(raw.body) < in.size/2) {
		alias = false
		cost += len(raw.body)
	}
	if !in.affordable(cost) {
		return Envelope{ID: raw.id, Message: &Oversized{Type: raw.typ, Cost: cost}}, nil
	}
	if err := in.take(cost); err != nil {
		return Envelope{}, err
	}
	if !alias && holdsBytes(raw.typ) {
		raw.body = bytes.Clone(raw.body)
	}
	e, err := raw.decode()
	if err != nil {
		return Envelope{}, err
	}
	e.Cost = cost
	if alias {
		e.Cost += in.held
		in.held = 0
	}
	return e, nil
}

// drop lets the message's buffer go, unless an envelope has it.
func (in *receiver) drop() {
	in.give(in.held)
	in.held, in.rest = 0, nil
}

// read reads a whole WebSocket message, into the reused buffer if it fits, else into one of its own.
func (c *Conn) read(r io.Reader) (msg []byte, own bool, err error) {
	in := &c.in
	if in.buf == nil {
		in.buf = make([]byte, smallBuffer)
	}
	buf, n := in.buf, 0
	for {
		if n == len(buf) {
			if buf, own, err = c.grow(buf, own); err != nil {
				return nil, false, err
			}
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
// the start; one byte more than that lets the end of the message be seen without growing again. All of it is taken from the
// budget at once: two connections that each have a part and wait for more would wait for each other.
func (c *Conn) grow(buf []byte, own bool) ([]byte, bool, error) {
	in := &c.in
	size := 2 * len(buf)
	if size > bigBuffer {
		most := size
		announced := lengthSize + int(binary.LittleEndian.Uint32(buf)) + 1
		if announced > len(buf) {
			size = min(announced, max(firstGrowth, 2*len(buf)))
			most = max(size, min(announced, c.opts.MaxMessage))
		}
		if more := most - in.held; more > 0 {
			c.waiting.Store(0) // it is not the peer that is waited for
			if err := in.take(more); err != nil {
				return nil, false, err
			}
			c.waiting.Store(time.Now().UnixNano())
			in.held += more
			in.since.CompareAndSwap(0, time.Now().UnixNano())
		}
		own = true
	}
	bigger := make([]byte, size)
	copy(bigger, buf)
	if !own {
		in.buf = bigger
	}
	return bigger, own, nil
}

// receiveError puts the peer's reason first, where it gave one, and model.ErrDisconnected behind it.
func receiveError(err error) error {
	var ce *websocket.CloseError
	if !errors.As(err, &ce) {
		return fmt.Errorf("receive: %w: %w", err, model.ErrDisconnected)
	}
	switch {
	case ce.Code > closeCodeBase && ce.Code <= closeCodeBase+int(model.CodeRange):
		reason := &model.Error{Code: model.Code(ce.Code - closeCodeBase), Message: ce.Text}
		if reason.Message == "" {
			reason.Message = "no reason given"
		}
		return fmt.Errorf("closed by the peer: %w: %w", reason, model.ErrDisconnected)
	case ce.Code == websocket.CloseAbnormalClosure:
		return fmt.Errorf("%w: connection lost", model.ErrDisconnected)
	}
	return fmt.Errorf("%w: closed by the peer", model.ErrDisconnected)
}
