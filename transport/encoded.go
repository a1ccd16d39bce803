package transport

import (
	"fmt"

	"github.com/commy-project/commyfs/model"
)

// Encoded is a message that was encoded beforehand, for all the connections that it is sent on.
type Encoded struct {
	typ  Type
	body []byte
}

// Encode encodes a message.
func Encode(m Message) (*Encoded, error) {
	body, err := m.MarshalMsg(make([]byte, 0, m.Msgsize()))
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", m, err)
	}
	return &Encoded{m.messageType(), body}, nil
}

func (e *Encoded) messageType() Type { return e.typ }

// MarshalMsg appends what was encoded.
func (e *Encoded) MarshalMsg(b []byte) ([]byte, error) { return append(b, e.body...), nil }

// UnmarshalMsg fails: what is received has its own type.
func (e *Encoded) UnmarshalMsg(b []byte) ([]byte, error) {
	return b, fmt.Errorf("%w: decode into an encoded message", model.ErrInvalid)
}

// Msgsize is the size of what was encoded.
func (e *Encoded) Msgsize() int { return len(e.body) }
