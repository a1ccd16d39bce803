package offline

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/commy-project/commyfs/model"
)

// The log is a sequence of records: magic, length of the body, checksum, body; numbers little endian. The checksum is over the
// salt of the file and the body. Nobody who does not read the log knows the salt, so that bytes in a value cannot be taken for
// a record where the log is damaged. The body is a type, the number of the record, and what the type has. Each record has the
// next number: where one is missing the log is damaged.
//
// The first two records are headers, the same twice: the salt is in them.

const (
	recordMagic  = 0x51594d43 // "CMYQ"
	recordHead   = 12
	maxRecord    = 1 << 30
	saltLen      = 16
	logVersion   = 1
	headerCopies = 2
)

type recordType byte

// The types of records. Numbers are never reused.
const (
	typeHeader   recordType = iota + 1 // version, salt, server, mountpoint, store, principal
	typeEntry                          // an Entry
	typeSending                        // a Sending
	typeDone                           // entries that are over, and the Progress of variables
	typeCertain                        // entries that were in doubt, and were not carried out
	typeProgress                       // the Progress of variables; in a log that was compacted
	typeNext                           // the number of the next entry; in a log that was emptied
	typeLost                           // entries whose report is not known any more
)

// header is what the log is of.
type header struct {
	salt                 [saltLen]byte
	server, mount, store string
	principal            string // in whose name entries were sent; an older version has not noted it
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (h *header) sum(body []byte) uint32 {
	return crc32.Update(crc32.Checksum(h.salt[:], castagnoli), castagnoli, body)
}

// frame appends a record to b.
func (h *header) frame(b []byte, t recordType, number uint64, payload []byte) []byte {
	at := len(b)
	b = append(b, make([]byte, recordHead)...)
	b = append(b, byte(t))
	b = binary.AppendUvarint(b, number)
	b = append(b, payload...)
	body := b[at+recordHead:]
	binary.LittleEndian.PutUint32(b[at:], recordMagic)
	binary.LittleEndian.PutUint32(b[at+4:], uint32(len(body)))
	sum := crc32.Checksum(body, castagnoli) // a header has the salt in it
	if t != typeHeader {
		sum = h.sum(body)
	}
	binary.LittleEndian.PutUint32(b[at+8:], sum)
	return b
}

// record is one that was read.
type record struct {
	typ     recordType
	number  uint64
	payload []byte
	off     int64 // of the payload in the file
	size    int   // of the whole
}

var errRecord = errors.New("not a record")

// unframe reads the record at the beginning of b, which is at off in the file.
func (h *header) unframe(b []byte, off int64) (record, error) {
	if len(b) < recordHead || binary.LittleEndian.Uint32(b) != recordMagic {
		return record{}, errRecord
	}
	n := int64(binary.LittleEndian.Uint32(b[4:]))
	if n < 2 || n > maxRecord || n > int64(len(b)-recordHead) {
		return record{}, errRecord
	}
	body := b[recordHead : recordHead+n]
	r := record{typ: recordType(body[0]), size: recordHead + int(n)}
	sum := crc32.Checksum(body, castagnoli)
	if r.typ != typeHeader {
		sum = h.sum(body)
	}
	if sum != binary.LittleEndian.Uint32(b[8:]) {
		return record{}, errRecord
	}
	k := 0
	if r.number, k = binary.Uvarint(body[1:]); k <= 0 {
		return record{}, errRecord
	}
	r.payload, r.off = body[1+k:], off+int64(recordHead+1+k)
	return r, nil
}

func (h *header) encode() []byte {
	b := binary.AppendUvarint(nil, logVersion)
	b = append(b, h.salt[:]...)
	for _, s := range []string{h.server, h.mount, h.store, h.principal} {
		b = appendBytes(b, s)
	}
	return b
}

func (h *header) decode(payload []byte) error {
	r := reader{b: payload}
	if v := r.uint(); r.err == nil && v != logVersion {
		return fmt.Errorf("the offline queue has version %d: a newer commyfs has made it", v)
	}
	copy(h.salt[:], r.take(saltLen))
	h.server, h.mount, h.store = string(r.bytes()), string(r.bytes()), string(r.bytes())
	if r.err == nil && r.off < len(r.b) {
		h.principal = string(r.bytes())
	}
	return r.err
}

func appendBytes[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// reader takes values from a payload. It keeps the first error; what it returns after one is nothing.
type reader struct {
	b   []byte
	off int
	err error
}

func (r *reader) uint() uint64 {
	v, k := binary.Uvarint(r.b[r.off:])
	if k <= 0 {
		r.fail()
		return 0
	}
	r.off += k
	return v
}

func (r *reader) int() int64 {
	v, k := binary.Varint(r.b[r.off:])
	if k <= 0 {
		r.fail()
		return 0
	}
	r.off += k
	return v
}

func (r *reader) fail() { r.err, r.off = errRecord, len(r.b) }

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)-r.off) {
		r.fail()
		return nil
	}
	r.off += int(n)
	return r.b[r.off-int(n) : r.off : r.off]
}

func (r *reader) bytes() []byte { return r.take(r.uint()) }

func (r *reader) uints() (list []uint64) {
	for n := r.uint(); n > 0 && r.err == nil; n-- {
		list = append(list, r.uint())
	}
	return list
}

// Flags of an entry.
const (
	flagNew = 1 << iota
	flagMTime
	flagBefore
	flagDoubt
	flagLost
	flagGap
	flagWithin
)

// encode returns an entry's payload. Its bytes come last, but for the trailer: see placeOf.
func (e *Entry) encode() []byte {
	flags := uint64(0)
	for _, f := range []struct {
		set bool
		bit uint64
	}{{e.New, flagNew}, {e.HasMTime, flagMTime}, {e.HasBefore, flagBefore}, {e.Doubt != nil, flagDoubt},
		{e.Doubt != nil && e.Doubt.Lost, flagLost}, {e.Gap, flagGap}, {e.Within != 0, flagWithin}} {
		if f.set {
			flags |= f.bit
		}
	}
	b := make([]byte, 0, 160+len(e.Name)+len(e.Data)+len(e.Before))
	for _, n := range []uint64{flags, e.N, e.Prev, uint64(e.Time), e.Key, e.In, e.Base, uint64(e.Kind), uint64(e.Mode)} {
		b = binary.AppendUvarint(b, n)
	}
	for _, n := range []int64{e.Off, e.Size, e.MTime} {
		b = binary.AppendVarint(b, n)
	}
	for _, s := range []string{e.Tenant, e.Service, e.Name} {
		b = appendBytes(b, s)
	}
	if d := e.Doubt; d != nil {
		b = append(b, d.Client[:]...)
		b = binary.AppendUvarint(b, d.Seq)
		b = binary.AppendVarint(b, d.First)
		b = binary.AppendVarint(b, d.Size)
		b = append(b, d.Sum[:]...)
	}
	b = appendBytes(b, e.Data)
	b = appendBytes(b, e.Before)
	return append(b, e.trailer()...)
}

// trailer is what an older version does not look at.
func (e *Entry) trailer() []byte {
	if e.Within == 0 {
		return nil
	}
	return binary.AppendUvarint(nil, e.Within)
}

// place is where an entry's bytes are in the file.
type place struct {
	data, before       int64
	dataLen, beforeLen int
}

// decode reads an entry, without its bytes, that is at off in the file.
func (e *Entry) decode(payload []byte, off int64) (place, error) {
	r := reader{b: payload}
	flags := r.uint()
	e.N, e.Prev, e.Time, e.Key, e.In, e.Base = r.uint(), r.uint(), int64(r.uint()), r.uint(), r.uint(), r.uint()
	e.Kind, e.Mode = Kind(r.uint()), model.Mode(r.uint())
	e.Off, e.Size, e.MTime = r.int(), r.int(), r.int()
	e.Tenant, e.Service, e.Name = string(r.bytes()), string(r.bytes()), string(r.bytes())
	e.New, e.HasMTime, e.HasBefore, e.Gap = flags&flagNew != 0, flags&flagMTime != 0, flags&flagBefore != 0, flags&flagGap != 0
	if flags&flagDoubt != 0 {
		d := &Doubt{Lost: flags&flagLost != 0}
		copy(d.Client[:], r.take(16))
		d.Seq, d.First, d.Size = r.uint(), r.int(), r.int()
		copy(d.Sum[:], r.take(32))
		e.Doubt = d
	}
	var p place
	p.dataLen = len(r.bytes())
	p.data = off + int64(r.off-p.dataLen)
	p.beforeLen = len(r.bytes())
	p.before = off + int64(r.off-p.beforeLen)
	if flags&flagWithin != 0 {
		e.Within = r.uint()
	}
	if r.err == nil && (e.Kind < Replace || e.Kind > Meta || e.Off < 0 || e.Size < 0) {
		r.err = errRecord
	}
	return p, r.err
}

func (s *Sending) encode() []byte {
	b := append([]byte(nil), s.Client[:]...)
	b = binary.AppendUvarint(b, s.Seq)
	b = binary.AppendVarint(b, s.First)
	return appendNumbers(b, s.N)
}

func (s *Sending) decode(payload []byte) error {
	r := reader{b: payload}
	copy(s.Client[:], r.take(16))
	s.Seq, s.First, s.N = r.uint(), r.int(), r.uints()
	return r.err
}

func appendNumbers(b []byte, list []uint64) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, n := range list {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

// encodeDone is the payload of typeDone, encodeProgress that of typeProgress.
func encodeDone(over []uint64, progress []Progress) []byte {
	return append(appendNumbers(nil, over), encodeProgress(progress)...)
}

func encodeProgress(list []Progress) []byte {
	b := binary.AppendUvarint(nil, uint64(len(list)))
	for _, p := range list {
		for _, n := range []uint64{p.Key, p.ID, p.Version} {
			b = binary.AppendUvarint(b, n)
		}
	}
	return b
}

func (r *reader) progress() (list []Progress) {
	for n := r.uint(); n > 0 && r.err == nil; n-- {
		list = append(list, Progress{r.uint(), r.uint(), r.uint()})
	}
	return list
}
