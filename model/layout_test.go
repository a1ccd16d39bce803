package model

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"testing"
)

func TestLayout_Values(t *testing.T) {
	number := func(typ Type) Layout { return Layout{Size: typ.Size(), Type: typ} }
	big := number(TypeI16)
	big.BigEndian = true
	f32 := binary.LittleEndian.AppendUint32(nil, math.Float32bits(0.1))
	f64 := binary.LittleEndian.AppendUint64(nil, math.Float64bits(21.5))
	for _, c := range []struct {
		layout Layout
		memory string
		value  string
	}{
		{number(TypeU8), "\xff", "255\n"},
		{number(TypeI8), "\xff", "-1\n"},
		{number(TypeU16), "\x01\x02", "513\n"},
		{big, "\xff\xfe", "-2\n"},
		{number(TypeI32), "\x00\x00\x00\x80", "-2147483648\n"},
		{number(TypeU64), "\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615\n"},
		{number(TypeF32), string(f32), "0.1\n"},
		{number(TypeF64), string(f64), "21.5\n"},
		{number(TypeBool), "\x01", "true\n"},
		{number(TypeBool), "\x00", "false\n"},
		{Layout{Size: 4, Type: TypeText}, "ab\x00\x00", "ab"},
		{Layout{Size: 4, Type: TypeText}, "abcd", "abcd"},
		{Layout{Size: 3, Type: TypeRaw}, "a\x00c", "a\x00c"},
	} {
		if got := c.layout.Value([]byte(c.memory)); string(got) != c.value {
			t.Errorf("%v: the value of %q is %q, want %q", c.layout, c.memory, got, c.value)
		}
		if got, err := c.layout.Memory([]byte(c.value), []byte("old bytes")); err != nil || string(got) != c.memory {
			t.Errorf("%v: %q becomes %q, %v, want %q", c.layout, c.value, got, err, c.memory)
		}
	}
}

func TestLayout_Memory(t *testing.T) {
	for _, c := range []struct {
		typ   Type
		value string
		want  uint64
		code  Code
	}{
		{TypeU8, "007", 7, CodeOK},
		{TypeU8, " +7 \n", 7, CodeOK},
		{TypeU8, "0x1F", 31, CodeOK},
		{TypeU8, "256", 0, CodeInvalid},
		{TypeU8, "-1", 0, CodeInvalid},
		{TypeU8, "+-1", 0, CodeInvalid},
		{TypeU8, "", 0, CodeInvalid},
		{TypeU8, "1 2", 0, CodeInvalid},
		{TypeU8, "1_0", 0, CodeInvalid},
		{TypeI16, "-0x10", 0xfff0, CodeOK},
		{TypeI16, "32768", 0, CodeInvalid},
		{TypeF64, "1e999", 0, CodeInvalid},
		{TypeF64, "warm", 0, CodeInvalid},
		{TypeBool, "1", 1, CodeOK},
		{TypeBool, "yes", 0, CodeInvalid},
	} {
		l := Layout{Size: c.typ.Size(), Type: c.typ}
		b, err := l.Memory([]byte(c.value), nil)
		if CodeOf(err) != c.code {
			t.Errorf("%v %q: got error %v, want code %v", c.typ, c.value, err, c.code)
			continue
		}
		if err == nil && l.bits(b) != c.want {
			t.Errorf("%v %q: got %#x, want %#x", c.typ, c.value, l.bits(b), c.want)
		}
	}
	raw := Layout{Size: 4, Type: TypeRaw}
	if b, err := raw.Memory([]byte("xy"), []byte("abcd")); err != nil || string(b) != "xycd" {
		t.Errorf("a shorter raw value makes %q, %v, want %q", b, err, "xycd")
	}
	for _, typ := range []Type{TypeRaw, TypeText} {
		if _, err := (Layout{Size: 4, Type: typ}).Memory([]byte("abcde"), nil); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%v: a longer value: got error %v, want %v", typ, err, ErrTooLarge)
		}
	}
	if _, err := (Layout{Size: 4, Type: TypeText}).Memory([]byte("a\x00"), nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("a text with a NUL: got error %v, want %v", err, ErrInvalid)
	}
}

func TestLayout_Check(t *testing.T) {
	for _, c := range []struct {
		l  Layout
		ok bool
	}{
		{Layout{0, 4096, TypeRaw, false}, true},
		{Layout{4088, 8, TypeU64, false}, true},
		{Layout{4089, 8, TypeU64, false}, false},
		{Layout{0, 4, TypeU64, false}, false},
		{Layout{-1, 4, TypeRaw, false}, false},
		{Layout{0, 0, TypeRaw, false}, false},
		{Layout{math.MaxInt64, 8, TypeU64, false}, false},
		{Layout{8, math.MaxInt64, TypeRaw, false}, false},
		{Layout{0, 1, 99, false}, false},
	} {
		if err := c.l.Check(4096); (err == nil) != c.ok {
			t.Errorf("%v: got error %v", c.l, err)
		}
	}
}

// Whatever bytes are in memory have a value, and all values of numbers lead back to the bytes, NaNs apart.
func FuzzLayout(f *testing.F) {
	f.Add(byte(TypeF64), true, []byte("\x7f\xf0\x00\x00\x00\x00\x00\x00"))
	f.Add(byte(TypeText), false, []byte("a\x00b"))
	f.Fuzz(func(t *testing.T, typ byte, big bool, memory []byte) {
		l := Layout{Type: Type(typ) % Type(len(types)), BigEndian: big, Size: int64(len(memory))}
		if n := l.Type.Size(); n != 0 {
			l.Size = n
		}
		if int64(len(memory)) < l.Size || l.Size == 0 {
			return
		}
		memory = memory[:l.Size]
		value := l.Value(memory)
		back, err := l.Memory(value, memory)
		if err != nil {
			t.Fatalf("%v: %q is %q, and that nothing: %v", l, memory, value, err)
		}
		if again := l.Value(back); !bytes.Equal(again, value) {
			t.Fatalf("%v: %q is %q, then %q", l, memory, value, again)
		}
	})
}
