package engine

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// recordFormat is the first byte of every record. A record of a higher format is refused, not guessed at. Records of format
// 1 have no modes, those of format 2 no sizes, those of format 3 no prefixes, those of format 4 no
// homes, those of format 5 no prefixes of tenants.
const recordFormat = 6

// A record is the format, then the fields in order: numbers as varints, strings with their length before them, and at
// the end, without a length, what is opaque.

func newRecord(size int) []byte { return append(make([]byte, 0, size+1), recordFormat) }

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// decoder reads a record's fields. It keeps the first error; what it returns after one is zero.
type decoder struct {
	b      []byte
	format byte
	err    error
}

func newDecoder(record []byte) *decoder {
	d := &decoder{b: record}
	switch {
	case len(record) == 0:
		d.err = fmt.Errorf("%w: empty record", ErrCorrupt)
	case record[0] > recordFormat:
		d.err = fmt.Errorf("%w: record format %d", ErrSchema, record[0])
	case record[0] == 0:
		d.err = fmt.Errorf("%w: record format %d", ErrCorrupt, record[0])
	default:
		d.format, d.b = record[0], record[1:]
	}
	return d
}

func (d *decoder) advance(n int) {
	if n <= 0 || d.err != nil {
		d.fail()
		return
	}
	d.b = d.b[n:]
}

func (d *decoder) fail() {
	if d.err == nil {
		d.err = fmt.Errorf("%w: short record", ErrCorrupt)
	}
	d.b = nil
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	d.advance(n)
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	d.advance(n)
	return v
}

// mode reads what records have since format 2.
func (d *decoder) mode() uint32 {
	if d.format < 2 {
		return 0
	}
	return uint32(d.uvarint())
}

// appendMeta appends what describes a directory or variable.
func appendMeta(b []byte, mtime int64, mode uint32) []byte {
	return binary.AppendUvarint(binary.AppendVarint(b, mtime), uint64(mode))
}

func (d *decoder) bytes(n uint64) []byte {
	if d.err != nil || n > uint64(len(d.b)) {
		d.fail()
		return nil
	}
	b := d.b[:n]
	d.b = d.b[n:]
	return b
}

func (d *decoder) string() string { return string(d.bytes(d.uvarint())) }

func (t Tenant) encode() []byte {
	return appendString(appendMeta(binary.AppendUvarint(newRecord(26+len(t.Prefix)), t.ID), t.MTime, t.Mode), t.Prefix)
}

func decodeTenant(name string, record []byte) (Tenant, error) {
	d := newDecoder(record)
	t := Tenant{ID: d.uvarint(), MTime: d.varint(), Mode: d.mode(), Name: name}
	if d.format >= 6 {
		t.Prefix = d.string()
	}
	return t, d.err
}

func (s Service) encode() []byte {
	return appendMeta(binary.AppendUvarint(newRecord(25), s.ID), s.MTime, s.Mode)
}

func decodeService(prefix, name string, record []byte) (Service, error) {
	d := newDecoder(record)
	return Service{ID: d.uvarint(), MTime: d.varint(), Mode: d.mode(), Tenant: prefix, Name: name}, d.err
}

func encodeNumber(n uint64) []byte { return binary.AppendUvarint(newRecord(10), n) }

func decodeNumber(record []byte) (uint64, error) {
	d := newDecoder(record)
	return d.uvarint(), d.err
}

func (v Dir) encode() []byte {
	b := appendMeta(binary.AppendUvarint(newRecord(46+len(v.Prefix)), v.ID), v.MTime, v.Mode)
	b = binary.AppendUvarint(appendString(b, v.Prefix), v.Least)
	return binary.AppendUvarint(b, v.Home)
}

func decodeDir(name string, record []byte) (Dir, error) {
	d := newDecoder(record)
	v := Dir{ID: d.uvarint(), MTime: d.varint(), Mode: d.mode(), Name: name}
	if d.format >= 4 {
		v.Prefix, v.Least = d.string(), d.uvarint()
	}
	if d.format >= 5 {
		v.Home = d.uvarint()
	}
	return v, d.err
}

func (i Island) encode() []byte {
	b := binary.AppendUvarint(binary.AppendUvarint(newRecord(30+10*len(i.Was)), i.ID), i.Service)
	b = binary.AppendUvarint(b, uint64(len(i.Was)))
	for _, service := range i.Was {
		b = binary.AppendUvarint(b, service)
	}
	return b
}

func decodeIsland(home uint64, prefix string, record []byte) (Island, error) {
	d := newDecoder(record)
	i := Island{Home: home, Prefix: prefix, ID: d.uvarint(), Service: d.uvarint()}
	for n := d.uvarint(); n > 0 && d.err == nil; n-- {
		i.Was = append(i.Was, d.uvarint())
	}
	return i, d.err
}

func (l Layout) encode() []byte {
	b := binary.AppendUvarint(binary.AppendUvarint(newRecord(20), uint64(l.Off)), uint64(l.Size))
	big := byte(0)
	if l.BigEndian {
		big = 1
	}
	return append(b, l.Type, big)
}

func decodeLayout(id uint64, record []byte) (Layout, error) {
	d := newDecoder(record)
	l := Layout{ID: id, Off: int64(d.uvarint()), Size: int64(d.uvarint())}
	if b := d.bytes(2); b != nil {
		l.Type, l.BigEndian = b[0], b[1] != 0
	}
	return l, d.err
}

func (v Variable) encode() []byte { return append(v.encodeHead(0), v.Data...) }

// encodeHead is the record up to the value. size is that of a value in pieces, 0 if the value comes behind.
func (v Variable) encodeHead(size int) []byte {
	room := 56 + len(v.Writer)
	if size == 0 {
		room += len(v.Data)
	}
	b := newRecord(room)
	b = binary.AppendUvarint(b, v.ID)
	b = binary.AppendUvarint(b, v.Version)
	b = appendMeta(b, v.MTime, v.Mode)
	b = appendString(b, v.Writer)
	b = append(b, v.Type)
	return binary.AppendUvarint(b, uint64(size))
}

// interned has strings that come again and again, each once.
type interned struct {
	last string
	all  map[string]string
}

// maxInterned bounds what is kept of strings that do not come again.
const maxInterned = 1024

func (s *interned) get(b []byte) string {
	if s.last == string(b) {
		return s.last
	}
	known, ok := s.all[string(b)]
	if !ok {
		known = string(b)
		if s.all == nil || len(s.all) == maxInterned {
			s.all = map[string]string{}
		}
		s.all[known] = known
	}
	s.last = known
	return known
}

func decodeVariable(name string, record []byte, writers *interned) (Variable, error) {
	v, _, err := decodeHead(name, record, writers)
	return v, err
}

// decodeHead keeps nothing of the record: its end, the value, is copied. size is that of a value in pieces, which are not
// read.
func decodeHead(name string, record []byte, writers *interned) (v Variable, size int, err error) {
	d := newDecoder(record)
	v = Variable{ID: d.uvarint(), Version: d.uvarint(), MTime: d.varint(), Mode: d.mode(), Writer: writers.get(d.bytes(d.uvarint())), Name: name}
	if t := d.bytes(1); t != nil {
		v.Type = t[0]
	}
	if d.format >= 3 {
		n := d.uvarint()
		if n > MaxValue || n > 0 && Pieces(int(n)) == 0 || n > 0 && len(d.b) > 0 {
			d.fail()
		}
		size = int(n)
	}
	v.Data = append(make([]byte, 0, len(d.b)), d.b...)
	return v, size, d.err
}

func decodeClient(id string, record []byte) (Client, error) {
	d := newDecoder(record)
	c := Client{ID: id, Time: d.varint()}
	c.Data = bytes.Clone(d.b)
	return c, d.err
}

func (k Key) encode() []byte {
	b := append(newRecord(128), k.Hash[:]...)
	b = binary.AppendUvarint(b, uint64(k.Rights))
	b = binary.AppendVarint(b, k.Created)
	b = binary.AppendUvarint(b, uint64(len(k.Tenants)))
	for _, t := range k.Tenants {
		b = appendString(b, t)
	}
	return b
}

func decodeKey(name string, record []byte) (Key, error) {
	d := newDecoder(record)
	k := Key{Name: name}
	copy(k.Hash[:], d.bytes(uint64(len(k.Hash))))
	k.Rights = uint32(d.uvarint())
	k.Created = d.varint()
	for n := d.uvarint(); n > 0 && d.err == nil; n-- {
		k.Tenants = append(k.Tenants, d.string())
	}
	return k, d.err
}
