package transport

import (
	"encoding/binary"
	"errors"
	"unsafe"

	"github.com/commy-project/commyfs/model"
)

// The generated decoders make a slice of as many elements as an array header announces before they look at the first.
// bodyCost reads over a body beforehand, so that by the time they run every header is known to be backed by bytes, and what
// they will allocate is known and accounted for.

const (
	maxDepth = 32
	// The smallest element that costs much memory when decoded, a RangeData, takes 8 bytes. Short arrays may have
	// smaller ones: they cannot cost much, and names in a list can be a byte long.
	bigArray       = 1024
	bigArrayMember = 8
)

// What decoding allocates beside the elements of arrays.
const (
	stringCost  = 16  // on average, for what the allocator adds to a string
	messageCost = 256 // the message, and what its receiver needs to handle it
)

// The largest element of the arrays that messages have, and of those that are inside an element.
const (
	outerElement = int(unsafe.Sizeof(model.Change{}))
	innerElement = int(unsafe.Sizeof(model.RangeData{}))
)

var (
	errShort   = errors.New("body ends early")
	errDeep    = errors.New("body is nested too deep")
	errBadByte = errors.New("body is not MessagePack")
	errArray   = errors.New("array announces more than there is")
	errTrail   = errors.New("bytes after the body")
)

// bodyCost checks that b is one complete MessagePack object whose arrays and maps have room for their elements, and returns
// about how many bytes it takes when decoded, beside the byte strings, which stay where they are.
func bodyCost(b []byte) (int, error) {
	w := walk{cost: messageCost}
	rest, err := w.object(b, 0)
	if err == nil && len(rest) != 0 {
		err = errTrail
	}
	return w.cost, err
}

// walk is one reading over a body.
type walk struct {
	cost  int
	depth int // of arrays
}

// object skips what b begins with.
func (w *walk) object(b []byte, depth int) ([]byte, error) {
	if len(b) == 0 {
		return nil, errShort
	}
	if depth > maxDepth {
		return nil, errDeep
	}
	lead := b[0]
	b = b[1:]
	switch {
	case lead <= 0x7f, lead >= 0xe0: // fixint
		return b, nil
	case lead <= 0x8f: // fixmap
		return w.fields(b, uint64(lead&0x0f), depth)
	case lead <= 0x9f: // fixarray
		return w.elements(b, uint64(lead&0x0f), depth)
	case lead <= 0xbf: // fixstr
		return w.text(b, uint64(lead&0x1f))
	}
	switch lead {
	case 0xc0, 0xc2, 0xc3: // nil, false, true
		return b, nil
	case 0xc4, 0xc5, 0xc6: // bin8, bin16, bin32
		return skipSized(b, 1<<(lead-0xc4), 0)
	case 0xd9, 0xda, 0xdb: // str8, str16, str32
		n, b, err := readSize(b, 1<<(lead-0xd9))
		if err != nil {
			return nil, err
		}
		return w.text(b, n)
	case 0xc7, 0xc8, 0xc9: // ext8, ext16, ext32: length, then one byte for the type
		return skipSized(b, 1<<(lead-0xc7), 1)
	case 0xca, 0xce, 0xd2: // float32, uint32, int32
		return skipBytes(b, 4)
	case 0xcb, 0xcf, 0xd3: // float64, uint64, int64
		return skipBytes(b, 8)
	case 0xcc, 0xd0: // uint8, int8
		return skipBytes(b, 1)
	case 0xcd, 0xd1: // uint16, int16
		return skipBytes(b, 2)
	case 0xd4, 0xd5, 0xd6, 0xd7, 0xd8: // fixext 1, 2, 4, 8, 16
		return skipBytes(b, 1+1<<(lead-0xd4))
	case 0xdc, 0xdd: // array16, array32
		n, b, err := readSize(b, 2<<(lead-0xdc))
		if err != nil {
			return nil, err
		}
		return w.elements(b, n, depth)
	case 0xde, 0xdf: // map16, map32
		n, b, err := readSize(b, 2<<(lead-0xde))
		if err != nil {
			return nil, err
		}
		return w.fields(b, n, depth)
	}
	return nil, errBadByte
}

// text skips a string, which is copied when it is decoded.
func (w *walk) text(b []byte, n uint64) ([]byte, error) {
	b, err := skipBytes(b, n)
	if err == nil {
		w.cost += int(n) + stringCost
	}
	return b, err
}

func (w *walk) elements(b []byte, n uint64, depth int) ([]byte, error) {
	if err := backed(b, n); err != nil {
		return nil, err
	}
	size := outerElement
	if w.depth > 0 {
		size = innerElement
	}
	w.cost += int(n) * size
	w.depth++
	var err error
	for ; n > 0; n-- {
		if b, err = w.object(b, depth+1); err != nil {
			return nil, err
		}
	}
	w.depth--
	return b, nil
}

// fields skips the members of a map: a struct, whose fields' names are not kept.
func (w *walk) fields(b []byte, n uint64, depth int) ([]byte, error) {
	if err := backed(b, 2*n); err != nil {
		return nil, err
	}
	var err error
	for ; n > 0; n-- {
		cost := w.cost
		if b, err = w.object(b, depth+1); err != nil {
			return nil, err
		}
		w.cost = cost
		if b, err = w.object(b, depth+1); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// backed reports whether b has room for n members.
func backed(b []byte, n uint64) error {
	if n > uint64(len(b)) || n > bigArray && n*bigArrayMember > uint64(len(b)) {
		return errArray
	}
	return nil
}

func skipSized(b []byte, width int, extra uint64) ([]byte, error) {
	n, b, err := readSize(b, width)
	if err != nil {
		return nil, err
	}
	return skipBytes(b, n+extra)
}

func skipBytes(b []byte, n uint64) ([]byte, error) {
	if n > uint64(len(b)) {
		return nil, errShort
	}
	return b[n:], nil
}

func readSize(b []byte, width int) (uint64, []byte, error) {
	if len(b) < width {
		return 0, nil, errShort
	}
	switch width {
	case 1:
		return uint64(b[0]), b[1:], nil
	case 2:
		return uint64(binary.BigEndian.Uint16(b)), b[2:], nil
	}
	return uint64(binary.BigEndian.Uint32(b)), b[4:], nil
}
