package transport

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/tinylib/msgp/msgp"

	"github.com/commy-project/commyfs/model"
)

var update = flag.Bool("update", false, "write the golden file anew")

// sample returns a message of type t: empty, or with every field set to something of its own.
func sample(t Type, full bool) Message {
	m := newMessage(t)
	if full {
		seed := uint64(t)
		fill(reflect.ValueOf(m).Elem(), &seed)
	}
	return m
}

func fill(v reflect.Value, seed *uint64) {
	*seed++
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), seed)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), seed)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i), seed)
		}
	case reflect.String:
		v.SetString(fmt.Sprintf("s%d", *seed))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(-int64(*seed) * 1_000_003)
	case reflect.Uint64:
		v.SetUint(*seed * 1_000_000_007)
	case reflect.Uint32:
		v.SetUint(*seed * 70_001)
	case reflect.Uint16:
		v.SetUint(*seed * 7 & 0xffff)
	case reflect.Uint8:
		v.SetUint(*seed & 0xff)
	default:
		panic(fmt.Sprintf("no sample for %s", v.Type()))
	}
}

// lastType is the highest that is known.
const lastType = TypeLeaseEnded

// samples returns all messages by name. Every known type is there: TestTypes sees to it.
func samples() (names []string, envs []Envelope) {
	for t := TypeError; t <= lastType; t++ {
		for _, full := range []bool{false, true} {
			m := sample(t, full)
			name := strings.TrimPrefix(fmt.Sprintf("%T", m), "*transport.")
			if !full {
				name += "/zero"
			}
			names = append(names, name)
			envs = append(envs, Envelope{ID: uint64(t) * 101, Message: m})
		}
	}
	return names, envs
}

func TestTypes(t *testing.T) {
	if newMessage(0) != nil || newMessage(lastType+1) != nil || newMessage(255) != nil {
		t.Error("a constructor for a type that does not exist")
	}
	if len(constructors) != int(lastType)+1 {
		t.Errorf("%d constructors for %d types", len(constructors)-1, lastType)
	}
	for typ := TypeError; typ <= lastType; typ++ {
		m := newMessage(typ)
		if m == nil {
			t.Fatalf("no constructor for type %d", typ)
		}
		if got := m.messageType(); got != typ {
			t.Errorf("%T has type %d in the table, %d in its method", m, typ, got)
		}
		if got, want := holdsBytes(typ), reachesBytes(reflect.TypeOf(m).Elem()); got != want {
			t.Errorf("holdsBytes(%T) = %t, want %t", m, got, want)
		}
	}
}

func reachesBytes(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Slice:
		return t.Elem().Kind() == reflect.Uint8 || reachesBytes(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if reachesBytes(t.Field(i).Type) {
				return true
			}
		}
	}
	return false
}

func TestGolden(t *testing.T) {
	file := filepath.Join("testdata", "messages.hex")
	names, envs := samples()
	if *update {
		var out strings.Builder
		for i, e := range envs {
			b, err := AppendEnvelope(nil, e)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&out, "%s %x\n", names[i], b)
		}
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) != len(envs) {
		t.Fatalf("%d golden messages, want %d", len(lines), len(envs))
	}
	for i, line := range lines {
		name, digits, _ := strings.Cut(line, " ")
		want, err := hex.DecodeString(digits)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) {
			if name != names[i] {
				t.Fatalf("line %d is %s, want %s", i+1, name, names[i])
			}
			got, err := AppendEnvelope(nil, envs[i])
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("encoded:\n got %x\nwant %x", got, want)
			}
			e, rest, err := DecodeEnvelope(want)
			if err != nil || len(rest) != 0 {
				t.Fatalf("decode: %v, %d bytes left", err, len(rest))
			}
			if !equal(e, envs[i]) {
				t.Errorf("decoded:\n got %+v\nwant %+v", e.Message, envs[i].Message)
			}
		})
	}
}

// equal compares what a peer can tell apart: nil and empty slices are the same on the wire.
func equal(a, b Envelope) bool {
	return a.ID == b.ID && reflect.DeepEqual(normal(a.Message), normal(b.Message))
}

func normal(m Message) any {
	c := reflect.New(reflect.TypeOf(m).Elem())
	c.Elem().Set(reflect.ValueOf(m).Elem())
	emptyToNil(c.Elem())
	return c.Interface()
}

func emptyToNil(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			emptyToNil(v.Field(i))
		}
	case reflect.Slice:
		if v.Len() == 0 {
			v.SetZero()
			return
		}
		c := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(c, v)
		v.Set(c)
		for i := range v.Len() {
			emptyToNil(v.Index(i))
		}
	}
}

func TestEnvelopesConcatenate(t *testing.T) {
	_, envs := samples()
	var b []byte
	var err error
	for _, e := range envs {
		if b, err = AppendEnvelope(b, e); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range envs {
		var e Envelope
		if e, b, err = DecodeEnvelope(b); err != nil {
			t.Fatalf("envelope %d: %v", i, err)
		}
		if !equal(e, want) {
			t.Errorf("envelope %d: got %+v, want %+v", i, e, want)
		}
	}
	if len(b) != 0 {
		t.Errorf("%d bytes left", len(b))
	}
}

// envelope wraps a body that no encoder of ours makes.
func envelope(typ Type, id uint64, body []byte) []byte {
	rest := append([]byte{byte(typ)}, binary.AppendUvarint(nil, id)...)
	rest = append(rest, body...)
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(rest))), rest...)
}

func TestNewerPeer(t *testing.T) {
	body := msgp.AppendMapHeader(nil, 3)
	body = msgp.AppendString(body, "new")
	body = msgp.AppendMapHeader(body, 1)
	body = msgp.AppendString(body, "deep")
	body = msgp.AppendArrayHeader(body, 2)
	body = msgp.AppendFloat64(body, 1)
	body = msgp.AppendBytes(body, make([]byte, 300))
	body = msgp.AppendString(body, "s")
	body = msgp.AppendUint64(body, 7)
	body = msgp.AppendString(body, "also new")
	body = msgp.AppendNil(body)
	e, _, err := DecodeEnvelope(envelope(TypeUnwatch, 5, body))
	if err != nil {
		t.Fatal(err)
	}
	if want := (Envelope{ID: 5, Message: &Unwatch{Service: 7}}); !reflect.DeepEqual(e, want) {
		t.Errorf("unknown keys: got %+v, want %+v", e, want)
	}

	e, _, err = DecodeEnvelope(envelope(lastType+40, 9, []byte("anything")))
	if err != nil {
		t.Fatal(err)
	}
	if want := (Envelope{ID: 9, Message: &Unknown{Type: lastType + 40}}); !reflect.DeepEqual(e, want) {
		t.Errorf("unknown type: got %+v, want %+v", e, want)
	}
	if _, err := AppendEnvelope(nil, e); err == nil {
		t.Error("a message of unknown type was encoded")
	}
	if _, err := AppendEnvelope(nil, Envelope{}); !errors.Is(err, model.ErrInvalid) {
		t.Errorf("no message: got %v, want model.ErrInvalid", err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	good, err := AppendEnvelope(nil, Envelope{ID: 300, Message: &Unwatch{Service: 7}})
	if err != nil {
		t.Fatal(err)
	}
	for n := range good {
		if _, _, err := DecodeEnvelope(good[:n]); !errors.Is(err, model.ErrInvalid) {
			t.Errorf("first %d of %d bytes: got %v, want model.ErrInvalid", n, len(good), err)
		}
	}
	array := func(n uint32) []byte {
		return binary.BigEndian.AppendUint32([]byte{0x81, 0xa1, 'c', 0xdd}, n)
	}
	for _, tt := range []struct {
		name string
		in   []byte
	}{
		{"no type", []byte{0, 0, 0, 0}},
		{"id does not end", envelope(TypeLeaseEnded, 0, nil)[:5]},
		{"id over 64 bits", append([]byte{12, 0, 0, 0, byte(TypeLeaseEnded)}, bytes.Repeat([]byte{0xff}, 11)...)},
		{"no body", envelope(TypeLeaseEnded, 1, nil)},
		{"bytes after the body", envelope(TypeLeaseEnded, 1, []byte{0x80, 0x80})},
		{"wrong type of field", envelope(TypeUnwatch, 1, []byte{0x81, 0xa1, 's', 0xa1, 'x'})},
		{"not a map", envelope(TypeUnwatch, 1, []byte{0x93, 1, 2, 3})},
		{"reserved byte", envelope(TypeUnwatch, 1, []byte{0x81, 0xa1, 's', 0xc1})},
		{"array of 4 billion", envelope(TypeVariableChanged, 0, array(1<<32-1))},
		{"array of a million, 1 byte each", envelope(TypeVariableChanged, 0, append(array(1e6), bytes.Repeat([]byte{0x80}, 1e6)...))},
		{"map of 4 billion", envelope(TypeLeaseEnded, 1, []byte{0xdf, 0xff, 0xff, 0xff, 0xff})},
		{"string of 4 billion", envelope(TypeLeaseEnded, 1, []byte{0xdb, 0xff, 0xff, 0xff, 0xff})},
		{"ext of 4 billion", envelope(TypeLeaseEnded, 1, []byte{0xc9, 0xff, 0xff, 0xff, 0xff, 1})},
		{"nested without end", envelope(TypeLeaseEnded, 1, append([]byte{0x81, 0xa1, 'x'}, bytes.Repeat([]byte{0x91}, 1e6)...))},
		{"nested too deep", envelope(TypeLeaseEnded, 1, append(append([]byte{0x81, 0xa1, 'x'}, bytes.Repeat([]byte{0x91}, 100)...), 0xc0))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := heapAllocated()
			if e, _, err := DecodeEnvelope(tt.in); !errors.Is(err, model.ErrInvalid) {
				t.Errorf("got %+v, %v, want model.ErrInvalid", e, err)
			}
			if got := heapAllocated() - before; got > 1<<20 {
				t.Errorf("%d bytes allocated for %d", got, len(tt.in))
			}
		})
	}
}

// The body checker and the decoders' library must agree on what an object is.
func TestCheckBodyAgreesWithMsgp(t *testing.T) {
	tail := bytes.Repeat([]byte{0}, 40)
	for lead := range 256 {
		b := append([]byte{byte(lead)}, tail...)
		want, wantErr := msgp.Skip(b)
		got, err := (&walk{}).object(b, 0)
		if (err == nil) != (wantErr == nil) {
			t.Errorf("lead %#x: got %v, msgp says %v", lead, err, wantErr)
		}
		if err == nil && wantErr == nil && len(got) != len(want) {
			t.Errorf("lead %#x: %d bytes left, msgp leaves %d", lead, len(got), len(want))
		}
	}
}
