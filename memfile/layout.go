package memfile

import (
	"encoding/binary"
	"fmt"
)

// Layout version 1. docs/memfile.md is the same in prose; the readers in examples hold it to that.
const (
	magic         = "COMMYMEM"
	layoutVersion = 1
	headerSize    = 4096
	pageSize      = 4096

	offLayout     = 8
	offHeaderSize = 12
	offGeneration = 16
	offService    = 24
	offStore      = 32
	offFileSize   = 48
	offDir        = 56
	offEntrySize  = 64
	offSlots      = 68
	offNames      = 72
	offNamesSize  = 80
	offValues     = 88
	offValuesSize = 96
	// What changes while the file lives has a cache line of its own.
	offState   = 128
	offUsed    = 132
	offNamed   = 136
	offChanges = 144

	entrySize  = 64
	entSeq     = 0
	entID      = 8
	entVersion = 16
	entMTime   = 24
	entValue   = 32
	entLen     = 40 // u32 length, u32 capacity
	entName    = 48
	entNameLen = 56 // u32 length, u32 flags

	valueUnit = 64 // values begin and end on these
	nameUnit  = 8
)

// header is the part of the header that never changes.
type header struct {
	generation uint64
	service    uint64
	store      [16]byte
	fileSize   int64
	dir        int64
	slots      uint32
	names      int64
	namesSize  int64
	values     int64
	valuesSize int64
}

func (h *header) encode() []byte {
	b := make([]byte, headerSize)
	le := binary.LittleEndian
	copy(b, magic)
	le.PutUint32(b[offLayout:], layoutVersion)
	le.PutUint32(b[offHeaderSize:], headerSize)
	le.PutUint64(b[offGeneration:], h.generation)
	le.PutUint64(b[offService:], h.service)
	copy(b[offStore:], h.store[:])
	le.PutUint64(b[offFileSize:], uint64(h.fileSize))
	le.PutUint64(b[offDir:], uint64(h.dir))
	le.PutUint32(b[offEntrySize:], entrySize)
	le.PutUint32(b[offSlots:], h.slots)
	le.PutUint64(b[offNames:], uint64(h.names))
	le.PutUint64(b[offNamesSize:], uint64(h.namesSize))
	le.PutUint64(b[offValues:], uint64(h.values))
	le.PutUint64(b[offValuesSize:], uint64(h.valuesSize))
	le.PutUint32(b[offState:], uint32(Live))
	return b
}

// decodeHeader checks everything a reader later relies on: the areas lie inside a file of size bytes. That they do not
// overlap is not checked, as nothing worse than a wrong value comes of it.
func decodeHeader(b []byte, size int64) (h header, err error) {
	if len(b) < headerSize || string(b[:len(magic)]) != magic {
		return h, fmt.Errorf("%w: no magic", ErrCorrupt)
	}
	le := binary.LittleEndian
	if v := le.Uint32(b[offLayout:]); v != layoutVersion {
		return h, fmt.Errorf("%w: layout version %d, not %d", ErrCorrupt, v, layoutVersion)
	}
	h.generation = le.Uint64(b[offGeneration:])
	h.service = le.Uint64(b[offService:])
	copy(h.store[:], b[offStore:])
	h.fileSize = int64(le.Uint64(b[offFileSize:]))
	h.dir = int64(le.Uint64(b[offDir:]))
	h.slots = le.Uint32(b[offSlots:])
	h.names = int64(le.Uint64(b[offNames:]))
	h.namesSize = int64(le.Uint64(b[offNamesSize:]))
	h.values = int64(le.Uint64(b[offValues:]))
	h.valuesSize = int64(le.Uint64(b[offValuesSize:]))
	switch {
	case le.Uint32(b[offHeaderSize:]) != headerSize || le.Uint32(b[offEntrySize:]) != entrySize:
		return h, fmt.Errorf("%w: header or entry size", ErrCorrupt)
	case h.fileSize != size:
		return h, fmt.Errorf("%w: has %d bytes and says %d", ErrCorrupt, size, h.fileSize)
	case h.slots > MaxSlots || h.dir%entrySize != 0 || !within(h.dir, int64(h.slots)*entrySize, headerSize, size):
		return h, fmt.Errorf("%w: directory outside the file", ErrCorrupt)
	case !within(h.names, h.namesSize, headerSize, size) || !within(h.values, h.valuesSize, headerSize, size):
		return h, fmt.Errorf("%w: area outside the file", ErrCorrupt)
	}
	return h, nil
}

// within reports whether n bytes at off lie between from and end, whatever off and n are.
func within(off, n, from, end int64) bool {
	return from <= off && off <= end && 0 <= n && n <= end-off
}

// plan lays a file out: room for slots entries, names and values bytes.
func (h *header) plan(slots uint32, names, values int64) {
	h.slots = slots
	h.dir = headerSize
	h.names = pageUp(h.dir + int64(slots)*entrySize)
	h.namesSize = pageUp(names)
	h.values = h.names + h.namesSize
	h.valuesSize = pageUp(values)
	h.fileSize = h.values + h.valuesSize
}

func pageUp(n int64) int64 { return (n + pageSize - 1) &^ (pageSize - 1) }
