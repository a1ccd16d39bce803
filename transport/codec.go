package transport

import (
	"encoding/binary"
	"fmt"

	"github.com/commy-project/commyfs/model"
)

// Envelope is a message and the request it belongs to. Id 0 marks a push.
type Envelope struct {
	ID      uint64
	Message Message
	// Cost is what a received message has taken from the connection's [Budget]. The message's last user gives it back.
	Cost int
}

// Unknown stands for a message whose type this program does not know: a newer peer's. A server answers it with
// [model.ErrUnsupported]; it cannot be sent.
type Unknown struct{ Type Type }

// Oversized stands for a message that would take more memory than the connection's [Budget] has, and was not decoded. A
// server answers it with [model.ErrTooLarge]; it cannot be sent.
type Oversized struct {
	Type Type
	Cost int // what it would have taken
}

const lengthSize = 4

// AppendEnvelope appends the wire form of e: [u32 LE length of the rest][u8 type][uvarint id][MessagePack body].
func AppendEnvelope(dst []byte, e Envelope) ([]byte, error) {
	if e.Message == nil {
		return dst, fmt.Errorf("%w: envelope without a message", model.ErrInvalid)
	}
	start := len(dst)
	out := append(dst, 0, 0, 0, 0, byte(e.Message.messageType()))
	out = binary.AppendUvarint(out, e.ID)
	out, err := e.Message.MarshalMsg(out)
	if err != nil {
		return dst, fmt.Errorf("encode %T: %w", e.Message, err)
	}
	n := len(out) - start - lengthSize
	if uint64(n) > 1<<32-1 {
		return dst, fmt.Errorf("%w: %T of %d bytes", model.ErrTooLarge, e.Message, n)
	}
	binary.LittleEndian.PutUint32(out[start:], uint32(n))
	return out, nil
}

// DecodeEnvelope decodes the first envelope in b and returns what follows it. The message's []byte fields alias b.
func DecodeEnvelope(b []byte) (e Envelope, rest []byte, err error) {
	raw, rest, err := splitEnvelope(b)
	if err != nil {
		return Envelope{}, b, err
	}
	if _, err := raw.cost(); err != nil {
		return Envelope{}, b, err
	}
	e, err = raw.decode()
	if err != nil {
		return Envelope{}, b, err
	}
	return e, rest, nil
}

// rawEnvelope is an envelope whose body has not been decoded.
type rawEnvelope struct {
	typ  Type
	id   uint64
	body []byte
}

func splitEnvelope(b []byte) (raw rawEnvelope, rest []byte, err error) {
	if len(b) < lengthSize {
		return raw, b, fmt.Errorf("%w: %d bytes where an envelope should start", model.ErrInvalid, len(b))
	}
	n := uint64(binary.LittleEndian.Uint32(b))
	b = b[lengthSize:]
	if n > uint64(len(b)) {
		return raw, b, fmt.Errorf("%w: envelope of %d bytes in %d", model.ErrInvalid, n, len(b))
	}
	in, rest := b[:n:n], b[n:]
	if n == 0 {
		return raw, rest, fmt.Errorf("%w: empty envelope", model.ErrInvalid)
	}
	id, k := binary.Uvarint(in[1:])
	if k <= 0 {
		return raw, rest, fmt.Errorf("%w: request id of envelope", model.ErrInvalid)
	}
	return rawEnvelope{typ: Type(in[0]), id: id, body: in[1+k:]}, rest, nil
}

// cost checks the body and returns about what decode allocates. The body of a message that is not known is not looked at.
func (r rawEnvelope) cost() (int, error) {
	if !known(r.typ) {
		return messageCost, nil
	}
	n, err := bodyCost(r.body)
	if err != nil {
		return 0, fmt.Errorf("%w: %T: %w", model.ErrInvalid, newMessage(r.typ), err)
	}
	return n, nil
}

// decode returns the message, after cost has checked it; its []byte fields alias the body.
func (r rawEnvelope) decode() (Envelope, error) {
	if !known(r.typ) {
		return Envelope{ID: r.id, Message: &Unknown{Type: r.typ}}, nil
	}
	m := newMessage(r.typ)
	rest, err := m.UnmarshalMsg(r.body)
	if err != nil {
		return Envelope{}, fmt.Errorf("%w: %T: %w", model.ErrInvalid, m, err)
	}
	if len(rest) != 0 {
		return Envelope{}, fmt.Errorf("%w: %d bytes after %T", model.ErrInvalid, len(rest), m)
	}
	return Envelope{ID: r.id, Message: m}, nil
}
