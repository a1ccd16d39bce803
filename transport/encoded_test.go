package transport

import (
	"bytes"
	"errors"
	"testing"

	"github.com/commy-project/commyfs/model"
)

// An encoded message is on the wire what the message would have been.
func TestEncoded(t *testing.T) {
	m := &VariableChanged{Service: 7, Rev: 9, Changes: []model.Event{{Kind: model.EventSet, ID: 3, Name: "v", Version: 2, Size: 1, Data: []byte("x")}}}
	e, err := Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	want, err := AppendEnvelope(nil, Envelope{Message: m})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		got, err := AppendEnvelope(nil, Envelope{Message: e})
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%x, %v\nwant %x", got, err, want)
		}
	}
	if e.Msgsize() > m.Msgsize() || e.Msgsize() < len(want)-lengthSize-2 {
		t.Errorf("size %d of a message of %d bytes", e.Msgsize(), len(want))
	}
	if _, err := e.UnmarshalMsg(want); !errors.Is(err, model.ErrInvalid) {
		t.Errorf("decoded into an encoded message: %v", err)
	}
}

// TestBrief: what a change or an event does not say takes nothing, and so many of them are still an array that is believed.
func TestBrief(t *testing.T) {
	const n = 2 * bigArray
	for _, m := range []Message{
		&ReportVariableChanges{Seq: 1, Changes: make([]model.Change, n)},
		&VariableChanged{Service: 1, Changes: make([]model.Event, n)},
		&Snapshot{Service: 1, Changes: make([]model.Event, n)},
	} {
		want := Envelope{ID: 1, Message: m}
		b, err := AppendEnvelope(nil, want)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > 10*n {
			t.Errorf("%T takes %d bytes for each", m, len(b)/n)
		}
		if e, _, err := DecodeEnvelope(b); err != nil || !equal(e, want) {
			t.Errorf("%T: %v, or not what was sent", m, err)
		}
	}
}
