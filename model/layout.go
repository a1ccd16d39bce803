package model

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Type says what the bytes of a registered variable mean, and so how they look as its value, which is text for all but
// TypeRaw. Numbers are never reused.
type Type uint8

// The types.
const (
	TypeRaw  Type = iota // the bytes themselves
	TypeText             // text up to the first NUL, or to the end
	TypeBool             // one byte; 0: false
	TypeU8
	TypeU16
	TypeU32
	TypeU64
	TypeI8
	TypeI16
	TypeI32
	TypeI64
	TypeF32
	TypeF64
)

var types = [...]struct {
	name string
	size int64 // bytes; 0: any number
}{
	TypeRaw: {"raw", 0}, TypeText: {"text", 0}, TypeBool: {"bool", 1},
	TypeU8: {"u8", 1}, TypeU16: {"u16", 2}, TypeU32: {"u32", 4}, TypeU64: {"u64", 8},
	TypeI8: {"i8", 1}, TypeI16: {"i16", 2}, TypeI32: {"i32", 4}, TypeI64: {"i64", 8},
	TypeF32: {"f32", 4}, TypeF64: {"f64", 8},
}

// Known reports whether there is such a type.
func (t Type) Known() bool { return int(t) < len(types) }

func (t Type) String() string {
	if !t.Known() {
		return fmt.Sprintf("type %d", uint8(t))
	}
	return types[t].name
}

// Size is how many bytes a variable of the type has, 0 if that is not fixed.
func (t Type) Size() int64 {
	if !t.Known() {
		return 0
	}
	return types[t].size
}

// ParseType is the type of a name.
func ParseType(name string) (Type, error) {
	names := make([]string, len(types))
	for t := range types {
		if names[t] = types[t].name; names[t] == name {
			return Type(t), nil
		}
	}
	return 0, fmt.Errorf("unknown type %q: it is one of %s", name, strings.Join(names, ", "))
}

// Layout is where a registered variable lies in the memory of its bare service, and what its bytes mean there.
type Layout struct {
	Off, Size int64
	Type      Type
	BigEndian bool // the order of a number's bytes; else little-endian
}

// Check says what is wrong with a layout in a service of size bytes.
func (l Layout) Check(size int64) error {
	bad := func(format string, args ...any) error {
		return &Error{Code: CodeInvalid, Message: fmt.Sprintf(format, args...)}
	}
	fixed := l.Type.Size()
	switch {
	case !l.Type.Known():
		return bad("unknown type %d", l.Type)
	case l.Off < 0 || l.Size <= 0:
		return bad("offset %d and size %d: an offset is not negative, a size is positive", l.Off, l.Size)
	case fixed != 0 && l.Size != fixed:
		return bad("a variable of type %s has %d bytes, not %d", l.Type, fixed, l.Size)
	case l.Off > size || l.Size > size-l.Off:
		return bad("bytes %d to %d are not in the service's %d", l.Off, l.Off+l.Size, size)
	}
	return nil
}

// End is the offset behind the variable.
func (l Layout) End() int64 { return l.Off + l.Size }

// Overlaps reports whether two variables have bytes in common.
func (l Layout) Overlaps(o Layout) bool { return l.Off < o.End() && o.Off < l.End() }

func (l Layout) order() binary.ByteOrder {
	if l.BigEndian {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

// bits is the number that the first bytes of b are.
func (l Layout) bits(b []byte) uint64 {
	switch l.Size {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(l.order().Uint16(b))
	case 4:
		return uint64(l.order().Uint32(b))
	}
	return l.order().Uint64(b)
}

func (l Layout) putBits(b []byte, n uint64) {
	switch l.Size {
	case 1:
		b[0] = byte(n)
	case 2:
		l.order().PutUint16(b, uint16(n))
	case 4:
		l.order().PutUint32(b, uint32(n))
	default:
		l.order().PutUint64(b, n)
	}
}

// Value is what Size bytes of memory are as the variable's value. The result shares nothing with them.
func (l Layout) Value(memory []byte) []byte {
	var b []byte
	switch l.Type {
	case TypeRaw:
		return bytes.Clone(memory)
	case TypeText:
		text, _, _ := bytes.Cut(memory, []byte{0})
		return bytes.Clone(text)
	case TypeBool:
		b = strconv.AppendBool(b, memory[0] != 0)
	case TypeU8, TypeU16, TypeU32, TypeU64:
		b = strconv.AppendUint(b, l.bits(memory), 10)
	case TypeI8, TypeI16, TypeI32, TypeI64:
		unused := 64 - 8*l.Size
		b = strconv.AppendInt(b, int64(l.bits(memory)<<unused)>>unused, 10)
	case TypeF32:
		b = strconv.AppendFloat(b, float64(math.Float32frombits(uint32(l.bits(memory)))), 'g', -1, 32)
	case TypeF64:
		b = strconv.AppendFloat(b, math.Float64frombits(l.bits(memory)), 'g', -1, 64)
	}
	return append(b, '\n')
}

// Memory is what a value is as Size bytes of memory. Those behind the end of a shorter raw value are left as they are in old.
// It fails for a value that is too long ([CodeTooLarge]) or that the type does not have ([CodeInvalid]).
func (l Layout) Memory(value, old []byte) ([]byte, error) {
	b := make([]byte, l.Size)
	switch l.Type {
	case TypeRaw:
		if int64(len(value)) > l.Size {
			return nil, l.tooLong()
		}
		copy(b[copy(b, value):], old[min(len(value), len(old)):])
		return b, nil
	case TypeText:
		if int64(len(value)) > l.Size {
			return nil, l.tooLong()
		}
		if bytes.IndexByte(value, 0) >= 0 {
			return nil, &Error{Code: CodeInvalid, Message: "a text has no NUL"}
		}
		copy(b, value)
		return b, nil
	}
	n, err := l.parse(strings.TrimSpace(string(value)))
	if err != nil {
		return nil, &Error{Code: CodeInvalid, Message: fmt.Sprintf("not a value of type %s: %.40q", l.Type, value)}
	}
	l.putBits(b, n)
	return b, nil
}

func (l Layout) tooLong() error {
	return &Error{Code: CodeTooLarge, Message: fmt.Sprintf("the variable has %d bytes", l.Size)}
}

func (l Layout) parse(text string) (uint64, error) {
	bits := int(8 * l.Size)
	// A number with a leading 0 is not octal: people and programs pad with zeroes.
	base, digits := 10, strings.TrimLeft(text, "+-")
	if len(text)-len(digits) > 1 {
		return 0, strconv.ErrSyntax
	}
	if strings.HasPrefix(digits, "0x") || strings.HasPrefix(digits, "0X") {
		base = 0
	}
	switch l.Type {
	case TypeBool:
		v, err := strconv.ParseBool(text)
		if v {
			return 1, err
		}
		return 0, err
	case TypeU8, TypeU16, TypeU32, TypeU64:
		return strconv.ParseUint(strings.TrimPrefix(text, "+"), base, bits)
	case TypeI8, TypeI16, TypeI32, TypeI64:
		n, err := strconv.ParseInt(text, base, bits)
		return uint64(n), err
	case TypeF32:
		f, err := strconv.ParseFloat(text, 32)
		return uint64(math.Float32bits(float32(f))), err
	}
	f, err := strconv.ParseFloat(text, 64)
	return math.Float64bits(f), err
}
